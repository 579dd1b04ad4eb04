"""What a figure draws, read back from its axes, is what the results hold; pictures of the stable
ones stay as they are."""

import itertools
import json
import shutil
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.testing.compare import compare_images

from benchmarks.suite.collect import ranks_path
from benchmarks.tables.comparisons import difference
from benchmarks.tables.stages_page import exponents
from benchmarks.tables.tables import main_table
from paper_figures.__main__ import main
from paper_figures.drawn import efficiency, theory_figures
from paper_figures.drawn.comparisons import QUESTIONS
from paper_figures.figures import FIGURES, draw
from paper_figures.measured import RESULTS, NotMeasuredError
from paper_figures.picture import Panel
from paper_figures.style import COLUMN, METHODS, method_name, save, style
from scoter.evaluation.evaluator import load_user_metrics
from scoter.evaluation.metrics import per_user
from scoter.experiments import methods
from theory.bounds import fano_ceiling, recall_floor

PICTURES = Path(__file__).parent / "pictures"
STABLE = ("method", "bounds", "order")


def errorbars(axes) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(low, middle, high) of every errorbar along its own direction."""
    found = []
    for bar in axes.containers:
        if isinstance(bar, ErrorbarContainer):
            across = bar.has_xerr
            ends = np.array(
                [segment[:, 0 if across else 1] for segment in bar[2][0].get_segments()]
            )
            middle = bar[0].get_xdata() if across else bar[0].get_ydata()
            found.append((ends[:, 0], np.asarray(middle, float), ends[:, 1]))
    return found


def json_results(name):
    return json.loads((RESULTS / name).read_text())


def test_ten_controls_stand_below_their_questions_at_column_width():
    figure = draw("controls").figure
    assert figure.get_figwidth() == COLUMN
    (axes,) = figure.axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    arms = {method_name(arm): arm for group in QUESTIONS.values() for arm in group}
    assert [name for name in names if name not in arms] == list(QUESTIONS)
    assert len(arms) == 10
    for dataset, (low, middle, high) in zip(
        ("beauty-quarter", "toys-quarter"), errorbars(axes), strict=True
    ):
        shown = [arms[name] for name in names if name in arms]
        found = [difference(RESULTS, dataset, "scoter", arm, "recall@10") for arm in shown]
        for ends, key in ((low, "low"), (middle, "mean"), (high, "high")):
            assert list(ends) == pytest.approx([getattr(gap, key) for gap in found])


def test_every_control_is_a_paired_difference():
    fullest, toys, others = draw("arms").figure.axes
    assert [axes.get_title() for axes in (fullest, toys, others)] == [
        "Beauty, a quarter of the epochs",
        "Toys, a quarter of the epochs",
        "other tables",
    ]
    for axes, dataset, prefix, arms in (
        (
            fullest,
            "beauty-quarter",
            "",
            ("tiger", "tiger-meanpool", "control-bag", "control-without-step-5"),
        ),
        (toys, "toys-quarter", "", ("tiger", "control-shuffled", "control-without-step-12")),
        (others, "toys", "Toys: ", ("tiger", "control-mixed-scores")),
    ):
        names = [label.get_text() for label in axes.get_yticklabels()]
        ((low, middle, high),) = errorbars(axes)
        for arm in arms:
            found = difference(RESULTS, dataset, "scoter", arm, "recall@10")
            place = names.index(prefix + method_name(arm))
            assert found is not None
            assert (low[place], middle[place], high[place]) == pytest.approx(
                (found.low, found.mean, found.high)
            )


def test_controls_of_a_shop_alone_have_a_panel_of_their_own(tmp_path):
    rows = pd.read_parquet(RESULTS / "main.parquet")
    shutil.copytree(RESULTS / "ranks", tmp_path / "ranks")
    rows[rows["dataset"] == "simulated-lambda-1"].to_parquet(tmp_path / "main.parquet")
    (axes,) = draw("arms", tmp_path).figure.axes
    assert axes.get_title() == "simulated shop, λ = 1"
    names = ["TIGER", "TIGER + mean-pooled chain", "another user's chain"]
    assert sorted(label.get_text() for label in axes.get_yticklabels()) == sorted(names)


def test_lift_is_the_tables_in_percent():
    axes = draw("lift").figure.axes[0]
    row = main_table(RESULTS, "beauty").set_index("method").loc["sasrec-ce"]
    names = [label.get_text() for label in axes.get_yticklabels()]
    low, middle, high = errorbars(axes)[names.index("SASRec, full softmax")]
    # in units of TIGER's at the seeds that both have
    scale = row["lift ndcg@10"] / row["difference ndcg@10"]
    expected = [scale * row[f"{end} ndcg@10"] for end in ("low", "difference", "high")]
    assert [low[0], middle[0], high[0]] == pytest.approx(expected)


def test_attention_is_the_summary():
    rows = [row for row in json_results("attention.json")["rows"] if row["method"] == "scoter"]
    drawn = [patch.get_height() for axes in draw("attention").figure.axes for patch in axes.patches]
    assert sorted(drawn) == pytest.approx(sorted(row["mean"] for row in rows))
    ends = np.concatenate(
        [high for axes in draw("attention").figure.axes for _, _, high in bar_ends(axes)]
    )
    assert sorted(ends) == pytest.approx(sorted(row["high"] for row in rows))


def bar_ends(axes):
    for bar in axes.containers:
        if isinstance(bar, ErrorbarContainer):
            ends = np.array([segment[:, 1] for segment in bar[2][0].get_segments()])
            yield ends[:, 0], None, ends[:, 1]


def test_clusters_are_the_file():
    plane = draw("clusters").figure.axes[0]
    drawn = np.concatenate(
        [np.c_[part.get_offsets(), part.get_array()] for part in plane.collections]
    )
    rows = json_results("patterns/beauty-s0.json")["points"]
    points = np.array([[point["x"], point["y"], point["gain"]] for point in rows])
    assert sorted(map(tuple, drawn.round(9))) == sorted(map(tuple, points.round(9)))


def test_staleness_and_discovery_are_their_files():
    ((low, middle, high),) = errorbars(draw("staleness").figure.axes[0])
    for place, row in enumerate(json_results("staleness.json")["rows"]):
        assert (low[place], middle[place], high[place]) == pytest.approx(
            [row["recall"][end] for end in ("low", "mean", "high")]
        )
    rivals = json_results("patterns/beauty-s0.json")["rivals"]
    gains = {name: rival["ndcg_gain_of_mined"] for name, rival in rivals.items()}
    axes = draw("discovery").figure.axes[1]
    ((low, middle, high),) = errorbars(axes)
    names = [label.get_text() for label in draw("discovery").figure.axes[0].get_yticklabels()]
    assert set(names) == set(gains)
    for place, name in enumerate(names):
        ends = [gains[name][end] for end in ("low", "mean", "high")]
        assert (low[place], middle[place], high[place]) == pytest.approx(ends)
        assert (
            f"  {name}: {ends[1]:.4g} [{ends[0]:.4g}, {ends[2]:.4g}]"
            in draw("discovery").numbers().splitlines()
        )


def test_a_point_shifted_aside_is_printed_with_the_name_of_its_place():
    rows = json_results("latency.json")["latency"]
    printed = draw("latency").numbers().splitlines()
    for row in rows:
        assert f"  TIGER, p99, {row['threads']}: {row['tiger']['p99']:.4g}" in printed
    assert not any("0.12" in line or "0.88" in line for line in printed)
    across, up = (Panel(axes) for axes in Figure().subplots(1, 2))
    across.curve([-0.2, 0.8], [3, 4], "left", ["cold", "warm"])
    across.curve([0.2, 1.2], [5, 6], "right", ["cold", "warm"])
    up.curve([7, 8, 9], [0.1, 1.1, 2.1], "lying", ["a", "b", "c"], across=True)
    lines = [line.strip() for panel in (across, up) for line in panel.lines() if line.strip()]
    assert lines == [
        *("left, cold: 3", "left, warm: 4", "right, cold: 5", "right, warm: 6"),
        *("lying, a: 7", "lying, b: 8", "lying, c: 9"),
    ]


def read_back(axes) -> list[tuple[float, ...]]:
    """(place, value) of every point, (place, low, high) of every interval that the axes hold."""
    drawn = []
    for bar in axes.containers:
        if isinstance(bar, ErrorbarContainer):
            along = 0 if bar.has_xerr else 1
            segments = filter(len, bar[2][0].get_segments())  # none where nothing is measured
            drawn += [(start[1 - along], start[along], end[along]) for start, end in segments]
    for line in axes.lines:
        drawn += [tuple(point) for point in np.transpose(line.get_data()).astype(float)]
    for cloud in axes.collections:
        drawn += [tuple(point) for point in np.asarray(cloud.get_offsets(), float)]
    return drawn


@pytest.mark.parametrize("name", sorted(set(FIGURES) - {"method"}))
def test_what_is_drawn_is_the_data(name):
    picture = draw(name)
    for number, panel in enumerate(picture.panels):
        drawn = np.array([[*point, np.nan][:3] for point in read_back(panel.axes)])
        for series in panel.ordered():
            for at, value in enumerate(series.values):
                if not np.isfinite(value).all():  # nothing is measured here
                    continue
                if series.kind == "interval":
                    wanted = (series.at[at], series.low[at], series.high[at])
                    assert np.isclose(drawn, wanted).all(axis=1).any(), (name, number, wanted)
                elif series.kind == "line":
                    assert np.isclose(drawn[:, :2], value).any()
                else:
                    pairs = [drawn[:, :2], drawn[:, 1::-1]]
                    wanted = (series.at[at], value)
                    assert any(np.isclose(pair, wanted).all(axis=1).any() for pair in pairs)
    data = picture.data()
    assert len(data) == sum(len(series.values) for p in picture.panels for series in p.series)
    assert {"panel", "kind", "series", "place", "value", "low", "high"} == set(data.columns)


@pytest.mark.parametrize("name", [name for name in FIGURES if name != "method"])
def test_every_heading_of_a_figures_numbers_has_numbers_below_it(name):
    lines = draw(name).numbers().splitlines()
    assert lines
    for place, line in enumerate(lines):
        if not line.startswith("  "):
            assert lines[place + 1].startswith("  "), line


def test_estimators_are_their_file():
    rows = json_results("estimators.json")["rows"]
    mine = [
        row for row in rows if (row["estimator"], row["n"]) == ("ksg_1", 5000) and "value" in row
    ]
    mean = np.mean([abs(row["error"]) for row in mine])
    assert f"  ksg 1: {mean:.4g}" in draw("estimators").numbers().splitlines()
    each, _ = draw("estimators").figure.axes
    names = [label.get_text() for label in each.get_yticklabels()]
    drawn = each.lines[names.index("ksg 1")].get_xdata()
    low, high = each.get_xlim()
    assert sorted(drawn) == pytest.approx(sorted(row["error"] for row in mine))
    assert low < min(drawn) <= max(drawn) < high  # nothing is cut off


def test_prefixes_are_their_file():
    rows = json_results("information.json")["rows"]
    for axes, kind in zip(draw("prefixes").figure.axes, ("prefix", "over"), strict=True):
        mine = [row for row in rows if row["kind"] == kind]
        ((low, middle, high),) = errorbars(axes)
        assert np.array([low, middle, high]) == pytest.approx(
            np.array([[row[end] for row in mine] for end in ("low", "nats", "high")])
        )
        assert len(axes.get_yticklabels()) == len(mine)


def test_speed_growth_and_beams_are_their_files():
    rows = [
        row
        for row in json_results("speed.json")["rows"]
        if row.get("side") in ("ours", "theirs")
        and "whole vocabulary" not in row["task"]
        and not any(peer in f"{row['name']} {row.get('against')}" for peer in efficiency.PEERS)
    ]
    for axes in draw("speed").figure.axes:
        mine = {
            row["side"] + row["precision"]: row["per_cpu_second"]
            for row in rows
            if row["task"] == axes.get_title()
        }
        names = [label.get_text().replace("\n", "") for label in axes.get_xticklabels()]
        sides = [name.replace("scoter", "ours").replace("HF T5", "theirs") for name in names]
        assert [patch.get_height() for patch in axes.patches] == pytest.approx(
            [mine[side] for side in sides]
        )
        assert len(sides) == len(mine)
    axes = draw("growth").figure.axes
    rows = json_results("growth.json")["rows"]
    ((low, middle, high),) = errorbars(axes[2])
    history = [row for row in rows if row["curve"] == "history"]
    assert middle == pytest.approx([1e3 * row["cpu_seconds_per_target"] for row in history])
    assert low == pytest.approx([1e3 * row["cpu_seconds_per_target_min"] for row in history])
    assert high == pytest.approx([1e3 * row["cpu_seconds_per_target_max"] for row in history])
    assert axes[0].lines[0].get_ydata() == pytest.approx(
        [row["trie_tensor_bytes_per_item"] for row in rows if row["curve"] == "catalogue"]
    )
    rows = json_results("stages.json")
    for axes, value in zip(draw("stages").figure.axes, ("cpu_seconds", "peak_mib"), strict=True):
        slopes = exponents(rows, value)
        for line in axes.lines:
            stage, _, interval = str(line.get_label()).partition(": ")
            own = [row[value] for row in rows if row["stage"] == stage]
            assert line.get_ydata() == pytest.approx(own)
            assert interval.startswith(f"{slopes[stage][1]:.2f} ")
        assert len(axes.lines) == len(slopes)
    found, cost = draw("beams").figure.axes
    exact = [row for row in json_results("exact.json") if row["method"] == "tiger"]
    assert found.lines[0].get_ydata() == pytest.approx([100 * row["overlap"] for row in exact])
    assert cost.lines[0].get_ydata() == pytest.approx(
        [1e3 * row["beam_cpu_seconds"] for row in exact]
    )


def test_latency_is_its_file(tmp_path):
    quantiles = {"tiger": {"p50": 8.0, "p99": 12.0}, "scoter": {"p50": 8.4, "p99": 13.0}}
    ratio = {"mean": 1.05, "low": 1.03, "high": 1.08}
    rows = [
        {"threads": threads, "p50_ratio": ratio, "p50_ratio_cpu": ratio, **quantiles}
        for threads in (1, 2)
    ]
    (tmp_path / "latency.json").write_text(json.dumps({"arm": "scoter", "latency": rows}))
    times, ratios = draw("latency", tmp_path).figure.axes
    assert {line.get_label(): list(line.get_ydata()) for line in times.lines} == {
        "TIGER, p50": [8.0, 8.0],
        "TIGER, p99": [12.0, 12.0],
        "SCoTER (ordered steps), p50": [8.4, 8.4],
        "SCoTER (ordered steps), p99": [13.0, 13.0],
    }
    for found in errorbars(ratios):
        assert np.array(found) == pytest.approx(np.array([[1.03] * 2, [1.05] * 2, [1.08] * 2]))


def bar_ends_of(axes):
    (bar,) = [part for part in axes.containers if isinstance(part, ErrorbarContainer)]
    ends = np.array([segment[:, 0] for segment in bar[2][0].get_segments()])
    return ends[:, 0], ends.mean(axis=1), ends[:, 1]


def test_shops_stand_below_what_is_possible():
    figure = draw("shops").figure
    for axes, dataset in zip(
        figure.axes, ("simulated-lambda-1", "simulated-lambda-0"), strict=True
    ):
        table = main_table(RESULTS, dataset).set_index("method")
        names = [label.get_text() for label in axes.get_yticklabels()]
        widths = dict(zip(names, [patch.get_width() for patch in axes.patches], strict=True))
        for name in ("tiger", "tiger-meanpool", "scoter"):
            assert widths[method_name(name)] == pytest.approx(table.loc[name, "recall@10"])
            ranks = [
                load_user_metrics(ranks_path(RESULTS, dataset, name, seed, "test"))
                for seed in range(3)
            ]
            each = np.mean([per_user(one, "recall@10") for one in ranks], axis=0)
            low, _, high = (ends[names.index(method_name(name))] for ends in bar_ends_of(axes))
            assert high - low == pytest.approx(2 * 1.96 * each.std() / len(each) ** 0.5, rel=0.1)
        best = axes.lines[-1 if dataset.endswith("0") else -2].get_xdata()[0]
        assert max(widths.values()) < best == pytest.approx(0.58776, abs=1e-4)


def test_solvable_models_lie_between_their_bounds():
    points = theory_figures.solvable_points(seeds=(0, 1))
    for _, entropy, recall in points:
        floor, ceiling = (
            bound(entropy, items=theory_figures.ITEMS, k=theory_figures.K)
            for bound in (recall_floor, fano_ceiling)
        )
        assert floor - 1e-9 <= recall <= ceiling + 1e-9
    offsets = np.concatenate(
        [part.get_offsets() for part in draw("bounds").figure.axes[0].collections[1:]]
    )
    for _, entropy, recall in points:
        assert np.abs(offsets - [entropy, recall]).sum(axis=1).min() < 1e-9
    for _, information, gain in theory_figures.order_points(seeds=(0,)):
        assert -1e-9 <= gain <= np.sqrt(max(information, 0.0) / 2) + 1e-9


def test_the_crossing_lies_between_the_rows_where_the_risks_change_places():
    risks = theory_figures.crossover_risks(repetitions=400)
    assert [row[:2] for row in theory_figures.crossover_risks(repetitions=2)["mean"]] == [
        row[:2] for row in risks["mean"]
    ]
    crossing = draw("crossover").figure.axes[0].texts[0].get_text()
    n_star = float(crossing.split("= ")[1])
    for (n, structured, *_), (_, pooled, *_) in zip(risks["ordered"], risks["mean"], strict=True):
        assert (structured < pooled) == (n > n_star)


def test_every_method_has_a_name_of_its_own():
    assert set(methods()) <= set(METHODS)
    names = [name for name, *_ in METHODS.values()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", sorted(FIGURES))
def test_axes_are_named_and_labels_do_not_overlap(name):
    figure = draw(name).figure
    canvas = FigureCanvasAgg(figure)
    with style():
        canvas.draw()
    renderer = canvas.get_renderer()
    frame = figure.bbox
    for axes in figure.axes:
        if not axes.axison or axes.get_label() == "<colorbar>":
            continue
        assert axes.get_xlabel() or any(label.get_text() for label in axes.get_xticklabels())
        assert (
            axes.get_ylabel()
            or any(label.get_text() for label in axes.get_yticklabels())
            or axes.get_shared_y_axes()
        )
        for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
            boxes = [
                label.get_window_extent(renderer)
                for label in labels
                if label.get_text() and label.get_visible()
            ]
            if not any(label.get_rotation() for label in labels):
                assert not any(one.overlaps(two) for one, two in itertools.pairwise(boxes))
        for text in (axes.xaxis.label, axes.yaxis.label, axes.title):
            box = text.get_window_extent(renderer)
            assert not text.get_text() or (
                box.x0 >= -1 and box.x1 <= frame.x1 + 1 and box.y1 <= frame.y1 + 1
            ), text.get_text()
    drawn = [axes for axes in figure.axes if axes.axison]
    texts = [
        text
        for axes in drawn
        for text in (axes.xaxis.label, axes.yaxis.label, axes.title)
        if text.get_text()
    ]
    for one, two in itertools.combinations(texts, 2):
        boxes = [text.get_window_extent(renderer).padded(3) for text in (one, two)]  # pixels
        assert not boxes[0].overlaps(boxes[1]), (one.get_text(), two.get_text())


@pytest.mark.parametrize("name", STABLE)
def test_pictures_stay_as_they_were_looked_at(name, tmp_path):
    (path,) = save(draw(name).figure, tmp_path, name, ("png",))
    assert compare_images(str(PICTURES / f"{name}.png"), str(path), tol=4) is None


def test_a_picture_that_changed_is_noticed(tmp_path):
    figure = draw("method").figure
    figure.axes[0].texts[0].set_text("something else altogether")
    (path,) = save(figure, tmp_path, "method", ("png",))
    assert compare_images(str(PICTURES / "method.png"), str(path), tol=4) is not None


def test_the_command_writes_both_forms_and_lists_what_is_missing(tmp_path):
    shutil.copytree(
        RESULTS, tmp_path / "results", ignore=shutil.ignore_patterns("ranks", "staleness.json")
    )
    done = CliRunner().invoke(
        main,
        [
            "--out",
            str(tmp_path / "out"),
            "--results",
            str(tmp_path / "results"),
            "--only",
            "method",
            "--only",
            "staleness",
        ],
    )
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "method.pdf",
        "method.png",
    ]
    assert "staleness.json is not among the results: not measured yet" in done.output
    with pytest.raises(NotMeasuredError):
        draw("staleness", tmp_path / "results")


def test_equal_figures_give_equal_files_and_leave_the_readers_style_alone(tmp_path):
    before = dict(plt.rcParams)
    one, two = (save(draw("beams").figure, tmp_path / name, "beams") for name in ("a", "b"))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]
    with style():
        pass
    assert dict(plt.rcParams) == before
