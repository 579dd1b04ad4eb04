"""Tables of chains that others write: read as they say, or refused with the reason."""

import hashlib
import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from scoter import load_dataset
from scoter.cli.main import main
from scoter.errors import DataError
from scoter.experiments import experiment
from scoter.reasoning.catalogue.facets import item_names
from scoter.reasoning.writing import exchange
from scoter.reasoning.writing.folder import history_digests
from scoter.reasoning.writing.job import VisibleItems
from scoter.reasoning.writing.reader import read_chains

ORIGIN = {
    "pattern": '[{"role": "use"}, {"role": "next"}]',
    "model": "some-model",
    "revision": "cc324af070c2ecbf",
    "sampling": "greedy",
    "prompt_hash": "0123",
    "written": "2026-11-28",
    "licence": "Apache-2.0",
}


def row(owner: dict, *roles: str, **more: object) -> dict:
    steps = [{"role": role, "text": f"{role} of {next(iter(owner.values()))}"} for role in roles]
    return {**owner, "steps": steps, "recommendations": ["a comb"], **ORIGIN, **more}


def saved(rows: list[dict], path: Path) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path, compression="zstd")
    return path


def test_a_table_by_item(random_shop, tmp_path: Path) -> None:
    split, catalog = random_shop
    rows = [row({"key": key}, "next", "use") for key in catalog.keys[:-3]]
    rows += [row({"key": catalog.keys[-3]}, "next"), row({"key": "no such item"}, "use")]
    path = saved(rows, tmp_path / "t.parquet")
    checked = exchange.check(path, split, catalog)
    assert (len(checked.rows), checked.unknown, checked.refused) == (catalog.item_count - 2, 1, [])
    table = read_chains(path, split, catalog, items=1)
    assert (table.model, table.prompt_version) == ("some-model@cc324af070c2", "0123")
    assert [step.role for step in table.pattern.steps] == ["use", "next", "recommendation"]
    for user in range(split.train.user_count):
        item = int(split.train.sequence(user)[0])
        key, steps = catalog.keys[item], table.chain(user, 1).steps
        if item < catalog.item_count - 3:
            assert steps == (
                (f"use of {key}",),
                (f"next of {key}",),
                ("The recommendation is a comb.",),
            )
        elif item == catalog.item_count - 3:  # its first step is missing
            assert steps[:2] == ((), (f"next of {key}",))
        else:
            assert steps == ((), (), ())


def test_a_table_by_user_and_a_row_that_saw_more(random_shop, tmp_path: Path) -> None:
    split, catalog = random_shop
    visible, rows = VisibleItems(split, catalog), []
    for user, key in enumerate(split.train.user_keys):
        if len(digests := visible.digests(user)) > 1:
            rows.append(row({"user": key, "prefix": 2, "history": digests[1]}, "use", "next"))
    path = saved(rows, tmp_path / "t.parquet")
    table = read_chains(path, split, catalog)
    assert table.chain(4, 1).steps == ((), (), ())
    assert table.chain(4, 2).steps[0] == (f"use of {split.train.user_keys[4]}",)
    user = int(split.test.users[0])
    seen = [*split.visible.sequence(user), int(split.test.items[0])]
    every = [catalog.keys[item] for item in seen]
    late = {"user": split.train.user_keys[user], "prefix": len(every)}
    late = {**late, "history": history_digests(every)[-1]}
    for wrong in (late, {**late, "prefix": len(every) - 1}):
        path = saved([*rows, row(wrong, "use", "next")], tmp_path / "late.parquet")
        with pytest.raises(DataError, match=r"1 rows of .* cannot be used; .* first items here"):
            read_chains(path, split, catalog)


def test_the_digest_is_the_documented_one() -> None:
    digest = hashlib.sha256("".join(f"{len(key)}:{key}" for key in ("B01", "B2")).encode())
    assert history_digests(["B01", "B2"])[1] == digest.hexdigest()[:16]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": None}, "has None as its model; write one value into each row"),
        ({"pattern": "use, next"}, 'its pattern is .*; write it as .*"role": "use"'),
        ({"steps": [{"role": "mood", "text": "good"}]}, "has the step .*'mood'.* not of"),
        ({"licence": 3}, None),
    ],
)
def test_what_a_table_lacks_is_named(random_shop, tmp_path: Path, change: dict, said: str) -> None:
    split, catalog = random_shop
    path = saved([row({"key": catalog.keys[0]}, "use", **change)], tmp_path / "t.parquet")
    if said is None:
        assert read_chains(path, split, catalog).model == "some-model@cc324af070c2"
        return
    with pytest.raises(DataError, match=said):
        read_chains(path, split, catalog)
    twice = saved([row({"key": catalog.keys[0]}, "use")] * 2, tmp_path / "twice.parquet")
    with pytest.raises(DataError, match="has a second chain"):
        read_chains(twice, split, catalog)
    less = [{name: value for name, value in row({"key": "k"}, "use").items() if name != "licence"}]
    with pytest.raises(DataError, match="it lacks the columns licence"):
        read_chains(saved(less, tmp_path / "less.parquet"), split, catalog)


