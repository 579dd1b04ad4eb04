"""A bundle answers as its run does, from its own files alone, and says what is wrong with them."""

import json
import os
import shutil
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner
from safetensors.numpy import load_file, save_file

from scoter.cli.main import main
from scoter.errors import ConfigError, StoreError
from scoter.models.quantised_steps import QuantisedSteps, quantise
from scoter.serving.bundle import FILES, export_run
from scoter.serving.bundle_reader import Bundle, open_bundle
from scoter.serving.service import Answer, answers, open_method
from scoter.stages.data import open_data
from scoter.stages.finished import FinishedRun
from scoter.storage.store import Artefact, Store, hash_file
from scoter.types import Catalog, InteractionLog

Run = tuple[Store, Artefact]


def log_and_catalog(run: Run) -> tuple[InteractionLog, Catalog]:
    return open_data(next(run[0].artefacts("prepare")))[:2]


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No network, store, data, sentence encoder, chain writer or language model from here on."""

    def denied(*arguments: Any, **options: Any) -> Any:
        raise AssertionError("this must not be called when a bundle answers")

    monkeypatch.setattr(socket, "socket", denied)
    for name in (
        "scoter.storage.sentence_vectors.encode",
        "scoter.storage.store.Store.__init__",
        "scoter.reasoning.catalogue.reasoner.CatalogReasoner.__init__",
        "scoter.reasoning.chains.table.write_rows",
        "scoter.reasoning.language.openai_model.OpenAIModel.complete",
        "scoter.reasoning.language.local_server.local_server",
    ):
        monkeypatch.setattr(name, denied)
    for name in ("SCOTER_STORE", "SCOTER_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def told(finished: Run) -> dict[str, list[dict[str, Any]]]:
    """What the run itself says, asked while it may use everything."""
    users = log_and_catalog(finished)[0].user_keys[:12]
    methods = ("tiger", "tiger-meanpool", "scoter", "listed", "sasrec-ce-scoter")
    return {
        method: answers(open_method(FinishedRun(*finished), method), users, (), 10)
        for method in methods
    }


@pytest.mark.parametrize(
    "method", ["tiger", "tiger-meanpool", "scoter", "listed", "sasrec-ce-scoter"]
)
def test_a_bundle_alone_says_what_its_run_says(
    method: str, told: dict[str, list[dict[str, Any]]], bundles: dict[str, Path], alone: None
) -> None:
    users = [row["user"] for row in told[method]]
    flags = [part for user in users for part in ("--user", user)]
    done = CliRunner().invoke(
        main, ["recommend", "--bundle", str(bundles[method]), *flags, "--k", "10", "--json"]
    )
    rows = json.loads(done.stdout)
    assert [row["user"] for row in rows] == users
    for found, wanted in zip(rows, told[method], strict=True):
        assert found["history"] == wanted["history"]
        assert found["method"] == method
        scores = {item["key"]: item["score"] for item in wanted["items"]}
        assert {item["key"] for item in found["items"]} == set(scores)
        for item in found["items"]:
            assert item["score"] == pytest.approx(scores[item["key"]], abs=2e-3)
    assert done.exit_code == 0


@pytest.mark.parametrize("method", ["tiger", "tiger-meanpool", "scoter"])
def test_the_short_way_is_the_long_way(method: str, bundles: dict[str, Path], alone: None) -> None:
    bundle = open_bundle(bundles[method])
    for row in answers(bundle, list(bundle.user_rows)[:8], (), 10):
        items, scores = bundle.rank(row["user"])
        assert [bundle.dataset.catalog.keys[item] for item in items] == [
            item["key"] for item in row["items"]
        ]
        np.testing.assert_allclose(scores, [item["score"] for item in row["items"]], atol=3e-5)
    with pytest.raises(ConfigError, match="this bundle's model is 'sasrec'"):
        open_bundle(bundles["sasrec-ce-scoter"]).rank("shopper-0")


def test_eight_bits_move_scores_little(
    told: dict[str, list[dict[str, Any]]], bundles: dict[str, Path], alone: None
) -> None:
    rows = answers(open_bundle(bundles["int8"]), [row["user"] for row in told["scoter"]], (), 10)
    shared, off = 0, []
    for found, wanted in zip(rows, told["scoter"], strict=True):
        scores = {item["key"]: item["score"] for item in wanted["items"]}
        ours = {item["key"]: item["score"] for item in found["items"]}
        shared += len(set(scores) & set(ours))
        off += [abs(scores[key] - ours[key]) for key in set(scores) & set(ours)]
    assert shared >= 9 * len(rows)
    assert max(off) < 0.05


def test_a_stranger_reads_the_learned_null(finished: Run, bundles: dict[str, Path]) -> None:
    log, catalog = log_and_catalog(finished)
    keys = [catalog.keys[item] for item in log.sequence(5)]
    bundle = open_bundle(bundles["scoter"])
    known, stranger = answers(bundle, [log.user_keys[5]], (), 10), answers(bundle, (), keys, 10)
    assert stranger[0]["user"] == "(items given)"
    assert stranger[0]["history"] == known[0]["history"]
    assert stranger[0]["items"] != known[0]["items"]
    row = stranger_with_explanation(bundle, keys)
    assert [step["sentences"] for step in row["steps"]] == [[], [], []]
    assert row["attention"]["nothing"] == pytest.approx(1, abs=1e-6)
    assert np.abs([item["contributions"] for item in row["items"]]).max() == 0


def stranger_with_explanation(bundle: Bundle, keys: list[str]) -> Answer:
    return answers(bundle, (), keys, 10, explain=True)[0]


@pytest.mark.parametrize("kind", ["fp16", "int8"])
def test_quantised_steps_are_means_of_sentences_within_the_stated_error(kind: Any) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((7, 16)).astype(np.float32)
    counts = np.array([1, 0, 3, 2, 1, 1])
    indices, offsets = (
        rng.integers(0, 7, counts.sum()).astype(np.int32),
        np.concatenate([[0], np.cumsum(counts)]),
    )
    table = quantise(vectors, kind)
    reader = QuantisedSteps(table["vectors"], table.get("scale"), indices, offsets, step_count=3)
    steps, mask = reader.read(torch.tensor([1, 0, 1]), torch.tensor([4, 4, 4]))
    assert mask.tolist() == [[True] * 3, [True, False, True], [True] * 3]
    error = (
        2.0**-11 * np.abs(vectors)
        if kind == "fp16"
        else 0.5 * np.abs(vectors).max(1, keepdims=True) / 127
    )
    for row, user in enumerate((1, 0, 1)):
        for step in range(3):
            bag = user * 3 + step
            used = indices[offsets[bag] : offsets[bag + 1]]
            wanted = vectors[used].mean(0) if len(used) else np.zeros(16)
            bound = error[used].mean(0) if len(used) else np.zeros(16)
            assert (np.abs(steps[row, step].numpy() - wanted) <= bound * 1.001 + 1e-6).all()


def resign(folder: Path) -> None:
    """A manifest that fits the files as they are: whoever alters a file on purpose can do this
    too."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for name in manifest["files"]:
        manifest["files"][name] = {
            "bytes": (folder / name).stat().st_size,
            "sha256": hash_file(folder / name),
        }
    (folder / "manifest.json").write_text(json.dumps(manifest))


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_arrays(path: Path, **changes: np.ndarray) -> None:
    save_file({**load_file(path), **changes}, path)


