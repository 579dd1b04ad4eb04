"""`scoter discover`: mine a pattern, and show it with its clusters, its rivals and a picture."""

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import click

from scoter.cli import options as cli
from scoter.cli.options import interval, option
from scoter.errors import ConfigError

Report: TypeAlias = Mapping  # a `pattern.json`, or a part of one


@dataclass(frozen=True)
class DiscoverOptions(cli.TrainingOptions):
    """Who writes the chains, and where the picture goes."""

    language_model: str = option(cli.LANGUAGE_MODELS, "catalog")
    prices: tuple[float, float] | None = option("Cost of 10^6 tokens", metavar="PROMPT COMPLETION")
    picture: Path | None = option("Also write the picture to this .svg, .png or .pdf file")


@click.command(cls=cli.ServerCommand)
@click.argument("dataset")
@cli.takes(DiscoverOptions)
def discover(dataset: str, options: DiscoverOptions, **server: object) -> None:
    """Generate, validate and mine a reasoning pattern for a dataset (or for 'simulated').

    The symbolic catalogue reasoner is the default. With a language model, replies are kept in the
    store one by one, and a run that was stopped continues; discover.users, discover.fresh_users and
    discover.sampling.samples set its size.
    """
    from scoter.experiments import experiment
    from scoter.reasoning.language.metering import Usage
    from scoter.stages.discovery import discover_pattern, sized_for

    cli.use_threads(options.threads)
    model = cli.named_model(options.language_model, server)
    sized = options.changed(sized_for(experiment(dataset, options.data), model))
    artefact = discover_pattern(*options.prepared(sized), model)
    report = json.loads(artefact.file("pattern.json").read_text())
    if options.prices is not None and report["counts"] is not None:
        tokens = {name: report["counts"][name] for name in ("prompt_tokens", "completion_tokens")}
        report["counts"]["cost"] = Usage(**tokens).cost(options.prices)
    if options.picture is not None:
        _place_picture(artefact.path, report, options.picture)
    if options.as_json:
        click.echo(json.dumps(report))
        return
    click.echo("\n".join(_lines(report)))
    click.echo(f"\npattern: {artefact.file('pattern.json')}")
    click.echo(f"picture: {options.picture or artefact.file('picture.svg')}")


def _lines(report: Report) -> Iterator[str]:
    """A `pattern.json` for people: the pattern, the clusters, the rivals, and what it took."""
    pattern, about = report["pattern"], report["provenance"]
    single = report["counts"] is not None
    k, optimism = about["top_k"], report["optimism"]
    yield f"pattern, by {about['model']} ({pattern['distilled_by']}):"
    for number, step in enumerate(pattern["steps"], 1):
        values = ", ".join(f"{key} {value}" for key, value in sorted(step["parameters"].items()))
        yield f"{number:4}. {step['role']}{f' ({values})' if values else ''}"
    recall, ndcg = _mean(pattern["recall"]), _mean(pattern["ndcg"])
    yield f"\nat {about['fresh_users']} fresh shoppers: recall@{k} {recall}, ndcg@{k} {ndcg}"
    place = "its cluster" if single else "where chosen"
    yield f"{place}: {_mean(pattern['chosen_on'])}, support {pattern['support']:.2f}"
    bound = f"expected to be at most {optimism['bound']:.4f}"
    yield f"optimism: measured {optimism['measured']:+.4f}, {bound}"
    yield from _clusters(report, single)
    yield from _rivals(report)
    if single:
        yield from _counts(report["counts"])
    if report["note"]:
        yield f"\n{report['note']}"


def _clusters(report: Report, single: bool) -> Iterator[str]:
    of, first = ("chains", "medoid") if single else ("patterns", "best member")
    yield f"\nclusters of {of} (silhouette {report['silhouette']:.2f})"
    yield f"{'support':>8} {'recall':>24} {'ndcg':>24}  {first}"
    for cluster in report["clusters"]:
        steps = " > ".join(cluster["patterns"][0])[:90]
        means = f"{_mean(cluster['recall']):>24} {_mean(cluster['ndcg']):>24}"
        yield f"{cluster['support']:8.2f} {means}  {steps}"


def _rivals(report: Report) -> Iterator[str]:
    yield "\nrivals at the same fresh shoppers: mined minus rival with 95 % intervals;"
    yield "chains: to choose + at fresh shoppers"
    yield f"{'':24}{'recall':>8} {'gain in recall':>28} {'gain in ndcg':>28} {'chains':>16}"
    mined = report["pattern"]["recall"]["mean"]
    yield f"{'mined':24}{mined:8.4f} {'':28} {'':28} {_calls(report['calls'])}"
    for name, rival in report["rivals"].items():
        gains = [interval(rival[key]) for key in ("gain_of_mined", "ndcg_gain_of_mined")]
        columns = " ".join(f"{gain:>28}" for gain in gains)
        yield f"{name:24}{rival['mean']:8.4f} {columns} {_calls(rival['calls'])}"


def _counts(counts: Report) -> Iterator[str]:
    cost = f", cost {counts['cost']:.4f}" if "cost" in counts else ""
    replies = counts["replies"] + counts["template_replies"]
    yield (
        "\n{requests:,} chains asked for: {at_once:,} valid at once, {mended:,} mended, "
        "{rejected:,} rejected, {unanswered:,} unanswered ({valid_share:.2f} valid)\n"
        "{names:,} names recommended, {grounded_share:.2f} of them grounded in the catalogue"
    ).format(**counts)
    tokens = "{prompt_tokens:,} prompt and {completion_tokens:,} completion tokens".format(**counts)
    yield f"{replies:,} replies of {tokens}{cost}"
    yield "{seconds:.0f} s here; {reused:,} replies were in the store already".format(**counts)


def _calls(calls: Report) -> str:
    return f"{calls['choosing']:>9,} + {calls['fresh']:,}"


def _mean(row: Report) -> str:
    return f"{row['mean']:.4f} [{row['low']:.4f}, {row['high']:.4f}]"


def _place_picture(folder: Path, report: Report, path: Path) -> None:
    from scoter.reasoning.discovery.picture import draw
    from scoter.storage.run_files import POINTS_FILE
    from scoter.storage.writing import replacing

    if path.suffix not in (".svg", ".png", ".pdf"):
        raise ConfigError(f"--picture {path} must end in .svg, .png or .pdf")
    with replacing(path) as partial:
        if path.suffix == ".svg":
            shutil.copyfile(folder / "picture.svg", partial)
        else:
            draw(json.loads((folder / POINTS_FILE).read_text()), report["picture_of"], partial)
