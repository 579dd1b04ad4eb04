"""Tables against the ranks that they were made from, in every format, and the documents that hold
them."""

import csv
import io
import json
import re
import subprocess
import sys
import time

import numpy as np
import pytest
from click.testing import CliRunner
from finished_run import USERS, draw_ranks, write_run
from scipy import stats

from benchmarks.__main__ import main
from benchmarks.documents import renewed
from benchmarks.suite.cells import Cell
from benchmarks.suite.collect import RESULTS, collect, gpu_of, load_rows, ranks_path
from benchmarks.suite.plan import forecast
from benchmarks.tables.comparisons import compare
from benchmarks.tables.notes import notes
from benchmarks.tables.render import render
from benchmarks.tables.tables import COLUMNS, cpu_hours, datasets, main_table, sources
from scoter.errors import ConfigError, DataError
from scoter.evaluation.evaluator import load_user_metrics, save_user_metrics
from scoter.evaluation.metrics import mean_metrics, per_user
from scoter.evaluation.significance import holm
from scoter.types import UserMetrics


@pytest.fixture
def make_run(tmp_path):
    return lambda name="run", **changes: write_run(tmp_path / name, **changes)


@pytest.fixture
def results(make_run, tmp_path):
    """Two seeds of TIGER and SCoTER, one of popularity."""
    collect(make_run("a"), tmp_path / "results")
    collect(make_run("b", seed=1, methods=("scoter", "tiger")), tmp_path / "results")
    return tmp_path / "results"


def test_the_table_is_what_the_ranks_say(results):
    table = main_table(results, "beauty").set_index("method")
    assert list(table.index[:5]) == [
        "popularity",
        "tiger",
        "scoter",
        "SASRec, BCE (paper)",
        "TIGER (paper)",
    ]
    assert {name for name in table.index[5:] if name.startswith("TIGER")} == {
        f"TIGER ({who}, reproduced)" for who in ("Cornac's", "Haneol99's", "phonism's")
    }
    assert table["seeds"].tolist()[:3] == [1, 2, 2]
    means = {
        name: np.mean([mean_metrics(draw_ranks(name, s, "test"))["recall@10"] for s in (0, 1)])
        for name in ("tiger", "scoter")
    }
    assert table.loc["scoter", "recall@10"] == pytest.approx(means["scoter"], abs=1e-15)
    assert table.loc["scoter", "lift recall@10"] == pytest.approx(
        100 * (means["scoter"] / means["tiger"] - 1)
    )
    assert table.loc["scoter", "difference recall@10"] == pytest.approx(
        means["scoter"] - means["tiger"], abs=1e-15
    )
    assert (
        0
        < table.loc["scoter", "low recall@10"]
        < table.loc["scoter", "difference recall@10"]
        < table.loc["scoter", "high recall@10"]
    )
    assert table.loc["popularity", "lift ndcg@10"] == -100
    assert table.loc["tiger", ["lift recall@10", "difference recall@10"]].isna().all()
    assert table.loc["scoter", "cpu_hours"] == 1.5


def test_the_interval_is_the_normal_one_of_paired_users_where_there_are_many(results):
    row = main_table(results, "beauty").set_index("method").loc["scoter"]
    gaps = [
        per_user(draw_ranks("scoter", s, "test"), "ndcg@10")
        - per_user(draw_ranks("tiger", s, "test"), "ndcg@10")
        for s in (0, 1)
    ]
    half = 1.96 * np.mean(gaps, axis=0).std() / np.sqrt(600)
    assert row["high ndcg@10"] - row["low ndcg@10"] == pytest.approx(2 * half, rel=0.08)


