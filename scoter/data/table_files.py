"""Tables of users, from CSV, TSV or parquet files and from DataFrames, refused where in doubt.

Text is UTF-8. CSV has quotes as in RFC 4180, but a quoted cell whose every line has the fields of a
row is refused, as its quote was probably never closed. TSV has no quoting.
"""

import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from scoter.errors import DataError
from scoter.storage.untrusted import MAX_LINE, check_text, decoded, open_unpacked, read_parquet

_DELIMITERS = {"csv": ",", "tsv": "\t"}
_NOTHING = ["", "NaN", "nan"]
_TEXT = ("user", "item", "timestamp", "title", "brand", "phrase", "description", "categories")


@dataclass(frozen=True, eq=False)
class Table:
    """A user's table as it was given."""

    cells: pd.DataFrame
    place: str  # its file or name, for messages

    def __post_init__(self) -> None:
        if self.cells.empty:
            raise DataError(f"{self.place} has no rows; a header alone is not enough")

    @classmethod
    def from_file(cls, path: Path) -> "Table":
        """The table in a `.csv`, `.tsv` (either with `.gz`) or `.parquet` file."""
        if not path.is_file():
            raise DataError(f"{path} does not exist; check the path")
        kind = path.name.removesuffix(".gz").rpartition(".")[2]
        if kind not in (*_DELIMITERS, "parquet"):
            kinds = "neither .csv, .tsv, a .gz of these nor .parquet"
            raise DataError(f"{path} is {kinds}; convert it")
        try:
            if kind == "parquet":
                cells = _from_arrow(read_parquet(path), str(path))
            else:
                cells = _from_text(path, _DELIMITERS[kind])
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(f"{path} is truncated or damaged ({error}); copy it again") from None
        except (ValueError, OSError, OverflowError, MemoryError) as error:  # pandas and pyarrow
            wanted = f"check that it is a whole .{kind} file with a header"
            raise DataError(f"{path} cannot be read ({error}); {wanted}") from None
        return cls(cells, str(path))

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, place: str) -> "Table":
        """A DataFrame, read as the parquet file that it would be; its index is ignored."""
        names = [str(name) for name in frame.columns]
        _check_names(names, place)
        try:
            cells = frame.set_axis(names, axis=1)
            table = pa.Table.from_pandas(cells, preserve_index=False, nthreads=1)
            return cls(_from_arrow(table, place), place)
        except (ValueError, TypeError, pa.ArrowException) as error:
            wanted = "give each column values of one type"
            raise DataError(f"{place} cannot be read ({error}); {wanted}") from None

    def column(self, name: str) -> pd.Series:
        """The cells of a column that the table has."""
        return pd.Series(self.cells[name])

    def require(self, name: str) -> None:
        """Refuse a table that lacks the column, or has nothing in one of its cells."""
        if name not in self.cells.columns:
            names = list(self.cells.columns)
            near = next((column for column in names if _plain_name(column) == name), None)
            hint = f"; write {near!r} as {name!r}" if near else ""
            if name == "timestamp" and not near:
                hint = "; if rows stand oldest first and have no times, say order='file'"
            lacks = f"{self.place} has no column {name!r} (it has {', '.join(names)})"
            raise DataError(f"{lacks}; rename or add it{hint}")
        empty = np.flatnonzero(self.cells[name].isna())
        if len(empty):
            rows = f"is empty or NaN in {len(empty)} rows (first: row {empty[0] + 1})"
            raise DataError(f"column {name!r} of {self.place} {rows}; fill them in")


def _from_arrow(table: pa.Table, place: str) -> pd.DataFrame:
    """Cells, with bytes as text, as which other tools often keep it; they must be UTF-8."""
    fields = [field.with_type(_text_type(field.type)) for field in table.schema]
    cells = table.cast(pa.schema(fields)).to_pandas(use_threads=False)
    names = [str(name) for name in cells.columns]
    _check_names(names, place)
    return cells.set_axis(names, axis=1)


def _text_type(kind: pa.DataType) -> pa.DataType:
    is_bytes = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
    if any(check(kind) for check in is_bytes):
        return pa.string()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(_text_type(kind.value_type))
    return kind


