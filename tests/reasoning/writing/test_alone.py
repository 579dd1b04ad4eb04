"""Two processes that write one folder of chains: the second one pays for nothing."""

from pathlib import Path

import pytest

from scoter.errors import ConfigError
from scoter.reasoning.writing.folder import ChainFolder


def test_a_folder_has_one_writer_at_a_time(tmp_path: Path) -> None:
    first, second = (ChainFolder(tmp_path / "chains") for _ in range(2))
    busy = pytest.raises(ConfigError, match="another process writes chains there")
    with first.alone(), busy, second.alone():
        pytest.fail("two writers")
    with second.alone():
        pass
