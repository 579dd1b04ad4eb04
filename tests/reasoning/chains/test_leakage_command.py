"""`scoter leakage`: shares where a step names targets, and a sentence where none does."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from scoter.cli.main import main
from scoter.config import SimulatedConfig
from scoter.data.prepared import save_prepared
from scoter.data.simulated import simulate
from scoter.data.split import leave_one_out
from scoter.reasoning.chains.table import save_chains, write_chains
from scoter.storage.store import Store
from scoter.types import Catalog, ReasoningPattern, Step

BRAND = Step("recent_item", {"lag": 1, "field": "brand"})
RUN = ("experiment", "dataset", "commit", "users", "items", "note", "full_data")


def leakage(folder: Path, *steps: Step, columns: tuple[str, ...] = ("brand", "categories")) -> str:
    """What the command prints of a run of the simulated shop whose chains have these steps."""
    shop = simulate(SimulatedConfig(users=80), seed=0)
    kept = {name: shop.catalog.columns[name] for name in ("title", *columns)}
    catalog = Catalog(shop.catalog.keys, kept)
    table = write_chains(leave_one_out(shop.log), catalog, ReasoningPattern(steps), seed=0)
    store = Store(folder)
    data = store.stage("prepare", 1, {}, [], lambda out, _: save_prepared(shop.log, catalog, out))
    chains = store.stage("chains", 1, {}, [], lambda out, _: save_chains(table, out))
    run = dict.fromkeys(RUN, "x") | {"methods": {}, "differences": [], "config": {}, "seed": 0}
    run["artefacts"] = {"prepare": data.key, "chains": chains.key}

    def keep(out: Path, scratch: Path) -> None:
        (out / "run.json").write_text(json.dumps(run))

    store.stage("run", 1, {}, [], keep)
    done = CliRunner().invoke(main, ["leakage", "latest", "--store", str(folder)])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_steps_that_name_no_target_are_told_in_a_sentence(tmp_path: Path) -> None:
    said = leakage(tmp_path, BRAND).strip().splitlines()
    ending = "in any of 320 chains: recent_item(field=brand, lag=1)"
    assert said == [
        f"no step names the target's item {ending}",
        "",
        f"no step names the target's category {ending}",
    ]


def test_a_step_that_names_targets_stands_in_tables_beside_one_that_does_not(
    tmp_path: Path,
) -> None:
    said = leakage(tmp_path, BRAND, Step("recommendation", {"count": 10, "window": 3}))
    assert said.count("share of chains whose step names the target's") == 3
    shares = [line.split()[-4:] for line in said.splitlines() if line.startswith("recommendation")]
    assert len(shares) == 3
    assert all(0 < float(share) < 1 for row in shares for share in row)
    assert "no step" not in said


@pytest.mark.parametrize("step", [BRAND, Step("recommendation", {"count": 10, "window": 3})])
def test_items_without_categories_are_said_to_have_none(tmp_path: Path, step: Step) -> None:
    said = leakage(tmp_path, step, columns=("brand",))
    assert said.endswith("the items have no category, so no step can name the target's\n")
    assert "NaN" not in said
