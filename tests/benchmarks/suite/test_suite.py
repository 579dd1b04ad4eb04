"""What the suite runs and in which order, what counts as done, what the rest costs, and that no row
gets lost."""

import doctest
import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner
from finished_run import write_run

import benchmarks.suite.cells
import benchmarks.suite.recipes
from benchmarks.__main__ import main
from benchmarks.suite import loop as loop
from benchmarks.suite.cells import (
    CONTROLLED,
    DATASETS,
    QUARTER,
    SEEDS,
    Budget,
    Cell,
    cells_for,
    chosen,
    experiment_of,
    requested,
    suite,
)
from benchmarks.suite.collect import RESULTS, collect, load_rows
from benchmarks.suite.plan import plan, training_targets
from benchmarks.suite.recipes import differences, equal_budget, recipe_of, stored_recipe
from scoter.config import REASONS, to_json
from scoter.data.prepared import load_prepared
from scoter.errors import ConfigError, DataError, ScoterError
from scoter.experiments import (
    ABLATIONS,
    CONTROLS,
    MIXED_REASONS,
    MIXED_SCORES,
    RANKED_PATTERN,
    experiment,
)
from scoter.reasoning.catalogue.reasoner import lacking
from scoter.storage.store import git_commit, hash_file

TIGER, SASREC = Cell("beauty", "tiger", 0), Cell("beauty", "sasrec-ce", 0)


def write_cell(folder: Path, cell: Cell, cpu_seconds: float = 5400.0, **training: int) -> Path:
    """The finished run of a cell, its training changed where that is asked for."""
    made = experiment_of(cell)
    config = json.loads(to_json(made))
    folder = write_run(
        folder,
        methods=(cell.method,),
        seed=cell.seed,
        key=f"run of {cell.name}",
        experiment=made.name,
    )
    told = json.loads((folder / "run.json").read_text())
    told |= {"config": config, "dataset": cell.dataset, "note": made.note}
    method = {**config["methods"][cell.method]}
    method["training"] = {**method["training"], **training}
    told["methods"][cell.method] |= {
        "config": method,
        "epochs": method["training"]["epochs"],
        "cpu_seconds": cpu_seconds,
    }
    (folder / "run.json").write_text(json.dumps(told))
    return folder


@pytest.fixture
def clean(monkeypatch):
    monkeypatch.setattr(loop, "git_commit", lambda: "0" * 40)


def test_the_most_valuable_cells_come_first_and_none_comes_twice():
    cells = suite()
    names = [cell.name for cell in cells]
    quarter = 2 * (3 + len(CONTROLS)) - 2 + 2 * (3 + 4) + len(ABLATIONS)
    assert len(set(names)) == len(names) == 4 * 14 * 3 + 4 * 3 + 13 + quarter + 3 * 9
    headline = {
        f"{dataset}/{method}/0"
        for dataset in DATASETS
        for method in ("tiger", "tiger-meanpool", "scoter")
    }
    assert set(names[:12]) == headline
    assert names[:3] == ["beauty/tiger/0", "beauty/tiger-meanpool/0", "beauty/scoter/0"]
    assert {cell.seed for cell in cells[:56]} == {0}
    assert {cell.method for cell in cells[12:56]} == {
        *("control-mixed-scores", "control-mixed-reasons", "reasons-logit"),
        *("transition-graph", "item-knn", "ease"),
        *("popularity", "gru4rec", "sasrec-bce", "sasrec-ce", "sasrec-ce-scoter"),
    }
    assert [cell.dataset for cell in cells[56:84]] == ["beauty"] * 28
    assert all(cell.budget == Budget() for cell in cells[:193])
    assert {cell.budget for cell in cells[193:-27]} == {QUARTER}
    assert {cell.table for cell in cells[193:-27]} == {f"{dataset}-quarter" for dataset in DATASETS}
    assert names[-27:-24] == ["beauty-b/tiger/0", "beauty-b/sasrec-ce/0", "beauty-b/scoter/0"]
    assert {cell.table for cell in cells[-27:]} == {"beauty-b", "sports-b", "toys-b"}


