"""Writing for a user: a file appears whole or not at all; a full disk is one line with a remedy."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scoter.errors import StoreError

if TYPE_CHECKING:
    import pyarrow as pa


@contextmanager
def writing(place: Path | str) -> Iterator[None]:
    """A block that writes to `place`; a refusal of the system is a `StoreError` with its reason.

    >>> with writing("/dev/full"), open("/dev/full", "w") as file:
    ...     _ = file.write("text")
    Traceback (most recent call last):
    ...
    scoter.errors.StoreError: /dev/full cannot be written (No space left on device); free ...
    """
    try:
        yield
    except OSError as error:
        remedy = "free space there, allow writing, or name another place, and run again"
        reason = error.strerror or error
        raise StoreError(f"{place} cannot be written ({reason}); {remedy}") from None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """The name of a new file that replaces `path` once the block has written it without error."""
    partial = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.partial{path.suffix}")
    with writing(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield partial
            os.replace(partial, path)
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)


def write_parquet(table: "pa.Table", path: Path, **options: Any) -> None:
    """`pyarrow.parquet.write_table` to a file that Python opens: Arrow takes paths for UTF-8."""
    import pyarrow.parquet as pq

    with path.open("wb") as file:
        pq.write_table(table, file, **options)
