"""Commands that use a finished run: `scoter recommend` and `scoter export`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click

from scoter.cli.options import StoreOptions, option, say, takes, use_threads
from scoter.errors import ConfigError
from scoter.progress import parts


@dataclass(frozen=True)
class MethodOptions(StoreOptions):
    """Which of a run's methods answers."""

    method: str | None = option("Which of the run's methods [default: its last]")


@dataclass(frozen=True)
class RecommendOptions(MethodOptions):
    """Who gets how many recommendations, from which model."""

    bundle: Path | None = option("Instead of a run: a folder that `scoter export` wrote")
    users: tuple[str, ...] = option("A user; repeatable [default: the first 3]", (), flag="--user")
    items: tuple[str, ...] = option("Or an item, oldest first; repeatable", (), flag="--item")
    count: int = option("How many items", 10, flag=("-k", "--k"), type=click.IntRange(1, 20))
    explain: bool = option("Show the chain and each step's effect on the scores", False)


@dataclass(frozen=True)
class ExportOptions(MethodOptions):
    """What a bundle holds, and where."""

    out: Path = option("A new folder", required=True)
    steps: Literal["fp16", "int8"] = option("How the step table is kept", "fp16")
    texts: bool = option("The steps' sentences, for --explain", True, flag="--texts/--no-texts")


@click.command()
@click.argument("run_name", metavar="[RUN]", required=False)
@takes(RecommendOptions)
def recommend(run_name: str | None, options: RecommendOptions) -> None:
    """Recommend the next items for some users, or for a history of your own.

    The model is that of a finished run or of a bundle; histories are whole, with held-out items.
    """
    bundle, method = options.bundle, options.method
    if (run_name is None) == (bundle is None):
        raise ConfigError("name either a RUN, or a folder with --bundle")
    if bundle is not None and method is not None:
        raise ConfigError(f"leave out --method {method}: a bundle holds one method")
    with parts("recommend", 3) as begin:
        begin("loading torch")
        use_threads(None)
        from scoter.serving.bundle_reader import open_bundle
        from scoter.serving.service import answers, open_method

        begin("opening the model")
        if bundle is not None:
            model = open_bundle(bundle)
        else:
            model = open_method(options.find_run(run_name or ""), method)
        begin("ranking")
        rows = answers(model, options.users, options.items, options.count, options.explain)
    if options.as_json:
        click.echo(json.dumps(rows))
        return
    for row in rows:
        _print(row)


@click.command()
@click.argument("run_name", metavar="RUN")
@takes(ExportOptions)
def export(run_name: str, options: ExportOptions) -> None:
    """Write one trained method to a folder that `scoter recommend --bundle` reads alone."""
    with parts("export", 4) as begin:
        begin("loading torch")
        use_threads(None)
        from scoter.serving.bundle import export_run

        run, out = options.find_run(run_name), options.out
        what = (options.method, out, options.steps, options.texts)
        sizes = export_run(run.store, run.artefact, *what, begin=begin)
    total = sum(sizes.values())
    if options.as_json:
        click.echo(json.dumps({"bundle": str(out), "bytes": total, "files": sizes}))
        return
    for name, size in sizes.items():
        click.echo(f"{name:26} {size / 2**20:8.2f} MiB")
    say(f"{out}: {total / 2**20:.2f} MiB")


def _print(row: Mapping) -> None:
    explained = "steps" in row
    shown = row["history"] if explained else row["history"][-5:]
    click.echo(f"\nuser {row['user']}, after: {' | '.join(shown)}")
    if explained:
        nothing = row["attention"]["nothing"]
        click.echo(f"gate {row['gate']:.3f}; attention to nothing {nothing:.3f}")
        for number, step in enumerate(row["steps"], 1):
            read = row["attention"].get(step["step"])
            weight = "" if read is None else f" (attention {read:.3f})"
            text = " ".join(step["sentences"]) or "missing"
            click.echo(f"step {number}, {step['step']}{weight}: {text}")
    for place, item in enumerate(row["items"], 1):
        click.echo(f"{place:4}. {item['title']}  ({item['score']:.2f} nats)")
        if explained:
            parts = (f"{step}: {value:+.3f}" for step, value in enumerate(item["contributions"], 1))
            click.echo(f"      by step  {'  '.join(parts)}")
            largest = sorted(item.get("reasons", {}).items(), key=lambda pair: -abs(pair[1]))[:4]
            if largest:
                told = "  ".join(f"{name} {value:+.2f}" for name, value in largest)
                click.echo(f"      by reason  {told}")
