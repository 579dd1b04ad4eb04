"""`scoter discover`: mine a pattern, and show it with its clusters, its rivals and a picture."""

import json
import shutil
from pathlib import Path
from typing import Any

import click

from scoter.cli.options import experiment_options, interval, say, token_limit_option

_ABOVE_ZERO = click.IntRange(1)


@click.command()
@click.argument("dataset")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option(
    "--language-model",
    default="catalog",
    help="catalog (symbolic; default), local (SmolLM2), or a server's model",
)
@click.option(
    "--base-url", default="", help="The OpenAI-compatible server, such as http://127.0.0.1:8000/v1"
)
@click.option("--key-variable", help="The environment variable that holds the server's key")
@click.option("--concurrency", type=_ABOVE_ZERO, default=4, show_default=True, help="Calls at once")
@click.option("--requests-per-minute", type=float, help="Start no more calls than that")
@click.option(
    "--timeout",
    type=float,
    default=120.0,
    show_default=True,
    help="Seconds until a call is given up",
)
@token_limit_option
@click.option(
    "--token-budget",
    type=_ABOVE_ZERO,
    help="Stop, to be continued, once this run has used so many tokens",
)
@click.option(
    "--prices",
    type=float,
    nargs=2,
    metavar="PROMPT COMPLETION",
    help="Of a million tokens each, for the cost",
)
@click.option(
    "--select",
    type=click.Choice(["recall", "transfer"]),
    default="recall",
    help="What chooses [default: recall]",
)
@click.option(
    "--picture",
    type=click.Path(path_type=Path),
    help="Also put the picture here; .svg, .png or .pdf",
)
@experiment_options
def discover(
    dataset: str,
    seed: int,
    language_model: str,
    prices: tuple[float, float] | None,
    select: str,
    picture: Path | None,
    store: Path | None,
    data: Path | None,
    as_json: bool,
    overrides: tuple[str, ...],
    **server: Any,
) -> None:
    """Generate, validate and mine a reasoning pattern for a dataset (or for 'simulated').

    The catalogue reasoner, which is symbolic, is the default. With a language model, replies are
    kept in the store one by one, so that a run which was stopped goes on where it ended; its sizes
    are set by discover.users, discover.fresh_users and discover.sampling.samples.

    `--select transfer` trains the recommender for a few epochs with each of the best patterns
    (symbolic reasoner only) and keeps the one it ranks held-in targets best with; on all users of a
    real dataset that takes hours: set data.max_users.
    """
    from scoter.config import with_overrides
    from scoter.experiments import experiment
    from scoter.reasoning.language.server import ServerConfig
    from scoter.stages.context import Context
    from scoter.stages.data import prepare
    from scoter.stages.discovery import discover_pattern, language_model_of, sized_for
    from scoter.storage.store import Store

    model = language_model_of(language_model, ServerConfig(**server))
    chosen = with_overrides(sized_for(experiment(dataset, data), model), overrides)
    context = Context(chosen, Store(store), seed, say)
    if select == "transfer":
        _refuse_with_transfer(language_model, picture)
        click.echo(_chosen_by_transfer(context, data, as_json))
        return
    artefact = discover_pattern(context, prepare(context, data), model)
    found = json.loads(artefact.file("pattern.json").read_text())
    if prices is not None and found["counts"] is not None:
        found["counts"]["cost"] = _cost(found["counts"], prices)
    if picture is not None:
        _place_picture(artefact.path, found, picture)
    if as_json:
        click.echo(json.dumps(found))
    else:
        click.echo(as_text(found))
        click.echo(
            f"\npattern: {artefact.file('pattern.json')}\npicture: "
            f"{picture or artefact.file('picture.svg')}"
        )


def as_text(found: dict[str, Any]) -> str:
    """A `pattern.json` for people: the pattern, the clusters, the rivals, and what it took."""
    pattern, about = found["pattern"], found["provenance"]
    single = found["counts"] is not None
    lines = [f"pattern, by {about['model']} ({pattern['distilled_by']}):"]
    for number, step in enumerate(pattern["steps"], 1):
        values = ", ".join(f"{key} {value}" for key, value in sorted(step["parameters"].items()))
        lines.append(f"{number:4}. {step['role']}{f' ({values})' if values else ''}")
    k = about["top_k"]
    lines += [
        "",
        f"at {about['fresh_users']} fresh shoppers: recall@{k} {_mean(pattern['recall'])}, "
        f"ndcg@{k} {_mean(pattern['ndcg'])}",
        f"{'its cluster' if single else 'where chosen'}: {_mean(pattern['chosen_on'])}, support "
        f"{pattern['support']:.2f}",
        f"optimism: measured {found['optimism']['measured']:+.4f}, expected to be at most "
        f"{found['optimism']['bound']:.4f}",
        "",
        f"clusters of {'chains' if single else 'patterns'} (silhouette {found['silhouette']:.2f})",
        f"{'support':>8} {'recall':>24} {'ndcg':>24}  {'medoid' if single else 'best member'}",
    ]
    for cluster in found["clusters"]:
        first = " > ".join(cluster["patterns"][0])
        lines.append(
            f"{cluster['support']:8.2f} {_mean(cluster['recall']):>24} "
            f"{_mean(cluster['ndcg']):>24}  {first[:90]}"
        )
    lines += [
        "",
        "rivals at the same fresh shoppers: mined minus rival with 95 % intervals; chains to "
        "choose + at fresh shoppers",
    ]
    lines.append(f"{'':24}{'recall':>8} {'gain in recall':>28} {'gain in ndcg':>28} {'chains':>16}")
    calls = found["calls"]
    lines.append(
        f"{'mined':24}{pattern['recall']['mean']:8.4f} {'':28} {'':28} {calls['choosing']:>9,} + "
        f"{calls['fresh']:,}"
    )
    for name, rival in found["rivals"].items():
        gains = (
            f"{interval(rival['gain_of_mined']):>28} {interval(rival['ndcg_gain_of_mined']):>28}"
        )
        calls = rival["calls"]
        lines.append(
            f"{name:24}{rival['mean']:8.4f} {gains} {calls['choosing']:>9,} + {calls['fresh']:,}"
        )
    if single:
        lines += ["", *_counts_as_text(found["counts"])]
    return "\n".join([*lines, *(["", found["note"]] if found["note"] else [])])


