"""The commands that measure something beside the suite: each keeps what it found in the folder of
results.

`python -m benchmarks documents` then puts it into the pages that show it.
"""

from pathlib import Path

import click

from benchmarks.suite.collect import RESULTS

results_option = click.option(
    "--results",
    type=click.Path(path_type=Path),
    default=RESULTS,
    help="The folder of collected results.",
)


@click.group()
def measurements() -> None:
    """Measurements beside the suite."""


@measurements.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--method", default="tiger", show_default=True, help="Which TIGER of the run.")
@click.option("--users", default=100, show_default=True, help="How many test users.")
@click.option("--sample-seed", default=0, show_default=True, help="Which test users.")
@results_option
def exact(run: Path, method: str, users: int, sample_seed: int, results: Path) -> None:
    """How often beams of 10, 20 and 50 find the exact top ten of the finished RUN, over the whole
    catalogue."""
    from benchmarks.studies.exact import measure

    for row in measure(run, method, users, sample_seed, results):
        click.echo(
            f"{row['beams']} beams: {row['overlap']:.4f} of the exact top ten, all ten for "
            f"{row['identical']:.4f} of "
            f"{row['users']} users; exact {row['exact_cpu_seconds']:.3f}, beam "
            f"{row['beam_cpu_seconds']:.4f} CPU-seconds a user"
        )


@measurements.command()
@click.option("--dataset", default="beauty", show_default=True)
@click.option("--users", default=2000, show_default=True, help="At most so many shoppers.")
@click.option("--seed", default=0, show_default=True)
@results_option
def staleness(dataset: str, users: int, seed: int, results: Path) -> None:
    """What a chain that was written some purchases ago is still worth, by the linear probe on
    held-in targets."""
    from benchmarks.studies.staleness import main as measure

    for row in measure(dataset, users, seed, results)["rows"]:
        recall, (name, differs) = row["recall"], list(row.items())[-1]
        click.echo(
            f"age {row['age']:2}: recall@10 {recall['mean']:.4f} [{recall['low']:.4f}, "
            f"{recall['high']:.4f}] of {recall['users']} users, {name} {differs['mean']:+.4f} "
            f"[{differs['low']:+.4f}, {differs['high']:+.4f}]"
        )


@measurements.command()
@click.option(
    "--dataset",
    "measured",
    multiple=True,
    help="Measure this dataset (repeatable); by default none is.",
)
@click.option("--seed", default=0, show_default=True)
@click.option(
    "--shuffle-ties",
    is_flag=True,
    help="Put each shopper's events of one time in random order first.",
)
@click.option(
    "--equally-informed",
    is_flag=True,
    help="For each part, statistics that lack its own event and later ones alone.",
)
@results_option
def leakage(
    measured: tuple[str, ...], seed: int, shuffle_ties: bool, equally_informed: bool, results: Path
) -> None:
    """How often each step of a chain names the target, in training, validation and test."""
    from benchmarks.studies.leakage import main as measure
    from benchmarks.tables.leakage_page import pages

    for dataset in measured:
        measure(dataset, seed, results, shuffle_ties, equally_informed)
    for dataset, page in pages(results).items():
        click.echo(f"{dataset}\n\n{page.markdown()}")


@measurements.command()
@click.option(
    "--chains",
    "sizes",
    type=click.IntRange(1),
    multiple=True,
    help="How many; repeatable [default: 10000 and 100000].",
)
@click.option("--dataset", default="beauty", show_default=True)
@results_option
def chains(sizes: tuple[int, ...], dataset: str, results: Path) -> None:
    """Time and peak memory of writing chains with the (symbolic) catalogue reasoner."""
    from benchmarks.scale.chains import SIZES
    from benchmarks.scale.chains import main as measure

    for row in measure(sizes or SIZES, dataset, results)["rows"]:
        click.echo(
            f"{row['chains']:9,} chains: {row['seconds']:.1f} s, {row['chains_per_second']:,.0f} "
            f"a second, peak "
            f"{row['peak_mib']:.0f} MiB ({row['data_peak_mib']:.0f} before the first chain)"
        )


@measurements.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--arm", default="scoter", show_default=True, help="The method that is compared with tiger."
)
@click.option("--requests", type=click.IntRange(1), default=300, show_default=True)
@click.option(
    "--steps", type=click.IntRange(1), default=60, show_default=True, help="Training steps of each."
)
@results_option
def latency(runs: tuple[Path, ...], arm: str, requests: int, steps: int, results: Path) -> None:
    """Latency and memory of a bundle beside TIGER's, and the cost of a training step; RUNS are
    folders below the store's run/."""
    from benchmarks.studies.latency import as_text
    from benchmarks.studies.latency import measure as measure_cost

    click.echo(as_text(measure_cost(runs, arm, requests, steps, results=results)))


