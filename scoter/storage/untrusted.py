"""Reading what others wrote: lines of bounded length, files that do not explode when unpacked, JSON
that is no tower.

Whatever is wrong with such content is a `ValueError` (or a `DataError` that names the file), never
another exception, and no input makes more memory than it is allowed to.
"""

import ast
import codecs
import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scoter.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

MAX_LINE = 16 << 20
"""Bytes in a line; the longest lines of the official files have about one million."""

_TO_UTF8 = "save it as UTF-8, or convert it: `iconv -f {} -t UTF-8`"

EXPANSION, SMALL = 200, 256 << 20
"""A packed file may grow by this factor when it is unpacked, or to so many bytes; text in JSON
grows by 3 to 20."""

_MOST_BLANK = 100_000
_LONGEST_LITERAL = 2 << 20  # Python's parser takes hundreds of bytes for one of the text
_FORMATS = (
    (
        b"PK\x03\x04",
        "a zip archive (an .xlsx file is one too); unpack it, or save the sheet as CSV in UTF-8",
    ),
    (b"\xd0\xcf\x11\xe0", "an old Excel or Office file; save the sheet as CSV in UTF-8"),
    (b"BZh", "packed by bzip2; unpack it"),
    (b"\xfd7zXZ", "packed by xz; unpack it"),
    (b"\x28\xb5\x2f\xfd", "packed by zstd; unpack it"),
    (b"PAR1", "a parquet file; let its name end in .parquet"),
    (codecs.BOM_UTF16_LE, f"text in UTF-16; {_TO_UTF8.format('UTF-16')}"),
    (codecs.BOM_UTF16_BE, f"text in UTF-16; {_TO_UTF8.format('UTF-16')}"),
)


def parse_json(text: str | bytes) -> Any:
    """`json.loads` whose every complaint is a `ValueError`, that of a tower of brackets too.

    Example:
        >>> parse_json('{"a": 1}')
        {'a': 1}
        >>> parse_json("[" * 100_000)
        Traceback (most recent call last):
        ...
        ValueError: it is nested too deeply
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def parse_literal(text: str) -> Any:
    """`ast.literal_eval` (which runs nothing) whose every complaint is a `ValueError`, that of a
    tower of brackets too.

    Example:
        >>> parse_literal("['Beauty', 'Bath']")
        ['Beauty', 'Bath']
        >>> parse_literal("exit()")
        Traceback (most recent call last):
        ...
        ValueError: it is no Python literal
    """
    if len(text) > _LONGEST_LITERAL:
        raise ValueError(f"it is longer than {_LONGEST_LITERAL:,} characters")
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise ValueError("it is no Python literal") from None


def check_text(path: Path) -> None:
    """Refuse a file that is meant to be text in UTF-8 and, by its first bytes, is something else
    that can be named.

    Raises:
        DataError: it is packed, a spreadsheet, parquet or UTF-16; the message says what it is and
            how to convert it.
    """
    with open_unpacked(path) as file:
        start = file.read(512)
    for mark, what in _FORMATS:
        if start.startswith(mark):
            raise DataError(f"{path} is {what}")
    if b"\0" in start:
        raise DataError(
            f"{path} holds NUL bytes, so it is no text in UTF-8 (it may be UTF-16); "
            f"{_TO_UTF8.format('UTF-16')}"
        )


def decoded(line: bytes, place: str) -> str:
    """A line of UTF-8 as text; `place` says in the message where it stands.

    Raises:
        DataError: it is no UTF-8, or holds a NUL byte.
    """
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{place} is not UTF-8 (byte {error.start + 1} of it is 0x{line[error.start]:02x}), "
            f"but perhaps Latin-1 or Windows-1252; {_TO_UTF8.format('WINDOWS-1252')}"
        ) from None
    if "\0" in text:
        raise DataError(
            f"{place} holds a NUL byte; the file is damaged or no text, so export it again as UTF-8"
        )
    return text


def open_unpacked(path: Path) -> io.BufferedReader:
    """A file's bytes, unpacked where its name ends in `.gz` or it starts as gzip files do.

    Reading raises `DataError` once more comes out of a packed file than its size can explain.
    """
    if path.suffix != ".gz":
        file = path.open("rb")
        if file.peek(2)[:2] != b"\x1f\x8b":
            return file
        file.close()
    return io.BufferedReader(_Unpacked(path), 1 << 18)


def lines(path: Path, most: int = MAX_LINE) -> Iterator[bytes]:
    """The lines of a plain or packed file that are not blank, one at a time, without the mark that
    UTF-8 may start with.

    Raises:
        DataError: a line is longer than `most` bytes, or too many of them in a row are blank. What
            is wrong with the packing comes as gzip, zlib and EOF errors.
    """
    number = blank = 0
    with open_unpacked(path) as file:
        while line := file.readline(most + 1):
            number += 1
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            if len(line) > most:
                raise DataError(
                    f"line {number} of {path} is longer than {most:,} bytes; check that it is "
                    f"the right file"
                )
            if line.isspace():
                blank += 1
                if blank > _MOST_BLANK:
                    raise DataError(
                        f"{path} has {blank:,} blank lines in a row; check that it is the right "
                        f"file"
                    )
                continue
            blank = 0
            yield line


def read_parquet(path: Path) -> "pa.Table":
    """A parquet table; what is no such thing, or unpacks to more than the file can hold, is a
    `ValueError` or `OSError`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Opened by Python, since Arrow takes every path for UTF-8 and reads columns out of folders
        # named `a=b`.
        with path.open("rb") as source, pq.ParquetFile(source) as file:
            _check_expansion(file.metadata, path.stat().st_size)
            names = file.schema_arrow.names
            if repeated := [name for name in names if names.count(name) > 1]:
                raise ValueError(f"it has two columns {repeated[0]!r}")
            table = file.read()
        table.validate(full=True)  # text that is no UTF-8, offsets that point elsewhere
        return table
    except (OSError, ValueError):
        raise
    except (
        pa.ArrowException,
        MemoryError,
        OverflowError,
        LookupError,
        TypeError,
        NotImplementedError,
    ) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None


def _check_expansion(about: Any, size: int) -> None:
    if about.num_rows < 0 or about.num_columns == 0:
        raise ValueError(
            f"it says that it has {about.num_rows} rows of {about.num_columns} columns"
        )
    groups = [about.row_group(number) for number in range(about.num_row_groups)]
    unpacked = max(
        8 * about.num_rows * about.num_columns, sum(group.total_byte_size for group in groups)
    )
    if unpacked > max(SMALL, EXPANSION * size):
        raise ValueError(
            f"its {size:,} bytes unpack to {unpacked:,}, more than a table of that size can be"
        )


class _Unpacked(io.RawIOBase):
    """A gzip stream that counts what comes out."""

    def __init__(self, path: Path) -> None:
        self.path, self.most, self.count = path, max(SMALL, EXPANSION * path.stat().st_size), 0
        self.file = gzip.GzipFile(path, "rb")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        found = self.file.readinto(buffer)
        self.count += found
        if self.count > self.most:
            raise DataError(
                f"{self.path} unpacks to more than {self.most:,} bytes, {EXPANSION} times its "
                f"size; unpack it first to trust it"
            )
        return found

    def close(self) -> None:
        self.file.close()
        super().close()
