"""Figures of chains and patterns: attention, clusters, rivals, age and information."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paper_figures.measured import NotMeasuredError, grouped, read
from paper_figures.picture import Look, Panel, Picture, columns, ends_of
from paper_figures.style import (
    BLACK,
    BLUE,
    COLUMN,
    GREEN,
    GREY,
    METHODS,
    ORANGE,
    PAGE,
    dataset_name,
    panels,
    styled,
)
from scoter.config import DiscoverConfig
from scoter.report.pattern import in_brief

MARKS = "Dos^vP*X<>"
UNSEEN = "simulated from seed 20"  # shops on which nothing was chosen
RIVALS = ("hand-written", "random", "single-step", "zero-shot", "best generated")
SEEDS = (BLUE, ORANGE, GREEN)  # the colour of each seed

Rows = Sequence[Mapping[str, Any]]


@styled
def attention(results: Path) -> Picture:
    """SCoTER's mean attention on each step and the null slot, and its mean gate, by seed (95 %)."""
    rows = [row for row in read(results, "attention.json")["rows"] if row["method"] == "scoter"]
    if not rows:
        raise NotMeasuredError("attention.json has no run of SCoTER")
    datasets = grouped(rows, "dataset")
    slots = [len(grouped(mine, "slot")) for mine in datasets.values()]
    look: Look = {"sharey": True, "width_ratios": np.maximum(slots, 6)}
    width = PAGE if len(datasets) > 1 else COLUMN
    picture, drawn = panels(2.8, len(datasets), width=width, **look)
    for panel, (dataset, mine) in zip(drawn, datasets.items(), strict=True):
        _attention(panel, mine)
        panel.axes.set_title(dataset_name(dataset))
    drawn[0].axes.set_ylabel("share (mean over users)")
    drawn[0].axes.set_ylim(0, 1.05 * max(row["high"] for row in rows))
    legends = [panel.axes.get_legend_handles_labels() for panel in drawn]
    most = max(legends, key=lambda legend: len(legend[1]))
    picture.figure.legend(*most, loc="outside upper right", ncols=3, handlelength=1.0)
    return picture


def _attention(panel: Panel, rows: Rows) -> None:
    slots = list(grouped(sorted(rows, key=lambda row: (row["kind"], row["place"])), "slot"))
    names = in_brief(slots)
    seeds = sorted({row["seed"] for row in rows})
    width = 0.8 / len(seeds)
    for number, seed in enumerate(seeds):
        of_slot = {row["slot"]: row for row in rows if row["seed"] == seed}
        places = np.arange(len(slots)) + (number - (len(seeds) - 1) / 2) * width
        ends = ends_of([of_slot[slot] for slot in slots])
        look: Look = {"color": SEEDS[number % 3], "hatch": ("", "///", "...")[number % 3]}
        look |= {"edgecolor": BLACK, "linewidth": 0.4, "error_kw": {"linewidth": 0.7}}
        panel.bars(places, ends, width * 0.92, names, label=f"seed {seed}", **look)
    panel.axes.set_xticks(range(len(slots)), names, rotation=90)
    panel.axes.axvline(len(slots) - 1.5, color=GREY, linewidth=0.6, linestyle=":")


@styled
def clusters(results: Path) -> Picture:
    """The patterns that one discovery on Beauty tried, by cluster and NDCG where tried."""
    mined = read(results, "patterns/beauty-s0.json")
    points = mined["points"]
    picture, (plane,) = panels(3.2)
    low, high = (end(point["gain"] for point in points) for end in (min, max))
    scale: Look = {"cmap": "viridis", "vmin": low, "vmax": high}
    for cluster in sorted({point["cluster"] for point in points}):
        members = [point for point in points if point["cluster"] == cluster]
        x, y, gain = columns(members, "x", "y", "gain")
        first = ", mined" if cluster == 0 else ""
        name = f"cluster {cluster + 1}{first} ({len(members)})" if cluster >= 0 else "no cluster"
        mark = MARKS[cluster % len(MARKS)] if cluster >= 0 else "."
        look: Look = {"marker": mark, "s": 22, "linewidths": 0.6, "edgecolors": BLACK, **scale}
        cloud = plane.cloud(x, y, name, c=gain, **look)
    picture.figure.colorbar(cloud, ax=plane.axes, label="NDCG@50 where tried", pad=0.02)
    plane.axes.set_xlabel("first principal component")
    plane.axes.set_ylabel("second principal component")
    plane.axes.set_title(f"{len(points)} patterns, Beauty, seed {mined['run_seed']}")
    plane.axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2, handletextpad=0.1)
    return picture