@measurements.command("training-cost")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--arm",
    default="scoter",
    show_default=True,
    help="The method that is compared with itself without a chain.",
)
@click.option(
    "--steps", type=click.IntRange(1), default=60, show_default=True, help="Training steps of each."
)
@results_option
def training_cost(run: Path, arm: str, steps: int, results: Path) -> None:
    """What a training step with a chain costs beside one without, on the data of the finished
    RUN."""
    from benchmarks.studies.latency import measure_training, training_as_text

    click.echo(training_as_text(measure_training(run, arm, steps, results=results)["training"]))


@measurements.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--arm", default="scoter", show_default=True, help="The method that is compared with tiger."
)
@click.option(
    "--users",
    type=click.IntRange(1),
    default=2000,
    show_default=True,
    help="How many are ranked again with old chains.",
)
@click.option(
    "--label",
    default="",
    help="What it is kept as, where the arm was trained in another way.  [default: the arm]",
)
@results_option
def buckets(runs: tuple[Path, ...], arm: str, users: int, label: str, results: Path) -> None:
    """Where an arm differs from TIGER: short histories, rare targets, missing and old chains; RUNS
    as for latency."""
    from benchmarks.studies.buckets import as_text
    from benchmarks.studies.buckets import measure as measure_buckets

    click.echo(as_text(measure_buckets(runs, arm, users, results=results, label=label)))


@measurements.command()
@results_option
def parameters(results: Path) -> None:
    """Parameters of TIGER, and what each arm with chains adds to it, on each dataset that has every
    control."""
    from benchmarks.studies.parameters import measure as count

    for dataset, found in count(results).items():
        for name, parameters in found.items():
            click.echo(f"{dataset:8} {name:28} {parameters:>10,}")


@measurements.command()
@click.option("--dataset", default="beauty-quarter", show_default=True, help="Whose results.")
@results_option
def controls(dataset: str, results: Path) -> None:
    """Every control beside TIGER and SCoTER: parameters, and differences to both with intervals."""
    from benchmarks.tables.controls import page

    click.echo(page(results, dataset).markdown())


@measurements.command()
@click.option(
    "--dataset", type=click.Choice(["simulated", "beauty"]), default="simulated", show_default=True
)
@click.option("--seeds", type=click.IntRange(1), default=10, show_default=True, help="How many.")
@click.option("--first-seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
@click.option(
    "--artefact",
    type=click.Path(path_type=Path),
    help="Instead: keep what `scoter discover --language-model local` made here.",
)
@results_option
def discovery(
    dataset: str, seeds: int, first_seed: int, as_json: bool, artefact: Path | None, results: Path
) -> None:
    """Does mining find the planted pattern, and beat other ways to a pattern at equal calls?"""
    import json

    from benchmarks.studies.discovery import as_text, keep_model_run, measure

    if artefact is not None:
        kept = keep_model_run(artefact, results)
        click.echo(
            f"kept: {kept['provenance']['model']}, {kept['counts']['requests']} chains asked "
            f"for. {kept['note']}"
        )
        return

    outcome = measure(dataset, seeds, results, first_seed=first_seed)
    click.echo(json.dumps(outcome) if as_json else as_text(dataset, outcome))


@measurements.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@results_option
def attention(runs: tuple[Path, ...], results: Path) -> None:
    """Keep the mean gate and attention by step of finished RUNS, with intervals over users."""
    from benchmarks.studies.attention import summarise

    for row in summarise(runs, results):
        where = (
            f"{row['dataset']}, {row['method']}, seed {row['seed']}, {row['kind']} {row['slot']}"
        )
        click.echo(f"{where}: {row['mean']:.4f} [{row['low']:.4f}, {row['high']:.4f}]")


@measurements.command()
@results_option
def clusters(results: Path) -> None:
    """Discover on the simulated shop with one, two and four rounds; keep the clusters of one
    discovery for their figure."""
    from benchmarks.studies.clusters import measure

    for row in measure(results)["rows"]:
        click.echo(
            f"seed {row['seed']}, {row['rounds']} rounds: {row['mean']:.4f} [{row['low']:.4f}, "
            f"{row['high']:.4f}]"
        )


@measurements.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--users",
    type=click.IntRange(100),
    default=12_000,
    show_default=True,
    help="At most so many validation users.",
)
@click.option("--seed", default=0, show_default=True)
@results_option
def information(run: Path, users: int, seed: int, results: Path) -> None:
    """Usable information of the ordered chains of the finished RUN over each collapsed form, in
    nats."""
    from benchmarks.studies.information import main as measure

    for row in measure(run, users, seed, results)["rows"]:
        if row["kind"] == "cap":
            click.echo(
                f"cap     {row['name']}: {row['recall_cap']:.4f}; observed {row['recall']:.4f}"
            )
        else:
            click.echo(
                f"{row['kind']:7} {row['name']}: {row['nats']:+.4f} [{row['low']:+.4f}, "
                f"{row['high']:+.4f}] of {row['n']} users"
            )


@measurements.command()
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path))
@results_option
def inputs(runs: tuple[Path, ...], results: Path) -> None:
    """Keep counts of the datasets that are found here, and the diagnostics of the semantic IDs of
    RUNS."""
    from benchmarks.studies.inputs import measure

    found = measure(runs, results)
    for row in found["datasets"]:
        click.echo(
            f"{row['dataset']}: {row['users']:,} users, {row['items']:,} items, "
            f"{row['interactions']:,} interactions"
        )
    for row in found["semantic_ids"]:
        click.echo(
            f"semantic IDs of {row['dataset']}, seed {row['seed']}: {row['codebook_sizes']}, "
            f"from {row['source']}"
        )