def _refuse_with_transfer(language_model: str, picture: Path | None) -> None:
    from scoter.errors import ConfigError

    if language_model != "catalog":
        raise ConfigError(
            f"--select transfer needs the chains of every prefix; use --language-model catalog, "
            f"not {language_model}"
        )
    if picture is not None:
        raise ConfigError(f"--select transfer draws no picture; leave out --picture {picture}")


def _chosen_by_transfer(context: Any, data: Path | None, as_json: bool) -> str:
    from scoter.stages.data import embed_items, make_semantic_ids, prepare
    from scoter.stages.joint import PATTERN_FILE, ROUNDS_FILE, JointBudget, choose_by_transfer

    prepared = prepare(context, data)
    ids = make_semantic_ids(context, embed_items(context, prepared))
    method = context.experiment.methods["scoter"]
    artefact = choose_by_transfer(context, "scoter", method, prepared, ids, JointBudget())
    rounds = json.loads(artefact.file(ROUNDS_FILE).read_text())
    if as_json:
        return json.dumps({**json.loads(artefact.file(PATTERN_FILE).read_text()), **rounds})
    return f"{rounds_as_text(rounds)}\n\npattern: {artefact.file(PATTERN_FILE)}"


def rounds_as_text(found: dict[str, Any]) -> str:
    """How the transfer chose: the candidates (the mined one first), and each round's scores."""
    lines = [f"candidates, the mined pattern first ({found['metric']}, {found['users']} shoppers):"]
    lines += [
        f"{number:4}. {' > '.join(steps)}" for number, steps in enumerate(found["candidates"])
    ]
    for number, turn in enumerate(found["rounds"], 1):
        scores = ", ".join(
            f"{who}: {score:.4f}"
            for who, score in zip(turn["candidates"], turn["scores"], strict=True)
        )
        lines.append(f"round {number}, {turn['units']} more epochs each: {scores}")
    return "\n".join(
        [*lines, f"chosen: {found['chosen']}, for {found['target_steps']:,} target-steps"]
    )


def _mean(row: dict[str, Any]) -> str:
    return f"{row['mean']:.4f} [{row['low']:.4f}, {row['high']:.4f}]"


def _counts_as_text(counts: dict[str, Any]) -> list[str]:
    cost = f", cost {counts['cost']:.4f}" if "cost" in counts else ""
    return [
        f"{counts['requests']:,} chains asked for: {counts['at_once']:,} valid at once, "
        f"{counts['mended']:,} mended, {counts['rejected']:,} rejected, {counts['unanswered']:,} "
        f"unanswered ({counts['valid_share']:.2f} valid)",
        f"{counts['names']:,} names recommended, {counts['grounded_share']:.2f} of them grounded "
        f"in the catalogue",
        f"{counts['replies'] + counts['template_replies']:,} replies of "
        f"{counts['prompt_tokens']:,} prompt and "
        f"{counts['completion_tokens']:,} completion tokens{cost}",
        f"{counts['seconds']:.0f} s here; {counts['reused']:,} replies were in the store already",
    ]


def _cost(counts: dict[str, Any], prices: tuple[float, float]) -> float:
    from scoter.reasoning.language.metering import Prices, Usage

    used = Usage(
        prompt_tokens=counts["prompt_tokens"], completion_tokens=counts["completion_tokens"]
    )
    return used.cost(Prices(*prices))


def _place_picture(folder: Path, found: dict[str, Any], path: Path) -> None:
    from scoter.errors import ConfigError
    from scoter.reasoning.discovery.picture import draw
    from scoter.storage.writing import replacing

    if path.suffix not in (".svg", ".png", ".pdf"):
        raise ConfigError(f"--picture {path} must end in .svg, .png or .pdf")
    with replacing(path) as partial:
        if path.suffix == ".svg":
            shutil.copyfile(folder / "picture.svg", partial)
        else:
            draw(json.loads((folder / "points.json").read_text()), found["picture_of"], partial)
