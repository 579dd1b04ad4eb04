"""Commands that use a finished run: `scoter recommend` and `scoter export`."""

import json
from pathlib import Path
from typing import Any

import click

from scoter.cli.options import json_option, say, store_option, use_threads
from scoter.cli.runs import find_run, open_store
from scoter.errors import ConfigError


@click.command()
@click.argument("run_name", metavar="[RUN]", required=False)
@click.option(
    "--bundle",
    type=click.Path(path_type=Path),
    help="Instead of a run: a folder that `scoter export` wrote",
)
@click.option("--method", help="Which of the run's methods [default: its last]")
@click.option(
    "--user",
    "users",
    multiple=True,
    help="A user key of the dataset; repeatable [default: the first three]",
)
@click.option(
    "--item",
    "items",
    multiple=True,
    help="Instead of a user: an item key of the history, oldest first; repeatable",
)
@click.option("-k", "--k", "count", type=click.IntRange(1, 20), default=10, show_default=True)
@click.option(
    "--explain",
    is_flag=True,
    help="Also show the chain, and what each of its steps did to the scores",
)
@store_option
@json_option
def recommend(
    run_name: str | None,
    bundle: Path | None,
    method: str | None,
    users: tuple[str, ...],
    items: tuple[str, ...],
    count: int,
    explain: bool,
    store: Path | None,
    as_json: bool,
) -> None:
    """What to recommend next: a finished run's model, or a bundle's, on the whole history of some
    users, or on one by hand."""
    if (run_name is None) == (bundle is None):
        raise ConfigError("name either a RUN, or a folder with --bundle")
    if bundle is not None and method is not None:
        raise ConfigError(
            f"--method {method} chooses among a run's methods, but a bundle holds one; leave it out"
        )
    use_threads(None)
    if bundle is not None:
        from scoter.serving.bundle_reader import open_bundle

        rows = open_bundle(bundle).recommend(users, items, count, explain)
    else:
        from scoter.serving.service import recommend_from_run

        opened = open_store(store)
        rows = recommend_from_run(
            opened, find_run(opened, run_name or ""), method, users, items, count, explain
        )
    if as_json:
        click.echo(json.dumps(rows))
        return
    for row in rows:
        _print(row)


@click.command()
@click.argument("run_name", metavar="RUN")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A new folder")
@click.option("--method", help="Which of the run's methods [default: its last]")
@click.option(
    "--steps",
    type=click.Choice(["fp16", "int8"]),
    default="fp16",
    show_default=True,
    help="How the step table is kept",
)
@click.option(
    "--texts/--no-texts",
    default=True,
    show_default=True,
    help="Whether the steps' sentences come along, for --explain",
)
@store_option
@json_option
def export(
    run_name: str,
    out: Path,
    method: str | None,
    steps: Any,
    texts: bool,
    store: Path | None,
    as_json: bool,
) -> None:
    """Write a folder with all that one trained method needs to answer: `scoter recommend --bundle`
    reads nothing else."""
    from scoter.serving.bundle import export_run

    use_threads(None)
    opened = open_store(store)
    sizes = export_run(opened, find_run(opened, run_name), method, out, steps, texts)
    if as_json:
        click.echo(json.dumps({"bundle": str(out), "bytes": sum(sizes.values()), "files": sizes}))
        return
    for name, size in sizes.items():
        click.echo(f"{name:26} {size / 2**20:8.2f} MiB")
    say(f"{out}: {sum(sizes.values()) / 2**20:.2f} MiB")


def _print(row: dict[str, Any]) -> None:
    explained = "steps" in row
    shown = row["history"] if explained else row["history"][-5:]
    click.echo(f"\nuser {row['user']}, after: {' | '.join(shown)}")
    if explained:
        click.echo(
            f"gate {row['gate']:.3f}; attention to nothing {row['attention']['nothing']:.3f}"
        )
        for number, step in enumerate(row["steps"], 1):
            read = row["attention"].get(step["step"])
            seen = "" if read is None else f" (attention {read:.3f})"
            click.echo(
                f"step {number}, {step['step']}{seen}: {' '.join(step['sentences']) or 'missing'}"
            )
    for place, item in enumerate(row["items"], 1):
        click.echo(f"{place:4}. {item['title']}  ({item['score']:.2f} nats)")
        if explained:
            parts = "  ".join(
                f"{number}: {value:+.3f}" for number, value in enumerate(item["contributions"], 1)
            )
            click.echo(f"      by step  {parts}")