@pytest.mark.skipif(
    not os.environ.get("SCOTER_DATA"), reason="SCOTER_DATA names no folder of real data"
)
@pytest.mark.parametrize("dataset", CONTROLLED)
def test_a_step_is_left_out_where_there_is_one(dataset):
    catalog = load_prepared(Path(os.environ["SCOTER_DATA"]) / dataset)[1]
    steps = sum(lacking(step, catalog) is None for step in RANKED_PATTERN)
    hidden = [
        cell.method
        for cell in suite()
        if cell.table == f"{dataset}-quarter" and "without-step" in cell.method
    ]
    assert hidden == [f"control-without-step-{step}" for step in range(1, steps + 1)]


def test_a_cell_is_the_experiment_that_scoter_run_makes_so_that_finished_runs_are_found_again():
    assert to_json(experiment_of(TIGER)) == to_json(experiment("beauty-tiger"))
    assert to_json(experiment_of(Cell("beauty", "tiger-meanpool", 2))) == to_json(
        experiment("beauty-collapsed")
    )


def test_cells_with_recorded_chains_differ_from_the_usual_in_their_chains_alone():
    named = {cell.name: cell for cell in suite() if cell.dataset == "beauty"}
    usual = experiment_of(named["beauty/scoter/0"])
    for mark, after in (("@", False), ("+", True)):
        cell = named[f"beauty/scoter{mark}qwen2.5-coder-1.5b/0"]
        made, recipe = experiment_of(cell), recipe_of(cell)
        assert made.chains.after_reasoner is after
        assert Path(made.chains.source).name == "beauty-qwen2.5-coder-1.5b.parquet"
        methods, chains = {"scoter": made.methods[cell.method]}, usual.chains
        assert replace(made, name=usual.name, methods=methods, chains=chains) == usual
        assert recipe["chains"]["table"] == hash_file(Path(made.chains.source))
        assert ("discover" in recipe) is after
        row = {**recipe.pop("method"), **recipe}
        assert not differences(recipe_of(cell), stored_recipe(row))


def test_a_cell_of_protocol_b_is_that_of_a_with_another_protocol():
    (cell,) = chosen(suite(), ["toys-b/scoter/0"])
    usual, made = (experiment_of(replace(cell, protocol=protocol)) for protocol in "AB")
    assert (made.name, made.data.protocol) == ("toys-b-scoter", "B")
    assert replace(made, name=usual.name, data=usual.data) == usual
    assert recipe_of(cell) == recipe_of(replace(cell, protocol="A"))


def test_all_arms_of_one_table_have_one_budget():
    for table in ("beauty", "beauty-quarter"):
        arms = [
            cell
            for cell in suite()
            if cell.table == table
            and cell.method not in ABLATIONS
            and recipe_of(cell)["method"]["model"]["kind"] == "tiger"
        ]
        budgets = {
            json.dumps({**recipe_of(cell)["method"]["training"], **recipe_of(cell)["semantic_ids"]})
            for cell in arms
        }
        assert len(budgets) == 1
    usual, quarter = (
        recipe_of(replace(TIGER, budget=budget))["method"]["training"]
        for budget in (Budget(), QUARTER)
    )
    assert (usual["epochs"], quarter["epochs"]) == (30, 8)
    assert (usual["evaluate_every"], quarter["evaluate_every"]) == (5, 2)
    assert (
        experiment_of(replace(TIGER, budget=QUARTER)).note
        == "every method has 0.25 of the suite's usual epochs, rounded up"
    )


def test_only_takes_patterns_and_refuses_what_matches_nothing():
    assert [cell.name for cell in chosen(suite(), ["toys/scoter/1", "beauty/tiger"])] == [
        *("beauty/tiger/0", "beauty/tiger/1", "beauty/tiger/2", "toys/scoter/1")
    ]
    with pytest.raises(ConfigError, match=r"--only 'toys/scotter' matches no cell.*--list"):
        chosen(suite(), ["toys/scotter"])


