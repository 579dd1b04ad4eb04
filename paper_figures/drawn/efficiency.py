"""Figures of cost: speed beside the reference implementation, growth with the catalogue, beams
beside exact search."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from paper_figures.measured import read, whiskers
from paper_figures.style import BLACK, BLUE, GREY, METHODS, ORANGE, PAGE, panels, styled

PEERS = ("Cornac", "RecTools")
SIDES = {"ours": (BLUE, "scoter"), "theirs": (ORANGE, "HF T5")}


@styled
def speed(results: Path) -> Figure:
    """Work done in a CPU-second beside Hugging Face's T5, for training and decoding; whiskers are
    the extreme repeats.

    Decoding is over the trie; the rows over the whole vocabulary are in the file alone.
    """
    measured = read(results, "speed.json")["rows"]
    rows = [
        row
        for row in measured
        if row.get("side") in SIDES and "whole vocabulary" not in row["task"]
    ]
    rows = [
        row
        for row in rows
        if not any(peer in f"{row['name']} {row.get('against')}" for peer in PEERS)
    ]
    tasks = {
        task: [row for row in rows if row["task"] == task]
        for task in dict.fromkeys(row["task"] for row in rows)
    }
    figure, all_axes = panels(
        2.1, len(tasks), width=PAGE, width_ratios=[1 + len(mine) for mine in tasks.values()]
    )
    for axes, (task, found) in zip(all_axes, tasks.items(), strict=True):
        mine = sorted(found, key=lambda row: row["precision"])
        for place, row in enumerate(mine):
            colour, _ = SIDES[row["side"]]
            value = row["per_cpu_second"]
            lengths = whiskers([row["per_cpu_second_min"]], [value], [row["per_cpu_second_max"]])
            axes.bar(
                [place],
                [value],
                yerr=lengths,
                color=colour,
                edgecolor=BLACK,
                linewidth=0.5,
                width=0.62,
            )
            axes.annotate(
                f"{value:.0f}", (place + 0.33, value), ha="center", va="bottom", fontsize=6.8
            )
        axes.set_xticks(
            range(len(mine)), [f"{SIDES[row['side']][1]}\n{row['precision']}" for row in mine]
        )
        axes.set_title(task)
        axes.set_ylabel(f"{mine[0]['unit']} in a CPU-second")
        axes.set_xlim(-0.6, len(mine) - 0.3)
    return figure


@styled
def growth(results: Path) -> Figure:
    """How cost grows with catalogue, history and users: CPU time with the extreme repeats as
    whiskers; memory needs none."""
    rows = read(results, "growth.json")["rows"]
    figure, (memory, decoding, history, users) = panels(3.6, 2, rows=2, width=PAGE)
    mine = [row for row in rows if row["curve"] == "catalogue"]
    memory.plot(
        [row["items"] for row in mine],
        [row["trie_tensor_bytes_per_item"] for row in mine],
        color=BLUE,
        marker="D",
        label="trie",
    )
    memory.set_ylabel("trie, bytes/item")
    memory.set_xlabel("items in the catalogue")
    memory.set_xscale("log")
    memory.set_ylim(0, 1.15 * max(row["trie_tensor_bytes_per_item"] for row in mine))
    curves = (
        (
            decoding,
            "catalogue",
            "items",
            "cpu_seconds_per_user",
            "items in the catalogue",
            "decoding, ms/user",
        ),
        (
            history,
            "history",
            "history",
            "cpu_seconds_per_target",
            "items in the history",
            "training, ms/target",
        ),
        (
            users,
            "users",
            "users",
            "cpu_seconds_per_target",
            "users in the epoch",
            "training, ms/target",
        ),
    )
    for axes, curve, across, up, x_label, y_label in curves:
        mine = [row for row in rows if row["curve"] == curve]
        x = [row[across] for row in mine]
        y, low, high = (
            np.array([1e3 * row[f"{up}{end}"] for row in mine]) for end in ("", "_min", "_max")
        )
        axes.errorbar(x, y, yerr=whiskers(low, y, high), color=BLUE, marker="D")
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.set_ylim(0, 1.1 * high.max())
        axes.set_xscale("log")
        if curve != "catalogue":
            axes.set_xticks(x, [str(value) for value in x])
            axes.minorticks_off()
    return figure


@styled
def beams(results: Path) -> Figure:
    """How much of TIGER's exact top ten the beam finds, and what it costs; shares of users have
    Wilson 95 % intervals."""
    rows = [row for row in read(results, "exact.json") if row["method"] == "tiger"]
    figure, (found, cost) = panels(1.9, 2, width=PAGE)
    sizes = [row["beams"] for row in rows]
    found.plot(
        sizes,
        [100 * row["overlap"] for row in rows],
        color=BLUE,
        marker="D",
        label="of the ten items (mean)",
    )
    shares = np.array([row["identical"] for row in rows])
    low, high = wilson(shares, np.array([row["users"] for row in rows]))
    dashed: dict[str, Any] = {
        "color": ORANGE,
        "marker": "s",
        "linestyle": "--",
        "label": "users with all ten (95 %)",
    }
    found.errorbar(sizes, 100 * shares, yerr=100 * whiskers(low, shares, high), **dashed)
    found.set_ylabel("found by the beam, %")
    found.set_ylim(0, 104)
    found.legend(loc="lower right")
    cost.plot(
        sizes, [1e3 * row["beam_cpu_seconds"] for row in rows], color=BLUE, marker="D", label="beam"
    )
    cost.axhline(
        1e3 * rows[0]["exact_cpu_seconds"], color=GREY, linestyle="--", label="every item scored"
    )
    cost.set_ylabel("CPU-ms per user (one run)")
    cost.set_yscale("log")
    cost.legend(loc="center right")
    for axes in (found, cost):
        axes.set_xticks(sizes)
        axes.set_xlabel("beams")
    return figure


@styled
def latency(results: Path) -> Figure:
    """Answering one shopper at a time: p50 and p99 of both bundles, and the ratio of their p50 with
    its 95 % interval."""
    measured = read(results, "latency.json")
    rows, arm = measured["latency"], measured["arm"]
    figure, (times, ratios) = panels(1.9, 2, width=PAGE)
    for shift, name in ((-0.12, "tiger"), (0.12, arm)):
        label, colour, marker = METHODS[name]
        places = [number + shift for number in range(len(rows))]
        for quantile, line in (("p50", "-"), ("p99", ":")):
            values = [row[name][quantile] for row in rows]
            times.plot(
                places,
                values,
                color=colour,
                marker=marker,
                linestyle=line,
                label=f"{label}, {quantile}",
            )
    times.set_ylabel("latency, ms")
    times.set_ylim(bottom=0)
    times.legend(loc="lower left", fontsize=6)
    for shift, name, label, colour, marker in (
        (-0.08, "p50_ratio", "wall time", BLUE, "D"),
        (0.08, "p50_ratio_cpu", "CPU time", ORANGE, "s"),
    ):
        low, mean, high = (
            np.array([row[name][end] for row in rows]) for end in ("low", "mean", "high")
        )
        places = np.arange(len(rows)) + shift
        ratios.errorbar(
            places,
            mean,
            yerr=whiskers(low, mean, high),
            color=colour,
            marker=marker,
            linestyle="none",
            label=label,
        )
    ratios.axhline(1.0, color=GREY, linewidth=0.8)
    ratios.set_ylabel("p50 of SCoTER / TIGER")
    ratios.legend()
    for axes in (times, ratios):
        axes.set_xticks(range(len(rows)), [str(row["threads"]) for row in rows])
        axes.set_xlim(-0.5, len(rows) - 0.5)
        axes.set_xlabel("threads")
    return figure


def wilson(share: np.ndarray, n: np.ndarray, z: float = 1.959964) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's 95 % interval of a share of n.

    >>> low, high = wilson(np.array([0.5]), np.array([100]))
    >>> [round(float(end[0]), 3) for end in (low, high)]
    [0.404, 0.596]
    """
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return centre - half, centre + half