def _from_text(path: Path, delimiter: str) -> pd.DataFrame:
    check_text(path)
    if path.suffix == ".gz":  # a file that unpacks to too much is refused before it is parsed
        with open_unpacked(path) as file:
            while file.read(1 << 20):
                pass
    _check_rows(path, delimiter)
    with open_unpacked(path) as file:
        return pd.read_csv(
            file,
            delimiter=delimiter,
            quoting=csv.QUOTE_MINIMAL if delimiter == "," else csv.QUOTE_NONE,
            dtype=dict.fromkeys(_TEXT, str),
            keep_default_na=False,
            na_values=_NOTHING,
            index_col=False,
        )


def _check_rows(path: Path, delimiter: str) -> None:
    """Refuse a row with more or fewer fields than the header, which pandas would shift or fill."""
    width = 0
    for number, row, lines in _rows(path, delimiter):
        if len(row) == width and len(lines) == 1:
            continue
        if not width and lines[0].strip():
            width = len(row)
            _check_header(row, path, delimiter)
        elif len(row) == 1 and not row[0].strip():
            continue  # a blank line
        elif len(row) != width:
            counts = f"line {number} of {path} has {len(row)} fields, but the header has {width}"
            raise DataError(f"{counts}; {_hint(row, width, delimiter)}")
        elif all(len(line.split(delimiter)) == width for line in lines):
            cell = f"lines {number} to {number + len(lines) - 1} of {path} are one quoted cell"
            doubt = f"{cell}, though each of them looks like a row"
            raise DataError(f"{doubt}; close the quote, or double it")


def _rows(path: Path, delimiter: str) -> Iterator[tuple[int, list[str], list[str]]]:
    """The number of each row's first line, its fields, and its lines."""
    taken: list[str] = []
    lines = _lines(path, taken)
    number = 1
    for line in lines:
        if '"' in line and delimiter == ",":
            try:  # the reader takes further lines where a quoted cell has line breaks
                row = next(csv.reader(chain([line], lines), strict=True))
            except csv.Error as error:
                is_open = "end of data" in str(error)
                reason = "a quote is opened and never closed" if is_open else error
                start = f"{path} cannot be read (line {number}: {reason})"
                remedy = "close every quote, and double those in a cell's text"
                raise DataError(f"{start}; {remedy}") from None
        else:
            row = line.rstrip("\r\n").split(delimiter)
        yield number, row, taken  # valid until the next row
        number += len(taken)
        taken.clear()


def _lines(path: Path, taken: list[str]) -> Iterator[str]:
    """The lines of a text file, each of which is put into `taken` too."""
    with (
        open_unpacked(path) as file,
        io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="") as text,
    ):
        number = 0
        while line := text.readline(MAX_LINE):
            number += 1
            if not line.isascii() or "\0" in line:
                decoded(line.encode(errors="surrogateescape"), f"line {number} of {path}")
            if len(line) == MAX_LINE:
                long = f"line {number} of {path} is longer than {MAX_LINE:,} characters"
                raise DataError(f"{long}; check that it is the right file")
            taken.append(line)
            yield line


def _hint(row: list[str], wanted: int, delimiter: str) -> str:
    if len(row) < wanted:
        return "write every field, the empty ones too"
    if len(row) == wanted + 1 and row[-1] == "":
        return f"remove the {delimiter!r} at its end"
    if delimiter == "\t":
        return "a cell of TSV holds no tab; name the column in the header, or save it as .csv"
    return f"put a cell that holds {delimiter!r} in quotes, or name the column in the header"


def _check_header(names: list[str], path: Path, delimiter: str) -> None:
    others = [mark for mark in ",;\t|" if mark != delimiter and mark in names[0]]
    if len(names) == 1 and others:
        marks = f"{others[0]!r}, not by {delimiter!r} (its header is {names[0][:80]!r})"
        remedy = "save it with commas as .csv or with tabs as .tsv"
        raise DataError(f"the columns of {path} are separated by {marks}; {remedy}")
    if delimiter == "\t" and any(name.startswith('"') for name in names):
        raise DataError(f"header of {path} has quotes, which TSV does not have; save it as .csv")
    _check_names(names, str(path))


def _check_names(names: list[str], place: str) -> None:
    """Refuse two columns of one name, whatever its case; columns without a name are let be."""
    first: dict[str, str] = {}
    for name in names:
        known = first.setdefault(_plain_name(name), name)
        if name and name == known and names.count(name) > 1:
            raise DataError(f"{place} has two columns {name!r}; rename or remove one")
        if name != known:
            raise DataError(f"{place} has a column {known!r} and a column {name!r}; rename one")


def _plain_name(name: str) -> str:
    return name.strip().casefold()