def test_ones_own_folder_gets_every_method_for_every_seed(tmp_path):
    for name in ("interactions.parquet", "items.parquet"):
        (tmp_path / "My Shop").mkdir(exist_ok=True)
        (tmp_path / "My Shop" / name).write_bytes(b"")
    cells = requested(tmp_path / "My Shop", ["tiger", "popularity"], "shop.models:KNN")
    assert [cell.name for cell in cells[:3]] == [
        "my-shop/tiger/0",
        "my-shop/popularity/0",
        "my-shop/knn/0",
    ]
    assert len(cells) == 3 * len(SEEDS)
    assert {cell.method for cell in requested(tmp_path / "My Shop")} == {
        cell.method for cell in suite()[:36]
    }
    assert {cell.name for cell in requested(None, (), "shop.models:KNN")} >= {
        "beauty/knn/0",
        "yelp/knn/2",
    }
    with pytest.raises(ConfigError, match="'tigger' is unknown; choose from: tiger"):
        cells_for("shop", ["tigger"])
    with pytest.raises(ConfigError, match="--data with a prepared folder"):
        requested(None, ["tiger"])


def test_a_stored_recipe_is_todays_if_later_options_have_their_defaults(tmp_path):
    collect(write_cell(tmp_path / "run", TIGER), tmp_path / "results")
    config = json.loads(load_rows(tmp_path / "results")[0]["config"])
    assert differences(recipe_of(TIGER), stored_recipe(config)) == []
    del config["training"]["label_smoothing"]  # its default is what the recipe has
    assert differences(recipe_of(TIGER), stored_recipe(config)) == []
    del config["model"]["repeat_bias"]  # its default is not
    assert differences(recipe_of(TIGER), stored_recipe(config)) == [
        "method.model.repeat_bias was False, now True"
    ]
    config["model"]["gone"] = 1
    assert "method.model.gone was 1, now not kept" in differences(
        recipe_of(TIGER), stored_recipe(config)
    )


def test_rows_without_a_word_about_reading_read_everywhere():
    cell = Cell("beauty", "scoter", 0)
    recipe = json.loads(json.dumps(recipe_of(cell)))
    row = {**recipe, **recipe["method"]}
    assert row["fusion"].pop("placement") == "start"
    assert differences(recipe_of(cell), stored_recipe(row)) == [
        "method.fusion.placement was every-layer, now start"
    ]
    row["model"]["layers"] = 1  # where one layer reads, it is the same
    assert stored_recipe(row)["method"]["fusion"]["placement"] == "start"


def test_a_row_of_an_older_recipe_is_missing_and_says_why(tmp_path):
    results = tmp_path / "results"
    assert [one.state for one in plan([TIGER, SASREC], results)] == ["missing", "missing"]
    collect(write_cell(tmp_path / "old", TIGER, epochs=20), results)
    collect(write_cell(tmp_path / "new", SASREC), results)
    old, new = plan([TIGER, SASREC], results)
    assert (old.state, old.why, old.done) == (
        "older recipe",
        "method.training.epochs was 20, now 30",
        False,
    )
    assert (new.state, new.done) == ("done", True)
    collect(write_cell(tmp_path / "again", TIGER), results)
    assert plan([TIGER], results)[0].done


RANDOM = "control-random-pattern"


