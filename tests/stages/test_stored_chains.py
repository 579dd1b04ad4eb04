"""Chains from a folder to a table: the same numbers as without the detour, under the name of who
wrote them."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from scoter.cli.main import main
from scoter.experiments import experiment

TINY = (
    "data.simulated.users=40",
    "methods.*.training.epochs=1",
    "methods.*.training.evaluate_every=1",
)


def scoter(store: Path, *arguments: str, tiny: tuple[str, ...] = TINY) -> str:
    flags = [part for override in tiny for part in ("--set", override)]
    done = CliRunner().invoke(main, [*arguments, *flags, "--store", str(store)])
    assert done.exit_code == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A store, and in it a folder with the chains that the experiment would write itself."""
    store = tmp_path_factory.mktemp("store")
    steps = [
        {"role": step.role, "parameters": dict(step.parameters)}
        for step in experiment("simulated-smoke").pattern
    ]
    (store / "p.json").write_text(json.dumps({"pattern": {"steps": steps}}))
    chains = store / "reason" / "all"
    scoter(
        store,
        "reason",
        "simulated",
        "--pattern",
        str(store / "p.json"),
        "--out",
        str(chains),
        tiny=TINY[:1],
    )
    return store, chains


def test_the_detour_changes_no_number(shop: tuple[Path, Path]) -> None:
    store, _ = shop
    here = json.loads(scoter(store, "run", "simulated-smoke", "--json"))
    there = json.loads(
        scoter(
            store,
            "run",
            "simulated-smoke",
            "--json",
            "--set",
            "pattern=[]",
            "--set",
            "chains.source=reason/all",
        )
    )
    assert there["methods"] == here["methods"]
    assert there["run"] != here["run"]
    told = json.loads(
        next((store / "run").glob(f"{there['run'].rsplit('-', 1)[1]}*/run.json")).read_text()
    )
    assert told["chains_model"] == "catalog-reasoner (symbolic)"
    assert told["pattern"]["pattern"]["origin"] == "of stored chains, not mined here"
    assert "scoter, chains by catalog-reasoner (symbolic) (seed 0" in scoter(
        store, "table", "simulated", tiny=()
    )
    rows = json.loads(scoter(store, "recommend", there["run"], "--json", "-k", "3", tiny=()))
    assert [len(row["items"]) for row in rows] == [3, 3, 3]


def test_the_key_is_of_what_the_folder_holds(shop: tuple[Path, Path]) -> None:
    store, chains = shop
    moved = chains.rename(chains.with_name("moved"))
    arguments = ("run", "simulated-smoke", "--set", "pattern=[]", "--set", f"chains.source={moved}")
    done = CliRunner().invoke(
        main, [*arguments, *[p for one in TINY for p in ("--set", one)], "--store", str(store)]
    )
    assert done.exit_code == 0
    assert done.stderr.count("made") == 1  # the summary alone, which names the folder
    moved.rename(chains)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            ("chains.source=absent", "pattern=[]"),
            "absent holds no finished chains; run the same `scoter reason` to its end",
        ),
        (
            ("chains.source=reason/all",),
            "chains.source = 'reason/all' has a pattern; leave the experiment's pattern empty",
        ),
        (
            ("chains.source=reason/all", "pattern=[]", "data.simulated.noise=0.5"),
            "was not written from that user's first items",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    more: tuple[str, ...], said: str, shop: tuple[Path, Path]
) -> None:
    flags = [part for override in (*TINY, *more) for part in ("--set", override)]
    done = CliRunner().invoke(main, ["run", "simulated-smoke", *flags, "--store", str(shop[0])])
    assert done.exit_code == 1
    assert said in done.stderr