def test_the_deviation_is_that_of_the_seeds_and_stands_beside_the_mean(results):
    row = main_table(results, "beauty").set_index("method").loc["scoter"]
    values = [mean_metrics(draw_ranks("scoter", seed, "test"))["ndcg@5"] for seed in (0, 1)]
    assert row["deviation ndcg@5"] == pytest.approx(abs(values[0] - values[1]) / np.sqrt(2))
    assert f"{np.mean(values):.4f} ± {row['deviation ndcg@5']:.4f}" in render(
        results, "beauty", "text"
    )
    assert np.isnan(
        main_table(results, "beauty").set_index("method").loc["popularity", "deviation ndcg@5"]
    )


def test_stars_are_holms_over_all_that_the_table_and_its_notes_compare(make_run, tmp_path):
    methods = ("tiger", "tiger-meanpool", "scoter", "popularity")
    collect(make_run("a", methods=methods), tmp_path / "results")
    ranks = {name: draw_ranks(name, 0, "test") for name in methods}
    alike = np.where(
        np.arange(USERS) < 9, 7, ranks["tiger"].ranks
    )  # nine users better served: too few for a star
    ranks["tiger-meanpool"] = UserMetrics(users=np.arange(USERS), ranks=alike, depth=20)
    for name, kept in ranks.items():
        save_user_metrics(kept, ranks_path(tmp_path / "results", "beauty", name, 0, "test"))
    found = compare(tmp_path / "results", "beauty")
    shown = {(one.method, one.baseline, one.metric) for one in found}
    four, two = ("recall@5", "ndcg@5", "recall@10", "ndcg@10"), ("recall@10", "ndcg@10")
    assert shown == {
        ("scoter", base, metric) for base in ("tiger", "tiger-meanpool") for metric in four
    } | {(name, "tiger", metric) for name in ("popularity", "tiger-meanpool") for metric in two}
    values = [
        (per_user(ranks[one.method], one.metric), per_user(ranks[one.baseline], one.metric))
        for one in found
    ]
    expected = holm([stats.ttest_rel(ours, theirs).pvalue for ours, theirs in values])
    assert [one.corrected for one in found] == pytest.approx(expected, rel=1e-9)
    assert {one.marked for one in found} == {True, False}
    text = render(tmp_path / "results", "beauty", "text")
    assert "corrected by Holm for the 12 comparisons shown here" in text
    for one in found:
        shown = (
            f"{one.difference.mean:+.4f} [{one.difference.low:+.4f}, {one.difference.high:+.4f}]"
        )
        assert f"{shown}{'*' if one.marked else ''} ({one.lift:+.1f} %)" in text


def test_arms_of_another_recipe_and_mixed_seeds_are_named(make_run, tmp_path):
    for seed, epochs in ((0, 12), (1, 13)):
        run = make_run(f"scoter-{seed}", methods=("tiger", "scoter"), seed=seed)
        told = json.loads((run / "run.json").read_text())
        for method, budget in (("tiger", 12), ("scoter", epochs)):
            told["methods"][method]["config"] = {
                "model": {"kind": "tiger"},
                "training": {"epochs": budget},
                "fusion": None,
            }
        (run / "run.json").write_text(json.dumps(told))
        collect(run, tmp_path / "results")
    found = notes(tmp_path / "results", "beauty")
    assert any("not compared with it: scoter." in note for note in found)
    assert "scoter: its seeds were trained by different recipes; their mean is of neither." in found
    assert not any(note.startswith("tiger: its seeds") for note in found)


def test_hours_are_summed_once_for_each_cell(results):
    assert cpu_hours(results) == cpu_hours(results, "beauty") == pytest.approx(5 * 1.5)
    assert "Training and validation of all rows of this table: 7.5 h of a processor." in notes(
        results, "beauty"
    )


