"""Figures of chains and patterns: what is read of them, how patterns cluster, what rounds and
rivals bring, how chains age."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from paper_figures.measured import NotMeasuredError, read, whiskers
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

MARKS = "Dos^vP*X<>"
UNSEEN = "simulated from seed 20"  # shops on which nothing was chosen
RIVALS = ("hand-written", "random", "direct recommendation", "best generated")


@styled
def attention(results: Path) -> Figure:
    """SCoTER's mean attention on each step and on the slot for nothing, and its mean gate; one bar
    per seed, 95 % intervals."""
    rows = [row for row in read(results, "attention.json")["rows"] if row["method"] == "scoter"]
    datasets = list(dict.fromkeys(row["dataset"] for row in rows))
    if not datasets:
        raise NotMeasuredError("attention.json has no run of SCoTER: not measured yet")
    bars = [len({row["slot"] for row in rows if row["dataset"] == dataset}) for dataset in datasets]
    figure, all_axes = panels(
        2.8,
        len(datasets),
        width=PAGE if len(datasets) > 1 else COLUMN,
        sharey=True,
        gridspec_kw={"width_ratios": np.maximum(bars, 6)},
    )
    for axes, dataset in zip(all_axes, datasets, strict=True):
        mine = [row for row in rows if row["dataset"] == dataset]
        seeds = sorted({row["seed"] for row in mine})
        slots = list(
            dict.fromkeys(
                row["slot"] for row in sorted(mine, key=lambda row: (row["kind"], row["place"]))
            )
        )
        width = 0.8 / len(seeds)
        for number, seed in enumerate(seeds):
            found = {row["slot"]: row for row in mine if row["seed"] == seed}
            means = [found[slot]["mean"] for slot in slots]
            lengths = whiskers(
                [found[slot]["low"] for slot in slots],
                means,
                [found[slot]["high"] for slot in slots],
            )
            places = np.arange(len(slots)) + (number - (len(seeds) - 1) / 2) * width
            colour = (BLUE, ORANGE, GREEN)[number % 3]
            look: dict[str, Any] = {
                "width": width * 0.92,
                "color": colour,
                "edgecolor": BLACK,
                "linewidth": 0.4,
                "hatch": ("", "///", "...")[number % 3],
            }
            axes.bar(
                places,
                means,
                yerr=lengths,
                error_kw={"linewidth": 0.7},
                label=f"seed {seed}",
                **look,
            )
        axes.set_xticks(range(len(slots)), [step_name(slot) for slot in slots], rotation=90)
        axes.axvline(len(slots) - 1.5, color=GREY, linewidth=0.6, linestyle=":")
        axes.set_title(dataset_name(dataset))
    all_axes[0].set_ylabel("share (mean over users)")
    all_axes[0].set_ylim(0, 1.05 * max(row["high"] for row in rows))
    most = max(
        (axes.get_legend_handles_labels() for axes in all_axes), key=lambda found: len(found[1])
    )
    figure.legend(*most, loc="outside upper right", ncols=3, handlelength=1.0)
    return figure


@styled
def clusters(results: Path) -> Figure:
    """One discovery's patterns on their plane by cluster and recall, and what further rounds bring
    at as many patterns."""
    found = read(results, "clusters.json")
    figure, (plane, rounds) = panels(2.5, 2, width=PAGE)
    figure.get_layout_engine().set(wspace=0.08)  # type: ignore[union-attr]
    points = found["points"]["rows"]
    highest, filled = max(point["recall"] for point in points), None
    for cluster in sorted({point["cluster"] for point in points}):
        members = [point for point in points if point["cluster"] == cluster]
        name = (
            "no cluster"
            if cluster < 0
            else f"cluster {cluster + 1}{', mined' if cluster == 0 else ''} ({len(members)})"
        )
        x, y, recall = ([point[key] for point in members] for key in ("x", "y", "recall"))
        shape: dict[str, Any] = {
            "marker": MARKS[cluster % len(MARKS)] if cluster >= 0 else ".",
            "s": 22,
            "linewidths": 0.6,
        }
        filled = plane.scatter(
            x,
            y,
            c=recall,
            cmap="viridis",
            vmin=0,
            vmax=highest,
            edgecolors=BLACK,
            label=name,
            **shape,
        )
    assert filled is not None
    figure.colorbar(filled, ax=plane, label="Recall@10 where tried", pad=0.02)
    plane.set_xlabel("first principal component")
    plane.set_ylabel("second principal component")
    plane.set_title(
        f"{len(points)} patterns, seed {found['points']['seed']}, {found['points']['rounds']} "
        f"rounds"
    )
    plane.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=2, handletextpad=0.1)
    _rounds(rounds, found["rows"])
    return figure


def _rounds(axes: Any, rows: list[dict[str, Any]]) -> None:
    counts = sorted({row["rounds"] for row in rows})
    for number, seed in enumerate(sorted({row["seed"] for row in rows})):
        mine = sorted((row for row in rows if row["seed"] == seed), key=lambda row: row["rounds"])
        means = [row["mean"] for row in mine]
        lengths = whiskers([row["low"] for row in mine], means, [row["high"] for row in mine])
        places = [counts.index(row["rounds"]) + 0.12 * (number - 1) for row in mine]
        line: dict[str, Any] = {
            "color": (BLUE, ORANGE, GREEN)[number % 3],
            "marker": "Dos"[number % 3],
            "linestyle": ("-", "--", ":")[number % 3],
        }
        axes.errorbar(places, means, yerr=lengths, label=f"seed {seed}", **line)
    axes.axhline(
        np.mean([row["best_possible"] for row in rows]), color=BLACK, linewidth=0.7, linestyle="--"
    )
    axes.text(
        0,
        np.mean([row["best_possible"] for row in rows]),
        "best possible",
        va="bottom",
        fontsize=6.5,
    )
    axes.set_xticks(range(len(counts)), [str(count) for count in counts])
    axes.set_xlabel(f"rounds ({rows[0]['patterns']} patterns in all)")
    axes.set_ylabel("Recall@10 at fresh shoppers")
    axes.set_ylim(0, None)
    axes.legend(loc="lower right")


@styled
def discovery(results: Path) -> Figure:
    """The mined pattern's Recall@10 minus each rival's at fresh shoppers, 95 %: Beauty over
    shoppers, the shop over seeds."""
    found = read(results, "discovery.json")
    names = [name for name in (UNSEEN, "beauty") if name in found]
    figure, all_axes = panels(1.5, len(names), width=PAGE, sharey=True)
    for axes, name in zip(all_axes, names, strict=True):
        gains = found[name]["summary"]["gains"]
        means = [gains[rival]["mean"] for rival in RIVALS]
        lengths = whiskers(
            [gains[rival]["low"] for rival in RIVALS],
            means,
            [gains[rival]["high"] for rival in RIVALS],
        )
        axes.errorbar(
            means, range(len(RIVALS)), xerr=lengths, color=BLUE, marker="D", linestyle="none"
        )
        axes.axvline(0, color=BLACK, linewidth=0.6)
        seeds = found[name]["seeds"]
        sample = "95 % over shoppers, one seed" if seeds == 1 else f"95 % over {seeds} seeds"
        shop = "simulated shop, λ = 1" if name == UNSEEN else dataset_name(name)
        axes.set_title(f"{shop} ({sample})")
        axes.set_xlabel("Recall@10, mined minus rival")
    all_axes[0].set_yticks(range(len(RIVALS)), RIVALS)
    all_axes[0].set_ylim(len(RIVALS) - 0.5, -0.5)
    return figure


@styled
def staleness(results: Path) -> Figure:
    """Recall@10 of a linear probe that reads chains written some purchases ago, with 95 % intervals
    over shoppers."""
    found = read(results, "staleness.json")
    figure, (axes,) = panels(1.9)
    ages = [row["age"] for row in found["rows"]]
    means = [row["recall"]["mean"] for row in found["rows"]]
    lows, highs = ([row["recall"][end] for row in found["rows"]] for end in ("low", "high"))
    axes.errorbar(
        ages, means, yerr=whiskers(lows, means, highs), color=METHODS["scoter"][1], marker="D"
    )
    axes.set_xticks(ages)
    axes.set_ylim(0, None)
    axes.set_xlabel("age of the chain, purchases")
    axes.set_ylabel("Recall@10 of a linear probe")
    axes.set_title(
        f"{dataset_name(found['dataset'])}, {found['rows'][0]['recall']['users']:,} shoppers"
    )
    return figure


@styled
def prefixes(results: Path) -> Figure:
    """Usable information in real chains, in nats with 95 % intervals over shoppers: what each step
    adds to those before it, and what the ordered chain adds to each form that loses something."""
    found = read(results, "information.json")
    kinds = {
        kind: [row for row in found["rows"] if row["kind"] == kind] for kind in ("prefix", "over")
    }
    figure, all_axes = panels(2.6, 2, width=PAGE)
    titles = {
        "prefix": f"{dataset_name(found['dataset'])}: a step, over those before",
        "over": "the ordered chain, over its",
    }
    for axes, (kind, rows) in zip(all_axes, kinds.items(), strict=True):
        nats = [row["nats"] for row in rows]
        lengths = whiskers([row["low"] for row in rows], nats, [row["high"] for row in rows])
        axes.errorbar(
            nats,
            range(len(rows)),
            xerr=lengths,
            color=METHODS["scoter"][1],
            marker="D",
            linestyle="none",
        )
        axes.axvline(0, color=BLACK, linewidth=0.6)
        names = [row["name"] for row in rows]
        if kind == "prefix":
            names = [step_name(name.partition(". ")[2]) for name in names]
        axes.set_yticks(
            range(len(rows)), [name.replace(" (null)", "\n(a second fit)") for name in names]
        )
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel(f"nats, {rows[0]['n']:,} shoppers")
        axes.set_title(titles[kind])
    return figure


def step_name(label: str) -> str:
    """A step's label in fewer words.

    >>> step_name("recent_item(field=brand, lag=2)"), step_name("nothing")
    ('brand, 2 ago', 'nothing')
    """
    role, _, inside = label.partition("(")
    values = dict(part.split("=") for part in inside.rstrip(")").split(", ")) if inside else {}
    if role == "recommendation" and "rank" in values:
        return f"item, rank {values['rank']}"
    if role == "recent_item" and {"field", "lag"} <= set(values):
        return f"{values['field']}, {values['lag']} ago"
    return role.replace("_", " ")