def cut(folder: Path) -> None:
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def flip(folder: Path) -> None:
    path = folder / "steps.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def escape(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder.parent / "secret.txt").write_text("secret")
    manifest["files"]["../secret.txt"] = {
        "bytes": 6,
        "sha256": hash_file(folder.parent / "secret.txt"),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))


def link_out(folder: Path) -> None:
    (folder / "users.parquet").rename(folder.parent / "users.parquet")
    (folder / "users.parquet").symlink_to(folder.parent / "users.parquet")


def outside(folder: Path) -> None:
    arrays = load_file(folder / "histories.safetensors")
    items = arrays["items"].copy()
    items[0] = 10**6
    edit_arrays(folder / "histories.safetensors", items=items)
    resign(folder)


def fractions(folder: Path) -> None:
    items = load_file(folder / "histories.safetensors")["items"].astype(np.float32)
    edit_arrays(folder / "histories.safetensors", items=items + np.float32(0.5))
    resign(folder)


def swap_codes(folder: Path) -> None:
    codes = load_file(folder / "semantic_ids.safetensors")["codes"]
    edit_arrays(folder / "semantic_ids.safetensors", codes=codes[::-1].copy())
    resign(folder)


def other_pattern(folder: Path) -> None:
    edit_json(folder / "model.json", pattern=[{"role": "recent_item", "parameters": {}}])
    resign(folder)


def unknown_key(folder: Path) -> None:
    about = json.loads((folder / "model.json").read_text())
    edit_json(folder / "model.json", config={**about["config"], "surprise": 1})
    resign(folder)


def nameless(folder: Path) -> None:
    about = json.loads((folder / "model.json").read_text())
    del about["method"]
    (folder / "model.json").write_text(json.dumps(about))
    resign(folder)


def not_tensors(folder: Path) -> None:
    (folder / "weights.safetensors").write_bytes(b"\x80\x04pickle")
    resign(folder)


def no_text(folder: Path) -> None:
    path = folder / "sentences.parquet"
    sentences = pq.read_table(path)["sentence"].to_pylist()
    pq.write_table(pa.table({"sentence": [None, *sentences[1:]]}), path)
    resign(folder)


def too_large(folder: Path) -> None:
    about = json.loads((folder / "model.json").read_text())
    about["config"]["model"] |= {"dim": 2**20, "layers": 10**6}
    edit_json(folder / "model.json", config=about["config"])
    resign(folder)


