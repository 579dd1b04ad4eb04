"""Reading files that others wrote: bounded lines, bounded unpacking, JSON of bounded depth.

Whatever is wrong with such content is a `ValueError`, or a `DataError` that names the file; no
input takes more memory than it is allowed to.
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
    from _typeshed import WriteableBuffer
    from pyarrow.parquet import FileMetaData

MAX_LINE = 16 << 20  # bytes; the longest lines of the official files have about one million
EXPANSION = 200  # how often its size a packed file may unpack to; JSON text grows by 3 to 20,
SMALL = 256 << 20  # or to so many bytes
_MOST_BLANK = 100_000  # blank lines in a row
_NOT_A_TABLE = (MemoryError, OverflowError, LookupError, TypeError, NotImplementedError)
_LONGEST_LITERAL = 2 << 20  # Python's parser takes hundreds of bytes for one of the text
_TO_UTF8 = "save it as UTF-8, or convert it: `iconv -f {} -t UTF-8`"
_UTF16 = f"text in UTF-16; {_TO_UTF8.format('UTF-16')}"
_ZIP = "a zip archive (an .xlsx file is one too); unpack it, or save the sheet as CSV in UTF-8"
_FORMATS = {  # by their first bytes
    b"PK\x03\x04": _ZIP,
    b"\xd0\xcf\x11\xe0": "an old Excel or Office file; save the sheet as CSV in UTF-8",
    b"BZh": "packed by bzip2; unpack it",
    b"\xfd7zXZ": "packed by xz; unpack it",
    b"\x28\xb5\x2f\xfd": "packed by zstd; unpack it",
    b"PAR1": "a parquet file; let its name end in .parquet",
    codecs.BOM_UTF16_LE: _UTF16,
    codecs.BOM_UTF16_BE: _UTF16,
}


def parse_json(text: str | bytes) -> Any:
    """`json.loads` whose every complaint is a `ValueError`, also of too many brackets."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def parse_literal(text: str) -> Any:
    """`ast.literal_eval` (which runs nothing) whose every complaint is a `ValueError`."""
    if len(text) > _LONGEST_LITERAL:
        raise ValueError(f"it is longer than {_LONGEST_LITERAL:,} characters")
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise ValueError("it is no Python literal") from None


def check_text(path: Path) -> None:
    """Refuse a file whose first bytes are those of another format than text in UTF-8."""
    with open_unpacked(path) as file:
        start = file.read(512)
    for mark, what in _FORMATS.items():
        if start.startswith(mark):
            raise DataError(f"{path} is {what}")
    if b"\0" in start:
        nul = f"{path} holds NUL bytes, so it is no text in UTF-8 (it may be UTF-16)"
        raise DataError(f"{nul}; {_TO_UTF8.format('UTF-16')}")


def decoded(line: bytes, place: str) -> str:
    """A line of UTF-8 as text; another encoding or a NUL byte is a `DataError` with the place."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        byte = f"byte {error.start + 1} of it is 0x{line[error.start]:02x}"
        guess = f"but perhaps Latin-1 or Windows-1252; {_TO_UTF8.format('WINDOWS-1252')}"
        raise DataError(f"{place} is not UTF-8 ({byte}), {guess}") from None
    if "\0" in text:
        remedy = "the file is damaged or no text, so export it again as UTF-8"
        raise DataError(f"{place} holds a NUL byte; {remedy}")
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
    """The lines of a plain or packed file that are not blank, without the mark of UTF-8.

    A line longer than `most` bytes or too many blank lines in a row are a `DataError`. A damaged
    packed file raises what gzip and zlib raise.
    """
    number = blank = 0
    with open_unpacked(path) as file:
        while line := file.readline(most + 1):
            number += 1
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            blank = blank + 1 if line.isspace() else 0
            problem = f"{path} has {blank:,} blank lines in a row" if blank > _MOST_BLANK else ""
            if len(line) > most:
                problem = f"line {number} of {path} is longer than {most:,} bytes"
            if problem:
                raise DataError(f"{problem}; check that it is the right file")
            if not blank:
                yield line


def read_parquet(path: Path) -> "pa.Table":
    """A parquet table; another file, or one that unpacks to too much, is a `ValueError`.

    Read by the caller's thread alone: Arrow's pools can abort a process that ends soon after.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Python opens it: Arrow takes paths for UTF-8, and reads columns from folders named `a=b`.
        with path.open("rb") as source, pq.ParquetFile(source, pre_buffer=False) as file:
            _check_expansion(file.metadata, path.stat().st_size)
            names = file.schema_arrow.names
            if repeated := [name for name in names if names.count(name) > 1]:
                raise ValueError(f"it has two columns {repeated[0]!r}")
            table = file.read(use_threads=False)
        table.validate(full=True)  # text that is no UTF-8, offsets that point elsewhere
        return table
    except (OSError, ValueError):
        raise
    except (pa.ArrowException, *_NOT_A_TABLE) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None


def _check_expansion(about: "FileMetaData", size: int) -> None:
    rows, columns = about.num_rows, about.num_columns
    if rows < 0 or columns == 0:
        raise ValueError(f"it says that it has {rows} rows of {columns} columns")
    groups = (about.row_group(number).total_byte_size for number in range(about.num_row_groups))
    unpacked = max(8 * rows * columns, sum(groups))
    if unpacked > max(SMALL, EXPANSION * size):
        sizes = f"its {size:,} bytes unpack to {unpacked:,}"
        raise ValueError(f"{sizes}, more than a table of that size can be")


class _Unpacked(io.RawIOBase):
    """A gzip stream that counts what comes out."""

    def __init__(self, path: Path) -> None:
        self.path, self.most, self.count = path, max(SMALL, EXPANSION * path.stat().st_size), 0
        self.file = gzip.GzipFile(path, "rb")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        count = self.file.readinto(buffer)
        self.count += count
        if self.count > self.most:
            most = f"{self.most:,} bytes, {EXPANSION} times its size"
            raise DataError(f"{self.path} unpacks to more than {most}; unpack it first to trust it")
        return count

    def close(self) -> None:
        self.file.close()
        super().close()
