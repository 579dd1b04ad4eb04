"""Downloads that survive a bad line: progress, retry with backoff, resume, and a hash checked ever
after."""

import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any

from tqdm import tqdm

from scoter.data.sources import Source, raw_file
from scoter.errors import DataError, StoreError
from scoter.storage.store import hash_file
from scoter.storage.untrusted import parse_json
from scoter.storage.writing import replacing, writing

_CHUNK = 1 << 18
_TIMEOUT_S = 30.0


def fetch(source: Source, folder: Path) -> list[Path]:
    """The raw files of a dataset in `folder`, downloaded where they are missing, verified where
    they are not.

    Raises:
        DataError: the dataset must be downloaded by hand, a download failed for good, or a file was
            altered.
    """
    paths = [raw_file(folder, name) for name in source.files]
    missing = [path for path in paths if not path.is_file()]
    if missing and not source.addresses:
        raise DataError(
            f"{source.name} must be downloaded by hand, because its terms have to be accepted: "
            f"open {source.page}, unpack the archive and put "
            f"{' and '.join(path.name for path in missing)} into {folder}"
        )
    for number, path in enumerate(paths):
        if path in missing:
            download(source.addresses[number], path)
        else:
            verify(path)
    return paths


def download(
    address: str,
    path: Path,
    *,
    attempts: int = 6,
    wait_s: Callable[[int], float] = lambda n: 2.0**n,
) -> None:
    """Fetch one file to `path`. What arrives is kept in `PATH.part`, so that an interrupted
    download goes on later.

    Attempt n (from 0) is followed by a pause of `wait_s(n)` seconds; bytes that arrive start the
    count anew. A resumed transfer is refused by the server where the remote file has changed, and
    then starts again.

    Raises:
        DataError: no attempt succeeded, the address does not exist, or the file is not the one seen
            first.
        StoreError: the file cannot be written here; what arrived is kept.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    failures = 0
    while True:
        before = _size(part)
        try:
            _transfer(address, part)
            break
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code not in (408, 416, 429):
                raise DataError(
                    f"{address} answered {error.code} {error.reason}; fetch {path.name} by hand "
                    f"into {path.parent}"
                ) from None
            if error.code == 416:
                part.unlink(missing_ok=True)
            reason = f"{error.code} {error.reason}"
        except (OSError, HTTPException) as error:
            reason = str(error) or type(error).__name__
        failures = 1 if _size(part) > before else failures + 1
        if failures >= attempts:
            raise DataError(
                f"{address} could not be downloaded after {attempts} attempts ({reason}); the "
                f"part that arrived is kept in {part}. Run the same command again to go on, or "
                f"fetch the file by hand into {path.parent}"
            )
        time.sleep(wait_s(failures - 1))
    _check_or_record(part, path, address)
    with writing(path):
        part.replace(path)
        _validator_file(part).unlink(missing_ok=True)


def verify(path: Path) -> str:
    """The sha256 of a raw file: recorded beside it (`NAME.sha256.json`) at first sight, compared
    ever after.

    Raises:
        DataError: the file differs from the one seen first; the message says both hashes.
    """
    return _check_or_record(path, path, "placed by hand")


def _check_or_record(content: Path, path: Path, origin: str) -> str:
    record = path.with_name(f"{path.name}.sha256.json")
    digest = hash_file(content)
    if record.is_file():
        try:
            known = parse_json(record.read_bytes())["sha256"]
        except (ValueError, KeyError, TypeError):
            raise DataError(
                f"{record} is not a hash record; delete it to have {path.name} recorded afresh"
            ) from None
        if known != digest:
            raise DataError(
                f"{content} has sha256 {digest}, but {path.name} had {known} when it was first "
                f"seen; delete it to download it again, or delete {record} to accept it as it is"
            )
        return digest
    seen = {"sha256": digest, "bytes": content.stat().st_size, "origin": origin}
    text = json.dumps(
        {**seen, "first_seen": datetime.now(UTC).isoformat(timespec="seconds")}, indent=1
    )
    try:
        with replacing(record) as partial:
            partial.write_text(text)
    except StoreError as error:
        if content != path:
            raise
        print(f"{error}. Until then a change of {path.name} will not be noticed", file=sys.stderr)
    return digest


def _transfer(address: str, part: Path) -> None:
    """One attempt, from where the last one ended. Raises OSError where the connection ends
    early."""
    have = _size(part)
    headers = {"User-Agent": "scoter", "Accept-Encoding": "identity"}
    validator = _validator_file(part)
    if have and validator.is_file():
        headers |= {"Range": f"bytes={have}-", "If-Range": validator.read_text()}
    with urllib.request.urlopen(
        urllib.request.Request(address, headers=headers), timeout=_TIMEOUT_S
    ) as response:
        have = have if response.status == 206 else 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length is not None else None
        mark = response.headers.get("ETag") or response.headers.get("Last-Modified")
        if mark and not mark.startswith("W/"):
            with writing(validator):
                validator.write_text(mark)
        else:
            validator.unlink(missing_ok=True)
        interactive = sys.stderr.isatty()
        if not interactive:
            size = f"{total:,} bytes" if total is not None else "size unknown"
            print(
                f"downloading {address} ({size}{f', from byte {have:,}' if have else ''})",
                file=sys.stderr,
            )
        with (
            writing(part),
            part.open("ab" if have else "wb") as file,
            tqdm(
                total=total,
                initial=have,
                unit="B",
                unit_scale=True,
                desc=part.stem,
                disable=not interactive,
            ) as bar,
        ):
            for chunk in _chunks(response):
                file.write(chunk)
                bar.update(len(chunk))
    if total is not None and _size(part) != total:
        raise OSError(f"the connection ended after {_size(part):,} of {total:,} bytes")


def _chunks(response: Any) -> Iterator[bytes]:
    """What arrives. A connection that fails is an `HTTPException`, so that it is not taken for a
    disk that does."""
    try:
        while chunk := response.read(_CHUNK):
            yield chunk
    except OSError as error:
        raise HTTPException(str(error) or type(error).__name__) from None


def _validator_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.validator")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