DAMAGES = [
    (
        too_large,
        "weights.safetensors cannot be used",
        "are too few for the model that model.json describes",
    ),
    (cut, "weights.safetensors has", "copied in part?"),
    (flip, "steps.safetensors was altered", "export the bundle again"),
    (escape, "names '../secret.txt', which is no file of a bundle", "nothing was read"),
    (link_out, "users.parquet is missing, or is no plain file", "export"),
    (lambda folder: (folder / "items.parquet").unlink(), "items.parquet is missing", "export"),
    (
        lambda folder: (folder / "manifest.json").write_text("{"),
        "manifest.json is no manifest of a bundle",
        "export",
    ),
    (
        lambda folder: edit_json(folder / "manifest.json", version=9),
        "manifest.json is not of",
        "another version",
    ),
    (outside, "histories.safetensors cannot be used: an entry lies outside", "export"),
    (
        fractions,
        "histories.safetensors cannot be used: its offsets and entries are",
        "where whole numbers belong",
    ),
    (swap_codes, "semantic_ids.safetensors cannot be used: the trie does not spell", "export"),
    (no_text, "sentences.parquet cannot be used: its column 'sentence' holds", "export"),
    (other_pattern, "cannot be used", "export"),
    (unknown_key, "model.json cannot be used: MethodConfig: surprise", "export"),
    (nameless, "model.json cannot be used: About: method", "export"),
    (not_tensors, "weights.safetensors cannot be used", "export"),
]


@pytest.mark.parametrize(("damage", "named", "remedy"), DAMAGES)
def test_a_damaged_bundle_names_the_file_and_the_remedy(
    damage: Any, named: str, remedy: str, bundles: dict[str, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(bundles["scoter"], tmp_path / "bundle")
    damage(folder)
    with pytest.raises(StoreError) as caught:
        open_bundle(folder)
    assert named in str(caught.value)
    assert remedy in str(caught.value)


def test_a_file_of_another_bundle_is_refused(bundles: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(bundles["tiger"], tmp_path / "bundle")
    shutil.copy(bundles["scoter"] / "steps.safetensors", folder)
    with pytest.raises(StoreError, match=r"steps\.safetensors is not in the manifest"):
        open_bundle(folder)
    shutil.copy(bundles["scoter"] / "weights.safetensors", folder)
    (folder / "steps.safetensors").unlink()
    resign(folder)
    with pytest.raises(StoreError, match=r"weights\.safetensors cannot be used: .*Tiger"):
        open_bundle(folder)


def test_what_is_asked_wrongly_is_named(
    finished: Run, bundles: dict[str, Path], tmp_path: Path
) -> None:
    bundle = open_bundle(bundles["int8"])
    for ask in (bundle.recommend, bundle.rank):
        with pytest.raises(ConfigError, match="the dataset has no user 'nobody'; its keys look"):
            ask("nobody" if ask == bundle.rank else ["nobody"])
    with pytest.raises(ConfigError, match="the dataset has no item 'soap'"):
        bundle.recommend(histories=[["soap"]])
    with pytest.raises(ConfigError, match=r"sentences\.parquet to explain with"):
        answers(bundle, (), (), 10, explain=True)
    with pytest.raises(ConfigError, match="'tiger' reads no chain"):
        answers(open_bundle(bundles["tiger"]), (), (), 10, explain=True)
    with pytest.raises(ConfigError, match="popularity has no weights"):
        export_run(*finished, "popularity", tmp_path / "new")
    with pytest.raises(StoreError, match="exists; name a new folder"):
        export_run(*finished, "scoter", tmp_path)
    said = CliRunner().invoke(main, ["recommend", "latest", "--bundle", str(tmp_path)]).stderr
    assert "name either a RUN, or a folder with --bundle" in said


@pytest.mark.parametrize("umask", [0o022, 0o007])
def test_all_files_have_the_mode_that_the_umask_gives(
    umask: int, finished: Run, tmp_path: Path
) -> None:
    before = os.umask(umask)
    try:
        export_run(*finished, "scoter", tmp_path / "bundle")
        (tmp_path / "plain").touch()
    finally:
        os.umask(before)
    usual = (tmp_path / "plain").stat().st_mode
    modes = {path.name: path.stat().st_mode for path in (tmp_path / "bundle").iterdir()}
    assert modes == dict.fromkeys((*FILES, "manifest.json"), usual)


def test_every_file_of_a_store_has_the_mode_of_any_new_file(finished: Run, tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    modes = {path.stat().st_mode for path in finished[0].root.rglob("*") if path.is_file()}
    assert modes == {(tmp_path / "plain").stat().st_mode}


def test_the_command_reports_sizes(finished: Run, tmp_path: Path) -> None:
    store = ("--store", str(finished[0].root))
    arguments = [
        "export",
        "latest",
        "--method",
        "scoter",
        "--out",
        str(tmp_path / "b"),
        "--json",
        *store,
    ]
    told = json.loads(CliRunner().invoke(main, arguments).stdout)
    assert told["files"] == {
        path.name: path.stat().st_size
        for path in (tmp_path / "b").iterdir()
        if path.name != "manifest.json"
    }
    assert told["bytes"] == sum(told["files"].values())
    assert "pkl" not in " ".join(told["files"])
