"""Figures of cost: speed, growth with the data, beams beside exact search, latency of serving."""

from pathlib import Path

import numpy as np

from benchmarks.tables.stages_page import exponents
from paper_figures.measured import grouped, read
from paper_figures.picture import Look, Picture, columns, ends_of
from paper_figures.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    METHODS,
    ORANGE,
    PAGE,
    RED,
    SKY,
    panels,
    styled,
)

PEERS = ("Cornac", "RecTools")
SIDES = {"ours": (BLUE, "scoter"), "theirs": (ORANGE, "HF T5")}
CURVES = (
    ("catalogue", "items", "cpu_seconds_per_user", "items in the catalogue", "decoding, ms/user"),
    ("history", "history", "cpu_seconds_per_target", "items in the history", "training, ms/target"),
)
MEASURES = (("cpu_seconds", "CPU-seconds"), ("peak_mib", "peak memory, MiB"))
STAGES = {
    "data": (GREY, "x"),
    "statistics": (SKY, "v"),
    "chains": (BLUE, "D"),
    "encoding": (ORANGE, "^"),
    "semantic IDs": (GREEN, "s"),
    "training epoch": (BLACK, "o"),
    "decoding": (RED, "P"),
}
RATIOS = (
    (-0.08, "p50_ratio", "wall time", BLUE, "D"),
    (0.08, "p50_ratio_cpu", "CPU time", ORANGE, "s"),
)


@styled
def speed(results: Path) -> Picture:
    """Work done in a CPU-second beside Hugging Face's T5; whiskers are the extreme repeats.

    Decoding is over the trie; the rows over the whole vocabulary are in the file alone.
    """
    rows = [
        row
        for row in read(results, "speed.json")["rows"]
        if row.get("side") in SIDES
        and "whole vocabulary" not in row["task"]
        and not any(peer in f"{row['name']} {row.get('against')}" for peer in PEERS)
    ]
    tasks = grouped(rows, "task")
    widths = [1 + len(mine) for mine in tasks.values()]
    picture, drawn = panels(2.1, len(tasks), width=PAGE, width_ratios=widths)
    for panel, (task, measured) in zip(drawn, tasks.items(), strict=True):
        mine = sorted(measured, key=lambda row: row["precision"])
        names = [f"{SIDES[row['side']][1]}\n{row['precision']}" for row in mine]
        low, rate, high = columns(mine, *(f"per_cpu_second{end}" for end in ("_min", "", "_max")))
        for place, row in enumerate(mine):
            here = slice(place, place + 1)
            look: Look = {"color": SIDES[row["side"]][0], "edgecolor": BLACK, "linewidth": 0.5}
            panel.bars([place], (low[here], rate[here], high[here]), 0.62, names[here], **look)
            corner = (place + 0.33, rate[place])
            text: Look = {"ha": "center", "va": "bottom", "fontsize": 6.8}
            panel.axes.annotate(f"{rate[place]:.0f}", corner, **text)
        panel.axes.set_xticks(range(len(mine)), names)
        panel.axes.set_title(task)
        panel.axes.set_ylabel(f"{mine[0]['unit']} in a CPU-second")
        panel.axes.set_xlim(-0.6, len(mine) - 0.3)
    return picture


@styled
def growth(results: Path) -> Picture:
    """Cost by catalogue and history: CPU time with the extreme repeats; memory has none."""
    rows = read(results, "growth.json")["rows"]
    curves = grouped(rows, "curve")
    picture, (memory, *timed) = panels(1.9, 3, width=PAGE)
    items, size = columns(curves["catalogue"], "items", "trie_tensor_bytes_per_item")
    memory.curve(items, size, "trie", color=BLUE, marker="D")
    memory.axes.set_ylabel("trie, bytes/item")
    memory.axes.set_xlabel("items in the catalogue")
    memory.axes.set_xscale("log")
    memory.axes.set_ylim(0, 1.15 * max(size))
    for panel, (curve, across, up, x_label, y_label) in zip(timed, CURVES, strict=True):
        keys = (f"{up}_min", up, f"{up}_max")
        x, low, mean, high = columns(curves[curve], across, *keys)
        panel.intervals(x, (1e3 * low, 1e3 * mean, 1e3 * high), color=BLUE, marker="D")
        panel.axes.set_xlabel(x_label)
        panel.axes.set_ylabel(y_label)
        panel.axes.set_ylim(0, 1.1 * (1e3 * high).max())
        panel.axes.set_xscale("log")
        if curve != "catalogue":
            panel.axes.set_xticks(x, [f"{value:.0f}" for value in x])
            panel.axes.minorticks_off()
    return picture