def test_chains_of_another_pattern_are_another_recipe(tmp_path):
    cell = Cell("beauty", "scoter", 0)
    run = write_cell(tmp_path / "run", cell)
    collect(run, tmp_path / "results")
    assert plan([cell], tmp_path / "results")[0].done
    told = json.loads((run / "run.json").read_text())
    told["config"]["pattern_from"] = "random"
    (run / "run.json").write_text(json.dumps(told))
    collect(run, tmp_path / "results")
    assert plan([cell], tmp_path / "results")[0].why == "pattern_from was random, now mined"
    told["config"]["pattern"] = [asdict(step) for step in RANKED_PATTERN]
    (run / "run.json").write_text(json.dumps(told))
    collect(run, tmp_path / "results")
    why = plan([cell], tmp_path / "results")[0].why
    assert "discover was not kept, now another; pattern was another, now not kept" in why


def test_arms_that_read_chains_of_different_patterns_are_not_compared(tmp_path):
    for name in ("tiger", "scoter", "tiger-meanpool", "control-mixed-scores", RANDOM):
        collect(write_cell(tmp_path / name, Cell("beauty", name, 0)), tmp_path / "results")
    pairs = [("scoter", "tiger"), ("scoter", "tiger-meanpool"), ("control-mixed-scores", "tiger")]
    assert [equal_budget(load_rows(tmp_path / "results"), *pair) for pair in pairs] == [True] * 3
    assert equal_budget(load_rows(tmp_path / "results"), "scoter", RANDOM)
    run = write_cell(tmp_path / "again", Cell("beauty", "scoter", 0))
    told = json.loads((run / "run.json").read_text())
    told["config"]["pattern"] = [asdict(step) for step in RANKED_PATTERN]
    (run / "run.json").write_text(json.dumps(told))
    collect(run, tmp_path / "results")
    assert [equal_budget(load_rows(tmp_path / "results"), *pair) for pair in pairs] == [
        True,
        False,
        True,
    ]


def test_a_forecast_is_the_cost_of_a_target_and_epoch_times_their_number(tmp_path):
    results = tmp_path / "results"
    collect(write_cell(tmp_path / "a", TIGER, cpu_seconds=3600 * 2.0), results)
    collect(write_cell(tmp_path / "b", SASREC, cpu_seconds=3600 * 0.5), results)
    beauty, toys = 198_502 - 3 * 22_363, 167_597 - 3 * 19_412
    assert (training_targets("beauty"), training_targets("toys"), training_targets("nowhere")) == (
        beauty,
        toys,
        None,
    )
    wanted = [
        *(
            Cell("toys", "tiger", 0),
            replace(TIGER, seed=1),
            replace(TIGER, budget=QUARTER),
            Cell("toys", "scoter", 0),
        ),
        *(Cell("toys", "sasrec-bce", 0), Cell("toys", "popularity", 0), Cell("toys", "gru4rec", 0)),
    ]
    found = [one.cpu_hours for one in plan(wanted, results)]
    assert found[:6] == pytest.approx(
        [2 * toys / beauty, 2, 2 * 8 / 30, 2 * toys / beauty, 0.5 * toys / beauty, 0]
    )
    assert found[6] is None
    assert loop.summary(plan(wanted, results)).startswith("0 of 7 cells done, 7 left: about ")
    assert loop.summary(plan(wanted, results)).endswith(", 1 of unknown cost")


def test_the_loop_makes_what_is_missing_in_order_and_adds_each_at_once(tmp_path, clean):
    results, made, lines = tmp_path / "results", [], []
    cells = [TIGER, SASREC, replace(TIGER, seed=1), replace(TIGER, budget=QUARTER)]
    collect(write_cell(tmp_path / "before", SASREC), results)

    def runner(cell, seconds):
        assert [row["method"] for row in load_rows(results)].count("tiger") == 14 * len(made)
        made.append(cell)
        return write_cell(tmp_path / str(len(made)), cell)

    def again(cell, seconds):
        raise AssertionError("nothing is left to do")

    assert (
        loop.run_suite(cells, results, runner=runner, store=tmp_path / "store", say=lines.append)
        == []
    )
    assert made == [TIGER, replace(TIGER, seed=1), replace(TIGER, budget=QUARTER)]
    assert {(row["dataset"], row["method"], row["seed"]) for row in load_rows(results)} == {
        *(
            ("beauty", "tiger", 0),
            ("beauty", "tiger", 1),
            ("beauty", "sasrec-ce", 0),
            ("beauty-quarter", "tiger", 0),
        )
    }
    assert lines[0].startswith("1 of 4 cells done, 3 left")
    assert "beauty/tiger/0: 14 rows added, 1.5 h of CPU time" in lines
    assert (
        loop.run_suite(cells, results, runner=again, store=tmp_path / "store", say=lines.append)
        == []
    )