@measurements.command()
@click.option(
    "--dataset", type=click.Choice(["simulated", "beauty"]), default="simulated", show_default=True
)
@click.option(
    "--seed",
    "seeds",
    type=click.IntRange(0),
    multiple=True,
    default=(0,),
    show_default=True,
    help="Repeatable.",
)
@results_option
def joint(dataset: str, seeds: tuple[int, ...], results: Path) -> None:
    """Patterns chosen by a short transfer against patterns chosen by recall, at equal compute;
    seeds done are kept."""
    from benchmarks.studies.joint import as_text, measure

    click.echo(as_text(dataset, measure(dataset, list(seeds), results)))


@measurements.command()
@click.option(
    "--seed",
    "seeds",
    type=click.IntRange(0),
    multiple=True,
    default=(0,),
    show_default=True,
    help="Repeatable.",
)
@click.option(
    "--attention",
    type=float,
    default=0.95,
    show_default=True,
    help="Chance to look one place further down.",
)
@click.option(
    "--prices",
    type=float,
    nargs=2,
    default=(0.15, 0.6),
    show_default=True,
    help="Of a million tokens in and out.",
)
@click.option(
    "--tokens-per-second",
    type=float,
    default=50.0,
    show_default=True,
    help="How fast a language model writes.",
)
@results_option
def online(
    seeds: tuple[int, ...],
    attention: float,
    prices: tuple[float, float],
    tokens_per_second: float,
    results: Path,
) -> None:
    """A simulated A/B test of TIGER against SCoTER on the simulated shop; no real shoppers."""
    from benchmarks.studies.online import as_text
    from benchmarks.studies.online import main as simulate

    click.echo(as_text(simulate(seeds, results, attention, prices, tokens_per_second)))


@measurements.command()
@click.option(
    "--seeds",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    help="How many samples of each law.",
)
@click.option(
    "--budget",
    default=1500.0,
    show_default=True,
    help="Stop after so many CPU-seconds; the next call goes on.",
)
@click.option("--estimator", "only", multiple=True, help="Only this one; repeatable.")
@results_option
def estimators(seeds: int, budget: float, only: tuple[str, ...], results: Path) -> None:
    """Error and time of every estimator of information on laws whose information is known."""
    from benchmarks.studies.estimator_errors import main as measure
    from benchmarks.tables.estimators_page import page

    found = measure(seeds, results, budget, only=only)
    click.echo(page(found["rows"]).markdown(), nl=False)
    click.echo(
        f"{found['missing']} cells are still to be measured"
        if found["missing"]
        else "every cell is measured"
    )


@measurements.command()
@click.option("--dataset", default="beauty", show_default=True)
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True),
    help="A prepared folder, or one that holds the datasets.",
)
@click.option(
    "--store",
    type=click.Path(path_type=Path),
    help="Folder of artefacts [default: $SCOTER_STORE or artifacts/]",
)
@click.option(
    "--draws",
    type=click.IntRange(2),
    default=5,
    show_default=True,
    help="Random orders of ties in time.",
)
@click.option(
    "--sasrec-epochs",
    type=click.IntRange(0),
    default=0,
    help="Also train SASRec so long on each draw.",
)
@results_option
def sensitivity(
    dataset: str,
    data: Path | None,
    store: Path | None,
    draws: int,
    sasrec_epochs: int,
    results: Path,
) -> None:
    """Ties in time, lengths of histories, popularity of targets, cold items, and the drop from
    validation to test."""
    from benchmarks.studies.sensitivity import main as measure
    from benchmarks.tables.sensitivity_page import page

    say = click.echo if sasrec_epochs else lambda line: None
    options = {"data": data, "store": store, "draws": draws, "sasrec_epochs": sasrec_epochs}
    click.echo(page(measure(dataset, results, **options, say=say)).markdown())


@measurements.command()
@click.option(
    "--only",
    multiple=True,
    metavar="SECTION",
    help="Measure this section; repeatable [default: all].",
)
@click.option("--quick", is_flag=True, help="A fraction of the trials; for a first look.")
@click.option("--kills", type=click.IntRange(1), help="With --only kills: how many [default: 50].")
@results_option
def reliability(only: tuple[str, ...], quick: bool, kills: int | None, results: Path) -> None:
    """Kills, faults, fuzzed inputs, determinism, loads: try to break scoter, and keep what came of
    it."""
    from benchmarks.studies.reliability import measure as try_to_break
    from benchmarks.studies.reliability import pages

    options = {"quick": quick} | ({} if kills is None else {"kills": kills})
    sections = try_to_break(only, results, **options)
    for name in sections:
        click.echo(pages(results)[name].markdown())
    if not all(section.passed for section in sections.values()):
        raise SystemExit(1)
