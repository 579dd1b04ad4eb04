"""`scoter discover` with the catalogue reasoner: one JSON object, tables for people, and a
picture."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from scoter.cli.main import main
from scoter.data.prepared import save_prepared
from scoter.reasoning.discovery.picture import draw
from scoter.types import Catalog, InteractionLog

TINY = {
    "data.simulated.users": 150,
    "discover.patterns": 12,
    "discover.rounds": 2,
    "discover.recommender": "popularity",
    "discover.users": 60,
    "discover.fresh_users": 60,
    "discover.max_clusters": 3,
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


def discover(store: Path, *arguments: str) -> Result:
    settings = [part for name, value in TINY.items() for part in ("--set", f"{name}={value}")]
    return CliRunner().invoke(
        main, ["discover", "simulated", "--store", str(store), *settings, *arguments]
    )


def test_json_is_one_object_and_the_picture_is_placed(store: Path, tmp_path: Path) -> None:
    done = discover(store, "--json", "--picture", str(tmp_path / "picture.svg"))
    assert done.exit_code == 0, done.output
    tree = json.loads(done.stdout)
    assert {"steps", "support", "recall", "ndcg"} <= set(tree["pattern"])
    assert {"mean", "low", "high"} <= set(tree["pattern"]["recall"])
    assert set(tree["rivals"]) == {
        "hand-written",
        "random",
        "single-step",
        "zero-shot",
        "best generated",
    }
    assert tree["counts"] is None
    (folder,) = (path.parent for path in store.glob("discover/*/picture.svg"))
    assert (tmp_path / "picture.svg").read_text() == (folder / "picture.svg").read_text()
    draw(
        json.loads((folder / "points.json").read_text()), tree["picture_of"], tmp_path / "again.svg"
    )
    assert (tmp_path / "again.svg").read_text() == (folder / "picture.svg").read_text()


def test_people_get_the_pattern_the_clusters_and_the_rivals_with_their_calls(
    store: Path, tmp_path: Path
) -> None:
    done = discover(store, "--picture", str(tmp_path / "picture.png"))
    assert done.exit_code == 0, done.output
    for line in (
        "pattern, by catalog-reasoner (symbolic)",
        "clusters of patterns",
        "optimism: measured",
        "rivals at the same",
    ):
        assert line in done.stdout
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("best generated")]
    choosing, fresh = row.rsplit(maxsplit=3)[1::2]
    tried, left = divmod(int(choosing.replace(",", "")), 60)
    assert (left, fresh) == (0, "60")
    assert (
        14 < tried <= 14 + 80
    )  # 12 patterns and 2 templates, and what shedding from six steps tries at most
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_of_another_kind_is_refused(store: Path, tmp_path: Path) -> None:
    done = discover(store, "--picture", str(tmp_path / "picture.gif"))
    assert done.exit_code == 1
    assert "must end in .svg, .png or .pdf" in done.output


def test_items_without_text_are_held_against_the_names_that_chains_give_them(
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(0)
    log = InteractionLog(rng.integers(0, 20, 240), np.arange(41) * 6, tuple(map(str, range(40))))
    save_prepared(log, Catalog(tuple(f"key-{item}" for item in range(20))), tmp_path / "bare")
    sizes = (
        "discover.patterns=12",
        "discover.rounds=1",
        "discover.epochs=1",
        "discover.users=15",
        "discover.fresh_users=15",
        "data.name=bare",
    )
    settings = [part for setting in sizes for part in ("--set", setting)]
    arguments = [
        "discover",
        "beauty",
        "--data",
        str(tmp_path / "bare"),
        "--store",
        str(tmp_path / "store"),
        "--json",
        *settings,
    ]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    tree = json.loads(done.stdout)
    assert tree["provenance"]["fresh_users"] == 15
    assert not any("categor" in json.dumps(step) for step in tree["pattern"]["steps"])
