"""What a console cannot show is escaped; an unknown run is answered with the nearest names."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from scoter.data.prepared import save_prepared
from scoter.errors import StoreError
from scoter.stages.finished import find_run
from scoter.storage.store import Store
from scoter.types import Catalog, InteractionLog

NARROW = ("cp1252", "ascii", "latin-1")


def python(*arguments: str, encoding: str) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    return subprocess.run([sys.executable, *arguments], capture_output=True, env=environment)


@pytest.mark.parametrize("encoding", NARROW)
def test_a_title_that_a_console_cannot_show_is_escaped(encoding: str, tmp_path: Path) -> None:
    log = InteractionLog(np.array([0, 1, 2, 0]), np.array([0, 4]), ("ann",))
    save_prepared(log, Catalog(("a", "b", "c"), {"title": ("日本語", "B", "🎸")}), tmp_path / "s")
    show = ("data", "show", "s", "--data", str(tmp_path / "s"))
    done = python("-m", "scoter.cli.main", *show, encoding=encoding)
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    wanted = "日本語".encode() if encoding == "ascii" else rb"\u65e5\u672c\u8a9e"
    assert wanted in done.stdout  # click writes UTF-8 where a console claims to know ASCII alone


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted on Linux")
def test_no_thread_of_arrow_is_left_that_could_abort_at_exit(tmp_path: Path) -> None:
    rows = tmp_path / "rows.parquet"
    code = f"""
import os
from pathlib import Path
import pandas as pd, pyarrow.parquet
from scoter.data.datasets import Dataset
from scoter.data.table_files import Table
threads = lambda: len(os.listdir("/proc/self/task"))
before = threads()
rows = pd.DataFrame({{"user": ["a"] * 3, "item": ["x", "y", "z"], "timestamp": [1, 2, 3]}})
rows.to_parquet({str(rows)!r})
assert len(Table.from_file(Path({str(rows)!r})).cells) == 3
Dataset.from_pandas(rows)
print(threads() - before)
"""
    done = python("-c", code, encoding="utf-8")
    assert done.stdout.strip() == b"0", done.stderr


@pytest.mark.parametrize("module", ["scoter.cli.main", "benchmarks", "theory", "paper_figures"])
def test_every_command_escapes_what_a_console_cannot_show(module: str) -> None:
    code = (
        "import runpy, sys; sys.argv[1:] = ['--help']\n"
        f"try: runpy.run_module({module!r}, run_name='__main__', alter_sys=True)\n"
        "except SystemExit: pass\n"
        "print('\\u65e5 \\ud83d')"
    )
    done = python("-c", code, encoding="cp1252")
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith(rb"\u65e5 \ud83d")


def test_an_unknown_run_is_answered_with_the_nearest_names(tmp_path: Path) -> None:
    def build(out: Path, scratch: Path) -> None:
        keys = ("dataset", "commit", "users", "items", "note", "full_data", "methods")
        run = dict.fromkeys((*keys, "differences", "config"), "") | {
            "experiment": "beauty-tiger",
            "seed": 0,
        }
        (out / "run.json").write_text(json.dumps(run))

    store = Store(tmp_path)
    made = store.stage("run", 1, {}, [], build)
    with pytest.raises(StoreError) as caught:
        find_run(store, "beauty-tigr")
    assert f"the newest runs are: beauty-tiger-s0-{made.key[:8]}. Did you mean" in str(caught.value)
    assert "'beauty-tiger'" in str(caught.value)
