"""`scoter data ls | prepare | show`: which datasets there are, how to make one, and what one
holds."""

import json
from pathlib import Path
from typing import Any

import click

_FOLDER = click.Path(file_okay=False, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group()
def data() -> None:
    """Datasets: list them, prepare one, look at one."""


@data.command("ls")
@click.option(
    "--data", "data_dir", type=_FOLDER, help="A folder that holds one prepared folder per dataset."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def list_datasets(data_dir: Path | None, as_json: bool) -> None:
    """The registered datasets, their published counts, and where each is found here."""
    from scoter.data.datasets import SIMULATED
    from scoter.data.sources import REGISTRY, is_prepared, locate

    rows: dict[str, Any] = {}
    for name, source in REGISTRY.items():
        inside = data_dir / name if data_dir is not None else None
        found = locate(name) if inside is None else (inside if is_prepared(inside) else None)
        rows[name] = {
            "users": source.counts.users,
            "items": source.counts.items,
            "interactions": source.counts.interactions,
            "found": str(found) if found else None,
            "page": source.page,
            "citation": source.citation,
            "terms": source.terms,
        }
    if as_json:
        click.echo(json.dumps(rows))
        return
    click.echo(f"{'dataset':12} {'users':>8} {'items':>8} {'interactions':>13}  found in")
    for name, row in rows.items():
        place = row["found"] or f"- (scoter data prepare {name})"
        click.echo(
            f"{name:12} {row['users']:8,} {row['items']:8,} {row['interactions']:13,}  {place}"
        )
    click.echo(f"{SIMULATED:12} {'any':>8} {'any':>8} {'any':>13}  made on the spot")


@data.command("prepare")
@click.argument("name", required=False)
@click.option(
    "--raw", type=_FOLDER, help="Where the official files are or go; default data-cache/raw/NAME."
)
@click.option("--out", type=_FOLDER, help="The prepared folder to write; default data-cache/NAME.")
@click.option(
    "--interactions",
    type=_FILE,
    help="Your own table instead of NAME: user, item, timestamp (CSV or parquet).",
)
@click.option(
    "--items", type=_FILE, help="Your own items: item, and any text columns (CSV or parquet)."
)
@click.option(
    "--order", type=click.Choice(["timestamp", "file"]), default="timestamp", show_default=True
)
@click.option(
    "--duplicates",
    type=click.Choice(["error", "first", "keep"]),
    default="error",
    show_default=True,
)
@click.option(
    "--short-users",
    type=click.Choice(["error", "drop", "keep"]),
    default="error",
    show_default=True,
)
@click.option(
    "--min-events", type=int, default=3, show_default=True, help="What --short-users calls short."
)
@click.option(
    "--other-release",
    is_flag=True,
    help="Accept counts other than the published ones; needs --out.",
)
def prepare_dataset(
    name: str | None,
    raw: Path | None,
    out: Path | None,
    interactions: Path | None,
    items: Path | None,
    other_release: bool,
    **policies: Any,
) -> None:
    """Make a prepared folder: of the registered dataset NAME, downloaded where needed, or of your
    own tables."""
    from scoter.data.official.obtain import obtain
    from scoter.data.prepared import save_prepared
    from scoter.data.sources import CACHE

    if (name is None) == (interactions is None):
        raise click.UsageError(
            "give either the NAME of a registered dataset or --interactions with your own table"
        )
    if (interactions is not None or other_release) and out is None:
        raise click.UsageError(
            "say where to write with --out: only a published dataset may take a registered name"
        )
    if interactions is not None:
        from scoter.data.tables import load_table

        log, catalog = load_table(interactions, items, **policies)
    else:
        assert name is not None
        log, catalog = obtain(name, raw, published=not other_release)
    folder = out or CACHE / str(name)
    save_prepared(log, catalog, folder)
    click.echo(
        f"{folder}: {log.user_count:,} users, {catalog.item_count:,} items, {len(log.items):,} "
        f"interactions"
    )


@data.command("show")
@click.argument("name")
@click.option(
    "--data",
    "data_dir",
    type=_FOLDER,
    help="A prepared folder, or a folder that holds one per dataset.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show_dataset(name: str, data_dir: Path | None, as_json: bool) -> None:
    """What the dataset NAME holds: counts, lengths, text, ties and three histories."""
    from scoter.config import DataConfig
    from scoter.data.datasets import open_dataset
    from scoter.data.describe import describe
    from scoter.data.split import leave_one_out

    dataset = open_dataset(DataConfig(name=name), data_dir)
    facts = {"dataset": name, "origin": dataset.origin} | describe(
        dataset.log, dataset.catalog, leave_one_out(dataset.log)
    )
    click.echo(json.dumps(facts) if as_json else _readable(facts))


def _readable(facts: dict[str, Any]) -> str:
    def share(value: float | None) -> str:
        return "no times" if value is None else f"{value:.1%}"

    lengths = ", ".join(f"{key} {value:.4g}" for key, value in facts["history_length"].items())
    coverage = (
        ", ".join(f"{name} {share(part)}" for name, part in facts["coverage"].items())
        or "no columns"
    )
    lines = [
        f"{facts['dataset']} ({facts['origin']})",
        f"  users {facts['users']:,}   items {facts['items']:,}   interactions "
        f"{facts['interactions']:,}   density {facts['density']:.4%}",
        f"  history length: {lengths}",
        f"  users without targets {facts['users_without_targets']:,}   items never bought "
        f"{facts['items_never_bought']:,}",
        f"  columns filled: {coverage}",
        f"  last two events on the same day: {share(facts['last_two_same_day'])}   "
        f"in the same second: {share(facts['last_two_same_second'])}",
        f"  test targets bought before: {share(facts['test_repeats'])}",
    ]
    for sample in facts["samples"]:
        lines += [
            f"  user {sample['user']}:",
            *(f"    {place}. {title}" for place, title in enumerate(sample["items"], 1)),
        ]
    return "\n".join(lines)
