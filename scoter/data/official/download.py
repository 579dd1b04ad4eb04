"""Downloads with progress, retries and resumption, whose hash is checked ever after."""

import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from tqdm import tqdm

from scoter.data.official.raw import raw_file
from scoter.data.sources import Source
from scoter.errors import DataError, StoreError
from scoter.storage.store import hash_file
from scoter.storage.untrusted import parse_json
from scoter.storage.writing import replacing, writing

Wait = Callable[[int], float]  # seconds to pause after so many failures before the last

_CHUNK = 1 << 18  # bytes
_TIMEOUT_S = 30.0
_WORTH_A_RETRY = (408, 416, 429)  # beside every status from 500 on


def fetch(source: Source, folder: Path) -> None:
    """The raw files of a dataset in `folder`: downloaded where missing, else verified."""
    paths = [raw_file(folder, name) for name in source.files]
    missing = [path for path in paths if not path.is_file()]
    if missing and not source.addresses:
        names = " and ".join(path.name for path in missing)
        steps = f"open {source.page}, unpack the archive and put {names} into {folder}"
        reason = "must be downloaded by hand, because its terms have to be accepted"
        raise DataError(f"{source.name} {reason}: {steps}")
    for number, path in enumerate(paths):
        if path in missing:
            download(source.addresses[number], path)
        else:
            verify(path)


def download(
    address: str, path: Path, *, attempts: int = 6, wait_s: Wait = lambda failures: 2.0**failures
) -> None:
    """Fetch one file to `path`; an interrupted download goes on later from `PATH.part`.

    Bytes that arrive start the count of failures anew. A transfer starts again where the remote
    file has changed. Failure is a `DataError`; a full or read-only disk is a `StoreError`.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    failures = 0
    while True:
        before = _size(part)
        failure = _attempt(address, part, path)
        if failure is None:
            break
        failures = 1 if _size(part) > before else failures + 1
        if failures >= attempts:
            start = f"{address} could not be downloaded after {attempts} attempts ({failure})"
            remedy = f"Run the same command again, or fetch the file by hand into {path.parent}"
            raise DataError(f"{start}. {remedy}")
        time.sleep(wait_s(failures - 1))
    verify(path, part, address)
    with writing(path):
        part.replace(path)
        part.with_name(f"{part.name}.validator").unlink(missing_ok=True)


def _attempt(address: str, part: Path, path: Path) -> str | None:
    """Transfer the file once; why it failed where another attempt is worth it, None where done."""
    try:
        _transfer(address, part)
    except urllib.error.HTTPError as error:
        if error.code < 500 and error.code not in _WORTH_A_RETRY:
            remedy = f"fetch {path.name} by hand into {path.parent}"
            raise DataError(f"{address} answered {error.code} {error.reason}; {remedy}") from None
        if error.code == 416:  # the part is longer than the file
            part.unlink(missing_ok=True)
        return f"{error.code} {error.reason}"
    except (OSError, HTTPException) as error:
        return str(error) or type(error).__name__
    return None


def verify(path: Path, content: Path | None = None, origin: str = "placed by hand") -> str:
    """The sha256 of a raw file: recorded in `NAME.sha256.json` at first sight, then compared.

    `content` holds the bytes of a file that is not at `path` yet.
    """
    content = content or path
    record = path.with_name(f"{path.name}.sha256.json")
    digest = hash_file(content)
    if record.is_file():
        try:
            known = parse_json(record.read_bytes())["sha256"]
        except (ValueError, KeyError, TypeError):
            remedy = f"delete it to have {path.name} recorded afresh"
            raise DataError(f"{record} is not a hash record; {remedy}") from None
        if known != digest:
            known = f"{path.name} had {known} when it was first seen"
            remedy = f"delete it to download it again, or delete {record} to accept it as it is"
            raise DataError(f"{content} has sha256 {digest}, but {known}; {remedy}")
        return digest
    seen = {"sha256": digest, "bytes": content.stat().st_size, "origin": origin}
    seen["first_seen"] = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        with replacing(record) as partial:
            partial.write_text(json.dumps(seen, indent=1))
    except StoreError as error:
        if content != path:
            raise
        print(f"{error}. Until then a change of {path.name} will not be noticed", file=sys.stderr)
    return digest


def _transfer(address: str, part: Path) -> None:
    """One attempt, from where the last one ended; an OSError where the connection ends early."""
    start = _size(part)
    headers = {"User-Agent": "scoter", "Accept-Encoding": "identity"}
    validator = part.with_name(f"{part.name}.validator")
    if start and validator.is_file():
        headers |= {"Range": f"bytes={start}-", "If-Range": validator.read_text()}
    request = urllib.request.Request(address, headers=headers)
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
        start = start if response.status == 206 else 0
        length = response.headers.get("Content-Length")
        total = start + int(length) if length is not None else None
        mark = response.headers.get("ETag") or response.headers.get("Last-Modified")
        if mark and not mark.startswith("W/"):
            with writing(validator):
                validator.write_text(mark)
        else:
            validator.unlink(missing_ok=True)
        print(f"downloading {address}{f' from byte {start:,}' if start else ''}", file=sys.stderr)
        sizes = {"total": total, "initial": start, "unit": "B", "unit_scale": True}
        with (
            writing(part),
            part.open("ab" if start else "wb") as file,
            tqdm(desc=part.stem, disable=None, **sizes) as bar,  # None: only on a terminal
        ):
            for chunk in _chunks(response):
                file.write(chunk)
                bar.update(len(chunk))
    if total is not None and _size(part) != total:
        raise OSError(f"the connection ended after {_size(part):,} of {total:,} bytes")


def _chunks(response: HTTPResponse) -> Iterator[bytes]:
    """What arrives; a failed connection is an `HTTPException`, as an OSError means the disk."""
    try:
        while chunk := response.read(_CHUNK):
            yield chunk
    except OSError as error:
        raise HTTPException(str(error) or type(error).__name__) from None


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
