"""Raw files: those that must be there, and tables of numbers."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from haemsa_jax import csv_rows
from haemsa_jax.errors import InputError
from haemsa_jax.regular import regular


def find_file(candidates: Iterable[Path], source: str) -> Path:
    """The first of the candidates that is there.

    Raises:
      InputError: none is; says where the file can be had.
    """
    candidates = list(candidates)
    for path in candidates:
        if path.is_file():
            return path
    raise InputError(
        f"{' or '.join(str(path) for path in candidates)} is missing; nothing is downloaded, get "
        f"it yourself: {source}"
    )


def read_text(path: Path) -> str:
    """A file's text.

    Raises:
      InputError: it is not UTF-8.
    """
    try:
        return regular(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 ({error}); save it as UTF-8") from error


def read_table(path: Path, *columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a CSV file, by the names in its first one, behind where they stand.

    Args:
      path: the file.
      columns: names that must be there; of several lists one.

    Raises:
      InputError: it is not UTF-8, lacks a column or has it twice, a row cannot be read, or a cell
        of those columns holds a spreadsheet's error.
    """
    header, rows = csv_rows.read_named(path)
    lists = [[name for name in names if name not in header] for names in columns]
    lacking = min(lists, key=len)
    if lacking:
        raise InputError(f"{path}: column {lacking[0]!r} is missing; it has {', '.join(header)}")
    read = columns[lists.index(lacking)]
    for row, cells in rows:
        origin = f"{path}, row {row.line}"
        if row.error:
            raise InputError(f"{origin}: {row.error}")
        for name in read:
            if cells[name].strip() in csv_rows.FORMULA_ERRORS:
                raise InputError(
                    f"{origin}: {name} is {cells[name]}, which a spreadsheet wrote where it took "
                    "the cell for a formula; take the file as it was published"
                )
        yield origin, cells


def read_numbers(path: Path, width: int) -> np.ndarray:
    """A CSV file of numbers without a header, as float64[N, width].

    Raises:
      InputError: it has another width or no row, or a cell is no number.
    """
    return parse_numbers(read_text(path), range(width), width, str(path))


def parse_numbers(text: str, columns: Sequence[int], width: int, origin: str) -> np.ndarray:
    """Chosen columns of CSV rows, as float64[N, len(columns)].

    Raises:
      InputError: there is no row, a row has another width, or a chosen cell is no number. Names the
        row of `origin`, from 1.
    """
    if not text.strip():
        raise InputError(f"{origin}: there is no row in it")
    try:
        values = np.loadtxt(
            io.StringIO(text), delimiter=",", quotechar='"', usecols=columns, ndmin=2
        )
    except ValueError as error:
        raise InputError(f"{origin}, {_first_fault(text, columns, width)}") from error
    if text.count(",") != len(values) * (width - 1):  # NumPy ignores columns beyond the chosen
        raise InputError(f"{origin}, {_first_fault(text, columns, width)}")
    return values


def _first_fault(text: str, columns: Sequence[int], width: int) -> str:
    """Says what is wrong with rows that could not be read, more plainly than NumPy does."""
    for number, cells in enumerate(csv.reader(io.StringIO(text)), start=1):
        if cells and len(cells) != width:
            return f"row {number}: {len(cells)} columns; expected {width}"
        for column in columns if cells else ():
            try:
                float(cells[column])
            except ValueError:
                return f"row {number}, column {column + 1}: {cells[column]!r} is not a number"
    return "a row could not be read as numbers"
