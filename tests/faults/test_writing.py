"""A place that cannot be written is named in one line, what was there stays, and nothing half
written is left."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import scoter
from scoter.cli.discover import _place_picture
from scoter.cli.main import main
from scoter.data.prepared import load_prepared, save_prepared
from scoter.errors import StoreError
from scoter.reasoning.language.replies import RequestStore
from scoter.reasoning.writing import batch_files
from scoter.reasoning.writing.job import ChainJob
from scoter.report.page import write_page
from scoter.storage.writing import replacing, writing
from scoter.types import Catalog, InteractionLog

LOG = InteractionLog(np.array([0, 1, 0]), np.array([0, 3]), ("ann",), np.array([1, 2, 3]))
CATALOG = Catalog(("x", "y"), {"title": ("Ex", "Why")})
REMEDY = "free space there, allow writing, or name another place, and run again"


@contextmanager
def full_disk(most: int = 64) -> Iterator[None]:
    """The system lets no file grow beyond `most` bytes, which fails as a full disk does, for root
    too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def _stopped_half_way(path: Path) -> None:
    path.write_text("half")
    raise KeyboardInterrupt


def test_what_was_there_stays_until_the_new_file_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "page.html"
    with replacing(path) as partial:
        partial.write_text("first")
        assert partial.suffix == ".html"
        assert not path.exists()
    message = rf"page.html cannot be written \(File too large\); {REMEDY}"
    with pytest.raises(StoreError, match=message), full_disk(), replacing(path) as partial:
        partial.write_text("x" * 100)
    with pytest.raises(KeyboardInterrupt), replacing(path) as partial:
        _stopped_half_way(partial)
    assert path.read_text() == "first"
    assert list(path.parent.iterdir()) == [path]


def test_only_the_refusal_of_the_system_becomes_a_message(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mine"), writing(tmp_path):
        raise ValueError("mine")
    with (
        pytest.raises(StoreError, match=r"/dev/full cannot be written .No space left on device"),
        writing("/dev/full"),
    ):
        Path("/dev/full").write_text("x")


def test_a_full_disk_leaves_the_dataset_that_was_there(tmp_path: Path) -> None:
    save_prepared(LOG, CATALOG, tmp_path / "mine")
    other = Catalog(("x", "y"), {"title": ("Other", "Titles")})
    with pytest.raises(StoreError, match=rf"mine cannot be written .*{REMEDY}"), full_disk():
        save_prepared(LOG, other, tmp_path / "mine")
    assert load_prepared(tmp_path / "mine")[1].columns == CATALOG.columns
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == [
        "interactions.parquet",
        "items.parquet",
    ]


def _picture(path: Path) -> None:
    (path.parents[1] / "picture.svg").write_text("<svg/>")
    _place_picture(path.parents[1], {}, path.with_suffix(".svg"))


def _batch(path: Path) -> None:
    batch_files.export_batch(
        object.__new__(ChainJob), RequestStore(path.parents[1] / "replies"), path
    )


@pytest.mark.parametrize(
    "write",
    [
        lambda path: save_prepared(LOG, CATALOG, path),
        lambda path: write_page(path, "run.html"),
        _picture,
        _batch,
    ],
)
def test_every_output_of_a_command_has_the_message(
    write: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scoter.report.page.render", lambda *arguments, **values: "page")
    monkeypatch.setattr(batch_files, "pending_requests", lambda job, store: iter(()))
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=rf"file/out.* cannot be written .*{REMEDY}"):
        write(tmp_path / "file" / "out")


def test_prepare_says_so_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "i.csv").write_text("user,item,timestamp\nu,a,1\nu,b,2\nu,c,3\n")
    with full_disk():
        done = CliRunner().invoke(
            main,
            [
                "data",
                "prepare",
                "--interactions",
                str(tmp_path / "i.csv"),
                "--out",
                str(tmp_path / "o"),
            ],
        )
    assert done.exit_code == 1
    assert done.output == f"Error: {tmp_path / 'o'} cannot be written (File too large); {REMEDY}\n"
    assert not list((tmp_path / "o").iterdir())


def _command(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_output_to_a_full_disk_is_one_line() -> None:
    code = (
        "import sys; sys.stdout = open('/dev/full', 'w'); from scoter.cli.main import main; "
        "main(['ls'])"
    )
    done = _command(code)
    assert done.returncode in (
        1,
        120,
    )  # 120 where Python finds at its end, too, that the output is full
    assert done.stderr.startswith(
        "Error: the output cannot be written (No space left on device); free space there"
    )
    assert "Traceback" not in done.stderr


def test_a_folder_name_beyond_ascii_works_in_a_posix_locale(tmp_path: Path) -> None:
    code = """if True:
        import sys
        from pathlib import Path
        import numpy as np
        from scoter.data.prepared import load_prepared, save_prepared
        from scoter.data.tables import load_table
        from scoter.evaluation.evaluator import load_user_metrics, save_user_metrics
        from scoter.evaluation.metrics import UserMetrics
        from scoter.storage.store import Store
        assert sys.getfilesystemencoding() == "ascii", sys.getfilesystemencoding()
        (folder,) = Path(".").iterdir()
        build = lambda out, scratch: save_prepared(*load_table(folder / "i.csv"), out)
        made = Store(folder).stage("x", 1, {}, [], build)
        ranks = UserMetrics(np.array([0]), np.array([1]), 10)
        save_user_metrics(ranks, made.path / "ranks.parquet")
        assert load_user_metrics(made.path / "ranks.parquet").ranks.tolist() == [1]
        assert load_prepared(made.path)[0].user_keys == ("u",)
        from scoter.cli.main import main
        main(["data", "show", "x", "--data", str(made.path)])
    """
    (tmp_path / "here" / "caf\u00e9").mkdir(parents=True)
    (tmp_path / "here" / "caf\u00e9" / "i.csv").write_text(
        "user,item,timestamp\nu,a,1\nu,b,2\nu,c,3\n"
    )
    done = _command(
        f"import os; os.chdir({str(tmp_path / 'here')!r})\n" + code,
        LC_ALL="POSIX",
        PYTHONUTF8="0",
        PYTHONCOERCECLOCALE="0",
        PYTHONPATH=str(Path(scoter.__file__).parents[1]),
    )
    assert done.returncode == 0, done.stderr
    assert "users 1   items 3" in done.stdout