@styled
def discovery(results: Path) -> Picture:
    """The mined pattern's NDCG minus each rival's, 95 % over shoppers or over seeds."""
    shop, beauty = read(results, "discovery.json")[UNSEEN], read(results, "patterns/beauty-s0.json")
    gains = {name: rival["ndcg_gain_of_mined"] for name, rival in beauty["rivals"].items()}
    seeds = f"simulated shop, λ = 1 (95 % over {shop['seeds']} seeds)"
    drawings = {seeds: shop["summary"]["gains"], "Beauty (95 % over shoppers, one seed)": gains}
    picture, drawn = panels(1.7, len(drawings), width=PAGE, sharey=True)
    look: Look = {"color": BLUE, "marker": "D", "linestyle": "none"}
    places = (DiscoverConfig.top_k, beauty["provenance"]["top_k"])
    for panel, (title, gains), k in zip(drawn, drawings.items(), places, strict=True):
        ends = ends_of([gains[rival] for rival in RIVALS])
        panel.intervals(range(len(RIVALS)), ends, RIVALS, across=True, **look)
        panel.axes.axvline(0, color=BLACK, linewidth=0.6)
        panel.axes.set_title(title)
        panel.axes.set_xlabel(f"NDCG@{k}, mined minus rival")
    drawn[0].rows(RIVALS)
    return picture


@styled
def staleness(results: Path) -> Picture:
    """Targets among the items that older chains name, with 95 % intervals over shoppers."""
    measured = read(results, "staleness.json")
    picture, (panel,) = panels(1.9)
    ages = [row["age"] for row in measured["rows"]]
    recalls = [row["recall"] for row in measured["rows"]]
    panel.intervals(ages, ends_of(recalls), color=METHODS["scoter"][1], marker="D")
    panel.axes.set_xticks(ages)
    panel.axes.set_ylim(0, None)
    panel.axes.set_xlabel("age of the chain, purchases")
    panel.axes.set_ylabel("targets among ten named items")
    users = recalls[0]["users"]
    panel.axes.set_title(f"{dataset_name(measured['dataset'])}, {users:,} shoppers")
    return picture


@styled
def prefixes(results: Path) -> Picture:
    """Usable information of each step over those before it, and of the chain over reduced forms."""
    measured = read(results, "information.json")
    titles = {
        "prefix": f"{dataset_name(measured['dataset'])}: a step, over those before",
        "over": "the ordered chain, over a reduced form",
    }
    picture, drawn = panels(2.6, 2, width=PAGE)
    look: Look = {"color": METHODS["scoter"][1], "marker": "D", "linestyle": "none"}
    for panel, (kind, title) in zip(drawn, titles.items(), strict=True):
        rows = [row for row in measured["rows"] if row["kind"] == kind]
        names = [row["name"] for row in rows]
        if kind == "prefix":
            names = in_brief([name.partition(". ")[2] for name in names])
        names = [name.replace(" (null)", "\n(a second fit)") for name in names]
        low, nats, high = columns(rows, "low", "nats", "high")
        panel.intervals(range(len(rows)), (low, nats, high), names, across=True, **look)
        panel.axes.axvline(0, color=BLACK, linewidth=0.6)
        panel.rows(names)
        panel.axes.set_xlabel(f"nats, {rows[0]['n']:,} shoppers")
        panel.axes.set_title(title)
    return picture
