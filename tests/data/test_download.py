"""Downloads against a server on this machine that drops connections, forgets ranges and changes its
file."""

import hashlib
import json
import resource
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from scoter.data.official.download import download, fetch, verify
from scoter.data.sources import REGISTRY
from scoter.errors import DataError, StoreError

CONTENT = np.random.default_rng(0).bytes(1_000_000)


class Flaky(ThreadingHTTPServer):
    """Serves `content`, but sends at most `drops[n]` bytes of the n-th answer, and status
    `refusals[n]` first."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content, self.tag, self.ranges, self.drops, self.refusals, self.seen = (
            CONTENT,
            '"one"',
            True,
            [],
            [],
            [],
        )

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}/file.gz"


class _Handler(BaseHTTPRequestHandler):
    server: Flaky

    def do_GET(self):
        server = self.server
        server.seen.append(self.headers.get("Range"))
        if server.refusals:
            self.send_error(server.refusals.pop(0))
            return
        start = 0
        if (
            server.ranges
            and self.headers.get("Range")
            and self.headers.get("If-Range") == server.tag
        ):
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
        if start >= len(server.content):
            self.send_error(416)
            return
        body = server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", server.tag)
        self.end_headers()
        self.wfile.write(body[: server.drops.pop(0)] if server.drops else body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    flaky = Flaky()
    thread = threading.Thread(target=flaky.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield flaky
    flaky.shutdown()
    thread.join()
    flaky.server_close()


def _get(server, path, attempts=3):
    download(server.address, path, attempts=attempts, wait_s=lambda _: 0)


def test_a_dropped_connection_goes_on_where_it_ended(server, tmp_path):
    server.drops = [300_000, 0, 200_000]
    _get(server, tmp_path / "file.gz")
    assert (tmp_path / "file.gz").read_bytes() == CONTENT
    assert server.seen == [None, "bytes=300000-", "bytes=300000-", "bytes=500000-"]
    record = json.loads((tmp_path / "file.gz.sha256.json").read_text())
    assert (record["sha256"], record["bytes"]) == (
        hashlib.sha256(CONTENT).hexdigest(),
        len(CONTENT),
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file.gz", "file.gz.sha256.json"]


def test_a_later_process_goes_on_too(server, tmp_path):
    server.drops = [400_000, 0, 0]
    with pytest.raises(
        DataError,
        match=r"could not be downloaded after 2 attempts \(the connection ended after 400,000 of "
        r"1,000,000",
    ):
        _get(server, tmp_path / "file.gz", attempts=2)
    assert not (tmp_path / "file.gz").exists()
    _get(server, tmp_path / "file.gz")
    assert (tmp_path / "file.gz").read_bytes() == CONTENT
    assert server.seen[-1] == "bytes=400000-"


@pytest.mark.parametrize("ranges", [True, False])
def test_a_file_that_changed_or_a_server_without_ranges_starts_again(server, tmp_path, ranges):
    server.drops, server.ranges = [400_000, 0, 0], ranges
    with pytest.raises(DataError, match="2 attempts"):
        _get(server, tmp_path / "file.gz", attempts=2)
    server.content, server.tag = CONTENT[::-1], '"two"'
    _get(server, tmp_path / "file.gz")
    assert (tmp_path / "file.gz").read_bytes() == CONTENT[::-1]


def test_a_busy_server_is_asked_again_and_a_missing_file_is_not(server, tmp_path):
    server.refusals = [503, 429]
    _get(server, tmp_path / "file.gz")
    assert len(server.seen) == 3
    server.refusals = [404]
    with pytest.raises(
        DataError, match=r"file.gz answered 404 Not Found; fetch other.gz by hand into"
    ):
        _get(server, tmp_path / "other.gz")
    assert len(server.seen) == 4
    server.refusals = [503] * 9
    with pytest.raises(DataError, match=r"after 3 attempts \(503 Service Unavailable\)"):
        _get(server, tmp_path / "other.gz")


def test_a_part_that_is_already_whole_is_not_trusted_without_a_range(server, tmp_path):
    (tmp_path / "file.gz.part").write_bytes(CONTENT)
    (tmp_path / "file.gz.part.validator").write_text(server.tag)
    _get(server, tmp_path / "file.gz")
    assert (tmp_path / "file.gz").read_bytes() == CONTENT
    assert server.seen == ["bytes=1000000-", None]


def test_nobody_listening_is_an_error_with_a_remedy(tmp_path, server):
    address = "http://127.0.0.1:1/file.gz"
    with pytest.raises(
        DataError,
        match=r"127.0.0.1:1/file.gz could not be downloaded after 2 attempts .* Run the same "
        r"command again",
    ):
        download(address, tmp_path / "file.gz", attempts=2, wait_s=lambda _: 0)


def test_an_altered_file_is_refused_ever_after(server, tmp_path):
    path = tmp_path / "file.gz"
    _get(server, path)
    assert verify(path) == hashlib.sha256(CONTENT).hexdigest()
    path.write_bytes(CONTENT + b"!")
    with pytest.raises(
        DataError,
        match=r"but file.gz had [0-9a-f]{64} when it was first seen; delete it to download it "
        r"again, or",
    ):
        verify(path)
    path.unlink()
    server.content = CONTENT[1:]
    with pytest.raises(DataError, match=r"when it was first seen"):
        _get(server, path)
    assert not path.exists()
    (tmp_path / "file.gz.sha256.json").write_text("[]")
    with pytest.raises(DataError, match=r"is not a hash record; delete it"):
        _get(server, path)


def test_waits_grow_between_failures_and_shrink_after_progress(server, tmp_path):
    waits: list[int] = []
    server.drops = [0, 0, 10, 0]
    download(
        server.address,
        tmp_path / "file.gz",
        attempts=4,
        wait_s=lambda number: waits.append(number) or 0.0,
    )
    assert waits == [0, 1, 0, 1]


def test_fetch_keeps_what_is_there_and_asks_for_yelp_by_hand(tmp_path):
    with pytest.raises(
        DataError,
        match=r"yelp must be downloaded by hand, .* open https://www.yelp.com/dataset, unpack",
    ):
        fetch(REGISTRY["yelp"], tmp_path)
    for name in REGISTRY["yelp"].files:
        (tmp_path / name).write_text("{}")
    fetch(REGISTRY["yelp"], tmp_path)
    (tmp_path / REGISTRY["yelp"].files[0]).write_text("{} ")
    with pytest.raises(DataError, match="first seen"):
        fetch(REGISTRY["yelp"], tmp_path)


@contextmanager
def _full_disk(most):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_no_bad_connection(server, tmp_path):
    with (
        pytest.raises(
            StoreError, match=r"file.gz.part cannot be written \(File too large\); free space"
        ),
        _full_disk(300_000),
    ):
        _get(server, tmp_path / "file.gz")
    assert server.seen == [None]
    _get(server, tmp_path / "file.gz")
    assert (tmp_path / "file.gz").read_bytes() == CONTENT
    assert server.seen[-1] == "bytes=300000-"


def test_a_raw_file_is_used_where_its_hash_cannot_be_kept(tmp_path, capsys):
    (tmp_path / "file.gz").write_bytes(CONTENT)
    with _full_disk(10):
        assert verify(tmp_path / "file.gz") == hashlib.sha256(CONTENT).hexdigest()
    assert "a change of file.gz will not be noticed" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file.gz"]
