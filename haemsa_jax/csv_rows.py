"""CSV files row by row, so that a row that cannot be read costs no other.

A quote that is not closed on its line may begin a cell with line breaks, or swallow rows up to the
next quote. The second is assumed where the lines in between look like rows, and never silently.
"""

import csv
import itertools
import sys
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from haemsa_jax.errors import InputError
from haemsa_jax.regular import regular

MOST_LINES = 100  # of a cell; a quote that is open for longer is taken for a mistake
# What spreadsheets write where they took a cell for a formula, or lost what it referred to.
FORMULA_ERRORS = (
    *("#NAME?", "#REF!", "#VALUE!", "#DIV/0!", "#N/A", "#NUM!", "#NULL!", "#SPILL!", "#CALC!"),
    *("#ERROR!", "#NOM?", "#VALEUR!", "#WERT!", "#BEZUG!", "#NV"),
)

csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # a transcript may have more than 131,072


@dataclass(frozen=True)
class CsvRow:
    """One row of a file.

    Attributes:
      line: where it begins, from 1.
      cells: as they stand; empty where the row cannot be read.
      error: why it cannot; else empty.
    """

    line: int
    cells: list[str] = field(default_factory=list)
    error: str = ""


def read_rows(path: Path, *, trusted: bool = False) -> Iterator[CsvRow]:
    """The rows of a UTF-8 file, the first with the names of columns among them, if it has one.

    Args:
      path: the file.
      trusted: this library wrote it, so that its quotes are right whatever its cells look like.
    """
    lines, width = _Lines(path), 0
    while (row := _next_row(lines, width, trusted)) is not None:
        if row.cells or row.error:  # an empty line is no row
            width = width or len(row.cells)
            yield row


def read_named(path: Path) -> tuple[list[str], Iterator[tuple[CsvRow, dict[str, str]]]]:
    """The names in the first row, and the others with their cells by name.

    A row with more or fewer cells than there are names has an error and no cells.

    Raises:
      InputError: the first row cannot be read, or has a name twice.
    """
    rows = read_rows(path)
    first = next(rows, CsvRow(1))
    if first.error:
        raise InputError(f"{path}, line {first.line}: {first.error}")
    names = first.cells
    twice = [name for name, count in Counter(names).items() if count > 1 and name]
    if twice:
        raise InputError(f"{path}: column {twice[0]!r} is there twice; remove or rename one")
    return names, (_named(row, names) for row in rows)


def _named(row: CsvRow, names: list[str]) -> tuple[CsvRow, dict[str, str]]:
    if row.error:
        return row, {}
    if len(row.cells) != len(names):
        error = (
            f"not as many columns as the first row names: {len(row.cells)} instead of {len(names)}"
        )
        return CsvRow(row.line, error=error), {}
    return row, dict(zip(names, row.cells, strict=True))


class _Lines:
    """The lines of a file with their numbers; some may be given back."""

    def __init__(self, path: Path):
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._file = self._read(path)

    def _read(self, path: Path) -> Iterator[tuple[int, bytes]]:
        with regular(path).open("rb") as file:
            lines = itertools.chain.from_iterable(map(bytes.splitlines, file))
            yield from enumerate(lines, start=1)

    def take(self) -> tuple[int, bytes] | None:
        """The next line without its end; None behind the last."""
        return self._waiting.popleft() if self._waiting else next(self._file, None)

    def give_back(self, lines: list[tuple[int, bytes]]) -> None:
        """They come next, in their order."""
        self._waiting.extendleft(reversed(lines))


def _decoded(number: int, line: bytes) -> str:
    """Raises UnicodeDecodeError or csv.Error."""
    if b"\0" in line:
        raise csv.Error("it holds a NUL byte, as UTF-16 and binary files do; save it as UTF-8")
    return line.decode("utf-8-sig" if number == 1 else "utf-8") + "\n"


def _next_row(lines: _Lines, width: int, trusted: bool) -> CsvRow | None:
    line = lines.take()
    if line is None:
        return None
    try:
        first = _decoded(*line)
    except UnicodeDecodeError as error:
        return CsvRow(line[0], error=f"it is not UTF-8 ({error}); save it as UTF-8")
    except csv.Error as error:
        return CsvRow(line[0], error=str(error))
    more: list[tuple[int, bytes]] = []

    def continued() -> Iterator[str]:
        yield first
        while len(more) < MOST_LINES and (following := lines.take()) is not None:
            more.append(following)
            yield _decoded(*following)

    try:
        cells = next(csv.reader(continued(), strict=True))
    except (csv.Error, UnicodeDecodeError):
        lines.give_back(more)
        return CsvRow(line[0], error=_quote_fault(first))
    if trusted or not any(_looks_like_row(*other, width) for other in more):
        return CsvRow(line[0], cells)
    return CsvRow(
        line[0],
        error=f"a quote that opens here is closed on line {more[-1][0]}, and what lies in between "
        "looks like rows of their own; close it here, or take the line breaks out of the cell",
    )


def _quote_fault(line: str) -> str:
    """What is wrong with the quotes of a line that does not end with the row."""
    try:
        next(csv.reader([line], strict=True))
    except csv.Error as error:
        if "end of data" not in str(error):
            return f"text stands behind a closing quote ({error}); write quotes in a cell twice"
    return "a quote opens here and is not closed; close it, or write quotes in a cell twice"


def _looks_like_row(number: int, line: bytes, width: int) -> bool:
    try:
        return len(next(csv.reader([_decoded(number, line)], strict=True), [])) == width
    except (csv.Error, UnicodeDecodeError):
        return False