def test_what_a_gpu_trained_is_said_and_tells_nothing_of_the_processors_hours(tmp_path):
    run = write_run(tmp_path / "run", methods=("tiger", "scoter"))
    told = json.loads((run / "run.json").read_text())
    told["methods"]["tiger"] |= {"device": "cpu", "precision": "fp32"}
    told["methods"]["scoter"] |= {
        "device": "NVIDIA H100",
        "precision": "bf16",
        "config": {"model": {"kind": "tiger"}},
    }
    (run / "run.json").write_text(json.dumps(told))
    rows = collect(run, tmp_path / "results")
    assert {json.loads(text)["precision"] for text in rows["versions"]} == {"fp32", "bf16"}
    gpus = {row["method"]: gpu_of(row) for row in load_rows(tmp_path / "results")}
    assert gpus == {"tiger": "", "scoter": "NVIDIA H100"}
    ending = (
        "3.0 h of a processor. Trained on one NVIDIA H100, whose host's processor alone is "
        "counted: scoter."
    )
    assert any(note.endswith(ending) for note in notes(tmp_path / "results", "beauty"))
    assert forecast(Cell("beauty", "scoter", 1), load_rows(tmp_path / "results")) is None


def test_a_smaller_budget_is_noted(make_run, tmp_path):
    run = make_run(
        methods=("tiger",),
        experiment="beauty-quarter-tiger",
        note="every method has 0.25 of the usual epochs",
    )
    collect(run, tmp_path / "results")
    assert datasets(tmp_path / "results") == ["beauty-quarter"]
    assert "All methods: every method has 0.25 of the usual epochs." in notes(
        tmp_path / "results", "beauty-quarter"
    )


def test_published_rows_are_the_checked_ones_and_nothing_else(results):
    table = main_table(results, "beauty").set_index("method")
    assert table.loc["TIGER (paper)", ["recall@5", "ndcg@5", "recall@10", "ndcg@10"]].tolist() == [
        0.0454,
        0.0321,
        0.0648,
        0.0384,
    ]
    assert table.loc[
        "SASRec, BCE (paper)", ["recall@5", "ndcg@5", "recall@10", "ndcg@10"]
    ].tolist() == [0.0387, 0.0249, 0.0605, 0.0318]
    assert table.loc["TIGER (paper)", "source"] == "arXiv 2305.05065"
    assert table.loc["TIGER (paper)", ["seeds", "cpu_hours", "lift recall@10"]].isna().all()
    assert any(
        "3.75 % to 11.59 %" in note and "2511.19514" in note for note in notes(results, "beauty")
    )
    assert not any("TIGER (paper)" in note for note in notes(results, "yelp"))


def test_methods_that_share_no_seed_have_a_gain_but_no_interval(make_run, tmp_path):
    collect(make_run("a", methods=("tiger",)), tmp_path / "results")
    collect(make_run("b", methods=("scoter",), seed=1), tmp_path / "results")
    row = main_table(tmp_path / "results", "beauty").set_index("method").loc["scoter"]
    assert row["lift recall@10"] > 0
    assert row[["difference recall@10", "low recall@10"]].isna().all()


def test_a_gain_is_over_the_same_seeds_as_its_difference(results):
    row = (
        main_table(results, "beauty").set_index("method").loc["popularity"]
    )  # seed 0 alone, beside two seeds of TIGER
    assert row["difference recall@10"] == pytest.approx(
        -mean_metrics(draw_ranks("tiger", 0, "test"))["recall@10"]
    )
    assert row["lift recall@10"] == -100


def test_one_seed_beside_two_is_compared_at_that_seed(make_run, tmp_path):
    collect(make_run("a", methods=("tiger", "scoter")), tmp_path / "results")
    collect(make_run("b", methods=("tiger",), seed=1), tmp_path / "results")
    row = main_table(tmp_path / "results", "beauty").set_index("method").loc["scoter"]
    tiger = mean_metrics(draw_ranks("tiger", 0, "test"))["recall@10"]
    assert row["lift recall@10"] == pytest.approx(100 * row["difference recall@10"] / tiger)