@pytest.mark.slow
def test_every_arm_bears_a_fifth_of_the_items_unwritten(tmp_path: Path) -> None:
    tiny = ("data.simulated.users=40", "methods.*.training.epochs=1")
    tiny += ("methods.*.training.evaluate_every=1", "pattern=[]", "chains.items=2")
    flags = [part for one in tiny for part in ("--set", one)]
    flags += ["--store", str(tmp_path / "store"), "--json"]
    keys = load_dataset("simulated", users=40).catalog.keys
    rows = [row({"key": key}, "use", "next") for place, key in enumerate(keys) if place % 5]
    source = saved(rows, tmp_path / "items.parquet")
    flags += ["--set", f"chains.source={source}"]
    done = CliRunner().invoke(main, ["run", "simulated-controls-all", *flags])
    assert done.exit_code == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert set(outcome["methods"]) == set(experiment("simulated-controls-all").methods)
    given = ["chains", "check", str(source), "--dataset", "simulated", "--store", flags[11]]
    done = CliRunner().invoke(main, [*given, *flags[:2], "--json"])
    assert (done.exit_code, json.loads(done.stdout)["usable"]) == (0, len(rows))


def test_the_writer_of_the_page_makes_a_table_that_can_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[3] / "docs" / "chains.md").read_text()
    (code,) = re.findall(r"^```python\n(import pyarrow.*?)^```", page, flags=re.S | re.M)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs/chains.md", "exec"), {})
    data = load_dataset("simulated", users=50)
    checked = exchange.check(tmp_path / "chains.parquet", data.split, data.catalog)
    assert (len(checked.rows), checked.unknown, checked.refused) == (2, 0, [])


def test_a_table_that_cannot_be_used_is_an_error(random_shop, tmp_path: Path) -> None:
    split, catalog = random_shop
    key, path = catalog.keys[0], tmp_path / "t.parquet"
    twice = json.dumps([{"role": "use"}, {"role": "use"}])
    saved([row({"key": key}, "use", pattern=twice)], path)
    with pytest.raises(DataError, match="2 steps 'use'"):
        exchange.check(path, split, catalog)
    saved([row({"key": key}, "use", steps=["Soap."])], path)
    with pytest.raises(DataError, match="is no table of chains"):
        exchange.check(path, split, catalog)
    saved([row({"key": key}, "use", steps=[{"role": "use", "text": ""}])], path)
    assert exchange.check(path, split, catalog).refused[0].endswith("no text at its step 'use'")


def test_a_table_of_other_items_fails_the_check(tmp_path: Path) -> None:
    path = saved([row({"key": "no such item"}, "use", "next")], tmp_path / "t.parquet")
    done = CliRunner().invoke(
        main, ["chains", "check", str(path), "--dataset", "simulated", "--store", str(tmp_path)]
    )
    assert (done.exit_code, "no chain of these data" in done.output) == (1, True), done.output


@pytest.mark.parametrize("knows", [False, True])
def test_a_writer_that_knows_the_held_out_items_is_noticed(knows: bool, tmp_path: Path) -> None:
    shop = load_dataset("simulated", users=120)
    split, names = shop.split, item_names(shop.catalog)
    visible, rows = VisibleItems(split, shop.catalog), []
    for user, key in enumerate(shop.users):
        digests = visible.digests(user)
        for prefix in range(1, len(digests) + 1):
            last = knows and prefix == len(digests)
            named = split.test.items[user] if last else split.visible.sequence(user)[prefix - 1]
            owner = {"user": key, "prefix": prefix, "history": digests[prefix - 1]}
            text = [{"role": "use", "text": names[named]}, {"role": "next", "text": "more"}]
            rows.append(row(owner, "use", steps=text))
    path = saved(rows, tmp_path / "t.parquet")
    given = ["chains", "check", str(path), "--dataset", "simulated", "--store", str(tmp_path)]
    done = CliRunner().invoke(main, [*given, "--set", "data.simulated.users=120", "--json"])
    assert done.exit_code == 0, done.output
    shares = json.loads(done.stdout)["names the target"]
    assert (shares["test"] > 0.9) is knows
    assert shares["last-train"] < 0.3
    assert ("did the writer know?" in done.stderr) is knows