def test_a_cell_that_fails_does_not_stop_the_others(tmp_path, clean):
    lines = []

    def runner(cell, seconds):
        if cell == TIGER:
            raise ScoterError("no room on the disk")
        return write_cell(tmp_path / "run", cell)

    failed = loop.run_suite(
        [TIGER, SASREC],
        tmp_path / "results",
        runner=runner,
        store=tmp_path / "store",
        say=lines.append,
    )
    assert failed == [TIGER]
    assert "beauty/tiger/0 FAILED: no room on the disk" in lines
    assert lines[-1] == "1 of 2 cells are done, 1 failed"


def test_a_run_of_another_recipe_than_asked_for_is_a_failure_and_no_endless_loop(tmp_path, clean):
    lines = []

    def runner(cell, seconds):
        return write_cell(tmp_path / "run", cell, epochs=3)

    assert loop.run_suite(
        [TIGER], tmp_path / "results", runner=runner, store=tmp_path / "store", say=lines.append
    ) == [TIGER]
    assert any(
        "another recipe than asked for (method.training.epochs was 3, now 30)" in line
        for line in lines
    )


def test_the_budget_stops_the_loop_and_a_cell_without_an_end_adds_nothing(
    tmp_path, clean, monkeypatch
):
    now, asked, lines = [0.0], [], []
    monkeypatch.setattr(loop.time, "monotonic", lambda: now[0])

    def runner(cell, seconds):
        asked.append((cell, seconds))
        now[0] += 100
        return write_cell(tmp_path / "run", cell) if cell == TIGER else None

    done = loop.run_suite(
        [TIGER, SASREC],
        tmp_path / "results",
        runner=runner,
        store=tmp_path / "store",
        budget_minutes=3,
        say=lines.append,
    )
    assert done == []
    assert asked == [(TIGER, 180.0), (SASREC, 80.0)]
    assert "the budget of 3 minutes is spent. 1 of 2 cells done" in lines[-1]
    assert {row["method"] for row in load_rows(tmp_path / "results")} == {"tiger"}


def test_a_cell_that_another_process_is_at_is_left_to_it(tmp_path, clean):
    lines, made = [], []

    def runner(cell, seconds):
        made.append(cell)
        return write_cell(tmp_path / "run", cell)

    with loop.claimed(TIGER, tmp_path / "store") as ours:
        assert ours
        loop.run_suite(
            [TIGER, SASREC],
            tmp_path / "results",
            runner=runner,
            store=tmp_path / "store",
            say=lines.append,
        )
    assert made == [SASREC]
    assert "beauty/tiger/0: another process is at it" in lines


def test_a_dirty_tree_is_refused_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "git_commit", lambda: "0" * 40 + "+dirty")

    def runner(cell, seconds):
        raise AssertionError("nothing may run")

    with pytest.raises(DataError, match="commit your changes"):
        loop.run_suite(
            [TIGER], tmp_path / "results", runner=runner, store=tmp_path / "store", say=print
        )


def test_weights_that_a_dirty_tree_trained_are_refused(tmp_path):
    run = write_cell(tmp_path / "run", TIGER)
    told = json.loads((run / "run.json").read_text())
    told["methods"]["tiger"]["trained_at"] = "0" * 40 + "+dirty"
    (run / "run.json").write_text(json.dumps(told))
    with pytest.raises(DataError, match=r"\+dirty' is not a clean commit"):
        collect(run, tmp_path / "results")


