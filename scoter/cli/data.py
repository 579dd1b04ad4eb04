"""`scoter data ls | prepare | show`: list the datasets, make one, and look inside one."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click

from scoter.cli.options import json_option, option, show_rows, takes

_FOLDER = click.Path(file_okay=False, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group()
def data() -> None:
    """Datasets: list them, prepare one, look at one."""


@data.command("ls")
@click.option("--data", "data_dir", type=_FOLDER, help="A folder with one folder per dataset")
@json_option
def list_datasets(data_dir: Path | None, as_json: bool) -> None:
    """The registered datasets, their published counts, and where each is found here."""
    from scoter.data.sources import DATASETS, REGISTRY, SIMULATED, is_prepared, locate

    rows = {}
    for name, source in REGISTRY.items():
        inside = None if data_dir is None else data_dir / name
        place = locate(name) if inside is None else inside if is_prepared(inside) else None
        rows[name] = {
            **vars(source.counts),
            "found": str(place) if place else None,
            "page": source.page,
            "citation": source.citation,
            "terms": source.terms,
        }
    own = DATASETS.names()
    if as_json:
        click.echo(json.dumps(rows | {name: {"found": "a plug-in"} for name in own}))
        return
    shown = [
        {
            "dataset": name,
            **{key: row[key] for key in ("users", "items", "interactions")},
            "found in": row["found"] or f"- (scoter data prepare {name})",
        }
        for name, row in rows.items()
        if name not in own
    ]
    shown += [{"dataset": name, "found in": "a plug-in"} for name in own]
    show_rows([*shown, {"dataset": SIMULATED, "found in": "made on the spot"}], False)


@dataclass(frozen=True)
class PrepareOptions:
    """Where a dataset comes from, where it goes, and what to do about doubtful rows."""

    raw: Path | None = option("The official files [default: data-cache/raw/NAME]", type=_FOLDER)
    out: Path | None = option("The folder to write [default: data-cache/NAME]", type=_FOLDER)
    interactions: Path | None = option("Instead of NAME: user, item, timestamp", type=_FILE)
    items: Path | None = option("Your items: item, and any text columns", type=_FILE)
    order: Literal["timestamp", "file"] = option("What orders a user's rows", "timestamp")
    duplicates: Literal["error", "first", "keep"] = option("Rows that occur twice", "error")
    short_users: Literal["error", "drop", "keep"] = option("Users with few rows", "error")
    min_events: int = option("Users with fewer rows are short", 3)
    other_release: bool = option("Accept other counts than those published; needs --out", False)
    as_json: bool = option("Print JSON and nothing else", False, flag="--json")


@data.command("prepare")
@click.argument("name", required=False)
@takes(PrepareOptions)
def prepare_dataset(name: str | None, options: PrepareOptions) -> None:
    """Prepare the registered dataset NAME, downloaded where needed, or your own tables."""
    from scoter.data.official.prepare import obtain
    from scoter.data.prepared import save_prepared
    from scoter.data.sources import CACHE
    from scoter.data.tables import load_table

    interactions, out = options.interactions, options.out
    if (name is None) == (interactions is None):
        raise click.UsageError("give either the NAME of a dataset or --interactions FILE")
    if (interactions is not None or options.other_release) and out is None:
        where = "say where to write with --out; only a registered dataset with its published counts"
        raise click.UsageError(f"{where} has a folder of its own ({CACHE}/NAME)")
    if interactions is not None:
        names = ("order", "duplicates", "short_users", "min_events")
        rules = {name: getattr(options, name) for name in names}
        log, catalog = load_table(interactions, options.items, **rules)
    else:
        assert name is not None
        log, catalog = obtain(name, options.raw, published=not options.other_release)
    folder = out or CACHE / str(name)
    save_prepared(log, catalog, folder)
    counts = {"users": log.user_count, "items": catalog.item_count, "interactions": len(log.items)}
    if options.as_json:
        click.echo(json.dumps({"folder": str(folder), **counts}))
    else:
        click.echo(f"{folder}: " + ", ".join(f"{count:,} {what}" for what, count in counts.items()))


@data.command("show")
@click.argument("name")
@click.option("--data", "data_dir", type=_FOLDER, help="A prepared folder, or one that holds it")
@json_option
def show_dataset(name: str, data_dir: Path | None, as_json: bool) -> None:
    """What the dataset NAME holds: counts, lengths, text, ties and three histories."""
    from scoter.config import DataConfig
    from scoter.data.datasets import open_dataset
    from scoter.data.describe import describe
    from scoter.data.split import leave_one_out

    dataset = open_dataset(DataConfig(name=name), data_dir)
    about = describe(dataset.log, dataset.catalog, leave_one_out(dataset.log))
    facts = {"dataset": name, "origin": dataset.origin} | about
    click.echo(json.dumps(facts) if as_json else _readable(facts))


def _readable(facts: Mapping) -> str:
    def share(value: float | None) -> str:
        return "no times" if value is None else f"{value:.1%}"

    lengths = ", ".join(f"{key} {value:.4g}" for key, value in facts["history_length"].items())
    coverage = ", ".join(f"{name} {share(part)}" for name, part in facts["coverage"].items())
    lines = [
        f"{facts['dataset']} ({facts['origin']})",
        "  users {users:,}   items {items:,}   interactions {interactions:,}   "
        "density {density:.4%}".format(**facts),
        f"  history length: {lengths}",
        "  users without targets {users_without_targets:,}   items never bought "
        "{items_never_bought:,}".format(**facts),
        f"  columns filled: {coverage or 'no columns'}",
        f"  last two events on the same day: {share(facts['last_two_same_day'])}   "
        f"in the same second: {share(facts['last_two_same_second'])}",
        f"  test targets bought before: {share(facts['test_repeats'])}",
    ]
    for sample in facts["samples"]:
        lines.append(f"  user {sample['user']}:")
        lines += [f"    {place}. {title}" for place, title in enumerate(sample["items"], 1)]
    return "\n".join(lines)