def test_arms_of_unequal_budget_or_other_semantic_ids_are_not_compared(make_run, tmp_path):
    ids = {"semantic_ids": {"source": "text"}}
    arms = {
        name: {"model": {"kind": "tiger"}, "training": {"epochs": 12}, "fusion": name}
        for name in ("tiger", "scoter")
    }

    def table(changed_arm, changed_ids):
        for number, (name, config) in enumerate(
            {**arms, "scoter": {**arms["scoter"], **changed_arm}}.items()
        ):
            run = make_run(
                f"{len(list(tmp_path.iterdir()))}-{number}",
                methods=(name,),
                config=changed_ids if number else ids,
            )
            told = json.loads((run / "run.json").read_text())
            told["methods"][name]["config"] = config
            (run / "run.json").write_text(json.dumps(told))
            collect(run, tmp_path / "results")
        return main_table(tmp_path / "results", "beauty").set_index("method").loc["scoter"]

    assert table({}, ids)["lift recall@10"] > 0
    for changed_arm, changed_ids in (
        ({"training": {"epochs": 13}}, ids),
        ({}, {"semantic_ids": {"source": "cooccurrence"}}),
    ):
        row = table(changed_arm, changed_ids)
        assert row[["lift recall@10", "difference recall@10"]].isna().all()
        assert row["recall@10"] > 0
    assert not np.isnan(
        table({"model": {"kind": "sasrec"}, "training": {"epochs": 48}}, {})["lift recall@10"]
    )


def test_ranks_of_other_users_are_not_paired(results):
    path = ranks_path(results, "beauty", "scoter", 0, "test")
    kept = load_user_metrics(path)
    save_user_metrics(UserMetrics(users=kept.users[::-1].copy(), ranks=kept.ranks, depth=20), path)
    with pytest.raises(DataError, match="rank different users"):
        main_table(results, "beauty")


def test_every_format_shows_every_number(results):
    table = main_table(results, "beauty").set_index("method")
    for form in ("text", "markdown", "latex"):
        shown = render(results, "beauty", form).replace("$-$", "-")
        for metric in ("recall@5", "ndcg@5", "recall@10", "ndcg@10"):
            for value in table[metric]:
                assert f"{value:.4f}" in shown
        row = table.loc["scoter"]
        assert (
            f"{row['difference recall@10']:+.4f} [{row['low recall@10']:+.4f}, "
            f"{row['high recall@10']:+.4f}]" in shown
        )
    rows = list(csv.DictReader(io.StringIO(render(results, "beauty", "csv"))))
    assert tuple(rows[0]) == COLUMNS
    assert float(rows[2]["low ndcg@10"]) == table.loc["scoter", "low ndcg@10"]
    assert rows[4]["cpu_hours"] == ""


def test_markdown_and_latex_have_one_cell_for_each_heading(results):
    rows = len(main_table(results, "beauty"))
    lines = [
        line for line in render(results, "beauty", "markdown").splitlines() if line.startswith("|")
    ]
    assert len(lines) == 2 + rows
    assert {line.count("|") for line in lines} == {11}
    latex = [
        line for line in render(results, "beauty", "latex").splitlines() if line.endswith(r"\\")
    ]
    assert len(latex) == 1 + rows
    assert {line.count("&") for line in latex} == {9}
    assert not any(re.search(r"(?<!\\)[%_#]", line) for line in latex)


def test_sources_name_the_run_and_commit_of_each_row(results):
    found = sources(results, "beauty")
    assert found["method"].tolist() == ["popularity", "tiger", "tiger", "scoter", "scoter"]
    assert found["run"].tolist() == ["run-0", "run-0", "run-1", "run-0", "run-1"]
    assert render(results, "beauty", "sources").splitlines()[0] == "method,seed,run,commit"


def test_unknown_datasets_and_formats_are_refused_with_the_choices(results):
    with pytest.raises(DataError, match="'toys' has no collected results; choose from: beauty"):
        main_table(results, "toys")
    with pytest.raises(
        ConfigError, match="'html' is unknown; choose from: text, markdown, latex, csv, sources"
    ):
        render(results, "beauty", "html")