def test_results_that_a_run_added_do_not_make_its_tree_dirty(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def git(*words):
        subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b", *words],
            check=True,
            capture_output=True,
        )

    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    for name in ("benchmarks/results/main.parquet", "benchmarks/code.py"):
        (tmp_path / name).write_text("1")
    git("init")
    git("add", ".")
    git("commit", "-m", "all")
    (tmp_path / "benchmarks/results/main.parquet").write_text("2")
    assert len(git_commit.__wrapped__()) == 40
    (tmp_path / "benchmarks/code.py").write_text("2")
    assert git_commit.__wrapped__().endswith("+dirty")


def test_many_at_once_lose_no_rows(tmp_path):
    cells = [replace(TIGER, seed=seed) for seed in range(12)]
    runs = [write_cell(tmp_path / str(cell.seed), cell) for cell in cells]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda run: collect(run, tmp_path / "results"), runs))
    assert {row["seed"] for row in load_rows(tmp_path / "results")} == set(range(12))
    assert len(load_rows(tmp_path / "results")) == 12 * 14


def test_the_command_lists_every_cell_against_the_committed_results():
    shown = CliRunner().invoke(main, ["run", "--list", "--results", str(RESULTS)])
    assert shown.exit_code == 0, shown.output
    lines = shown.output.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == [cell.name for cell in suite()]
    assert f"of {len(suite())} cells done" in lines[-1]


@pytest.mark.parametrize(
    "module", [benchmarks.suite.cells, benchmarks.suite.recipes], ids=lambda module: module.__name__
)
def test_the_examples_in_the_docstrings_hold(module):
    assert doctest.testmod(module).failed == 0


def test_the_fairness_page_names_what_the_recipes_are():
    page = " ".join((Path(__file__).parents[3] / "docs" / "fairness.md").read_text().split())
    epochs = {
        recipe_of(Cell("beauty", name, 0))["method"]["training"]["epochs"]
        for name in ("sasrec-ce", "sasrec-bce", "gru4rec")
    }
    assert (
        f"SASRec and GRU4Rec have {epochs.pop()} epochs and TIGER "
        f"{recipe_of(TIGER)['method']['training']['epochs']}" in page
    )
    assert epochs == set()
    stops = {"tiger": set(), "others": set()}
    for cell in (cell for cell in suite() if cell.table == "beauty"):
        method = recipe_of(cell)["method"]
        training = method["training"]
        stops["tiger" if method["model"]["kind"] == "tiger" else "others"].add(
            (training["evaluate_every"], training["patience"])
        )
    assert stops == {
        "tiger": {(5, 3)},
        "others": {(2, 6), (5, 3)},
    }  # popularity trains nothing, and has what there is by default
    assert (
        "(TIGER and its arms: every five epochs, three times; the others: every two, six times)"
        in page
    )
    assert "test_all_arms_of_one_table_have_one_budget" in globals()


def test_the_ablation_ends_one_change_before_tiger():
    quarter = [replace(TIGER, budget=QUARTER, method=name) for name in (*ABLATIONS, "tiger")]
    recipes = [recipe_of(cell) for cell in quarter]
    steps = [differences(new, old) for old, new in pairwise(recipes)]
    assert [len(lines) for lines in steps] == [1] * len(ABLATIONS)
    assert steps[-1] == ["method.model.dropout was 0.1, now 0.2"]


@pytest.mark.parametrize("method", [MIXED_SCORES, MIXED_REASONS])
def test_what_a_run_keeps_of_a_mix_is_the_recipe_of_its_cell(method: str) -> None:
    cell = replace(TIGER, method=method)
    config = json.loads(to_json(experiment_of(cell)))
    kept = {**config["methods"][method], "semantic_ids": config["semantic_ids"]}
    kept |= {"reasons": REASONS}
    assert differences(recipe_of(cell), stored_recipe(kept)) == []