@styled
def stages(results: Path) -> Picture:
    """CPU time and peak memory of each stage by the size of a simulated shop, with exponents."""
    rows = read(results, "stages.json")
    picture, drawn = panels(3.6, 2, width=PAGE)
    for panel, (value, label) in zip(drawn, MEASURES, strict=True):
        slopes = exponents(rows, value)
        for stage, (colour, mark) in STAGES.items():
            own = [row for row in rows if row["stage"] == stage]
            users, values = columns(own, "users", value)
            low, slope, high = slopes[stage]
            name = f"{stage}: {slope:.2f} [{low:.2f}, {high:.2f}]"
            panel.curve(users, values, name, color=colour, marker=mark)
        panel.axes.set_xscale("log")
        panel.axes.set_yscale("log")
        panel.axes.set_xlabel("users, each with nine interactions")
        panel.axes.set_ylabel(label)
        panel.axes.set_title("exponent by size, with 95 % interval", fontsize=7.5)
        panel.axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), fontsize=7)
    return picture


@styled
def beams(results: Path) -> Picture:
    """How much of TIGER's exact top ten the beam finds (Wilson 95 %), and what it costs."""
    rows = [row for row in read(results, "exact.json") if row["method"] == "tiger"]
    picture, (recovered, cost) = panels(1.9, 2, width=PAGE)
    keys = ("beams", "overlap", "identical", "users", "beam_cpu_seconds")
    sizes, overlap, identical, users, seconds = columns(rows, *keys)
    solid: Look = {"color": BLUE, "marker": "D"}
    recovered.curve(sizes, 100 * overlap, "of the ten items (mean)", **solid)
    low, high = wilson(identical, users)
    dashed: Look = {"color": ORANGE, "marker": "s", "linestyle": "--"}
    ends = (100 * low, 100 * identical, 100 * high)
    recovered.intervals(sizes, ends, label="users with all ten (95 %)", **dashed)
    recovered.axes.set_ylabel("found by the beam, %")
    recovered.axes.set_ylim(0, 104)
    recovered.axes.legend(loc="lower right")
    cost.curve(sizes, 1e3 * seconds, "beam", **solid)
    exact = 1e3 * rows[0]["exact_cpu_seconds"]
    cost.line(exact, "every item scored", across=True, color=GREY, linestyle="--")
    cost.axes.set_ylabel("CPU-ms per user (one run)")
    cost.axes.set_yscale("log")
    cost.axes.legend(loc="center right")
    for panel in (recovered, cost):
        panel.axes.set_xticks(sizes)
        panel.axes.set_xlabel("beams")
    return picture


@styled
def latency(results: Path) -> Picture:
    """One request at a time: p50 and p99 of both bundles, and the ratio of their p50 (95 %)."""
    measured = read(results, "latency.json")
    rows, threads = measured["latency"], [str(row["threads"]) for row in measured["latency"]]
    picture, (times, ratios) = panels(1.9, 2, width=PAGE)
    places = np.arange(len(rows))
    for shift, name in ((-0.12, "tiger"), (0.12, measured["arm"])):
        label, colour, mark = METHODS[name]
        for quantile, dash in (("p50", "-"), ("p99", ":")):
            values = [row[name][quantile] for row in rows]
            look: Look = {"color": colour, "marker": mark, "linestyle": dash}
            times.curve(places + shift, values, f"{label}, {quantile}", threads, **look)
    times.axes.set_ylabel("latency, ms")
    times.axes.set_ylim(bottom=0)
    times.axes.legend(loc="lower left", fontsize=6)
    for shift, name, label, colour, mark in RATIOS:
        ends = ends_of([row[name] for row in rows])
        look: Look = {"color": colour, "marker": mark, "label": label}
        ratios.intervals(places + shift, ends, threads, linestyle="none", **look)
    ratios.axes.axhline(1.0, color=GREY, linewidth=0.8)
    ratios.axes.set_ylabel("p50 of SCoTER / TIGER")
    ratios.axes.legend()
    for panel in (times, ratios):
        panel.axes.set_xticks(range(len(rows)), threads)
        panel.axes.set_xlim(-0.5, len(rows) - 0.5)
        panel.axes.set_xlabel("threads")
    return picture


def wilson(share: np.ndarray, n: np.ndarray, z: float = 1.959964) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's 95 % interval of a share of n.

    >>> low, high = wilson(np.array([0.5]), np.array([100]))
    >>> [round(float(end[0]), 3) for end in (low, high)]
    [0.404, 0.596]
    """
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return centre - half, centre + half