def test_a_document_keeps_its_text_and_gets_its_table(results):
    text = "# Title\n\n<!-- table:beauty -->\nold\n<!-- /table -->\n\nThe end.\n"
    made = renewed(text, results)
    assert made == text.replace("old\n", render(results, "beauty", "markdown"))
    assert renewed(made, results) == made


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no marker", "0 opening and 0 closing markers that make 0 parts"),
        ("<!-- table:beauty -->\n", "1 opening and 0 closing"),
        ("<!-- table:beauty -->\n<!-- table:toys -->\n<!-- /table -->", "2 opening and 1 closing"),
    ],
)
def test_a_document_without_whole_markers_is_refused(results, text, message):
    with pytest.raises(DataError, match=message):
        renewed(text, results)


def test_the_commands_collect_print_write_and_check(make_run, tmp_path):
    results, readme = tmp_path / "results", tmp_path / "README.md"

    def command(*arguments):
        return CliRunner().invoke(
            main, [str(argument) for argument in (*arguments, "--results", results)]
        )

    assert (
        "beauty, seed 0: 42 rows of popularity, scoter, tiger"
        in command("collect", make_run()).stdout
    )
    assert (
        render(results, "beauty", "markdown")
        in command("tables", "--dataset", "beauty", "--format", "markdown").stdout
    )
    readme.write_text("<!-- table:beauty -->\n<!-- /table -->\n")
    stale = command("documents", "--check", readme)
    assert stale.exit_code == 1
    assert f"python -m benchmarks documents {readme}" in stale.stderr
    assert command("documents", readme).stdout == f"renewed: {readme}\n"
    assert command("documents", readme).stdout == ""
    assert command("documents", "--check", readme).exit_code == 0
    assert render(results, "beauty", "markdown") in readme.read_text()


def test_a_refusal_is_one_line_and_a_failure(make_run, tmp_path):
    command = [
        sys.executable,
        "-m",
        "benchmarks",
        "collect",
        str(make_run(commit="unknown")),
        "--results",
        str(tmp_path / "results"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: commit = 'unknown' is not a clean commit")
    assert done.stderr.count("\n") == 1


def test_tables_are_made_without_torch():
    modules = (
        "benchmarks.tables.tables, benchmarks.suite.collect, benchmarks.tables.render, "
        "benchmarks.__main__"
    )
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_changed_digit_in_a_document_or_in_the_results_is_found(make_run, tmp_path):
    results, readme = tmp_path / "results", tmp_path / "README.md"
    rows = collect(make_run(), results)
    text = renewed("<!-- table:beauty -->\n<!-- /table -->\n", results)
    digit = re.search(r"0\.\d{3}[1-8]", text).end() - 1
    readme.write_text(text[:digit] + str(int(text[digit]) + 1) + text[digit + 1 :])
    command = [str(one) for one in ("documents", "--check", readme, "--results", results)]
    assert CliRunner().invoke(main, command).exit_code == 1
    readme.write_text(text)
    assert CliRunner().invoke(main, command).exit_code == 0
    rows.assign(value=rows["value"] + 1e-4).to_parquet(results / "main.parquet")
    assert CliRunner().invoke(main, command).exit_code == 1


def test_all_tables_take_seconds():
    """CPU time counts double where others keep the processor busy, so twice the ten are allowed."""
    began = time.process_time()
    for name in datasets(RESULTS):
        render(RESULTS, name, "text")
    assert time.process_time() - began < 20


def test_committed_results_are_complete_and_clean():
    if not (RESULTS / "main.parquet").exists():
        pytest.skip("no results have been collected yet")
    for row in load_rows(RESULTS):
        assert re.fullmatch(r"[0-9a-f]{40}", row["commit"])
        kept = load_user_metrics(
            ranks_path(RESULTS, row["dataset"], row["method"], row["seed"], row["split"])
        )
        assert per_user(kept, row["metric"]).mean() == pytest.approx(row["value"], abs=1e-9)
