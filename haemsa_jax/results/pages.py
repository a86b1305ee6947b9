"""Tables in Markdown pages that are made from recorded results, between marks.

  <!-- results
  columns: hazumi:ui mae, hazumi:ui corr
  HAEMSA = hazumi/main | HAEMSA
  hazumi/main | ridge all
  -->
  (the table)
  <!-- end of results -->

The first line names columns, a table of the record (a task) and a metric each; the others a label,
the record and its row; without a label it is the row's own. With `differences:` in the place of
`columns:` all rows but the first show how far they are from it, paired by seed, with the 95 %
interval. Below the table stand the commit and the command of its records.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from haemsa_jax.errors import InputError
from haemsa_jax.reporting import tables
from haemsa_jax.reporting.ablation import difference, interval
from haemsa_jax.results.record import Record, read

BLOCK = re.compile(r"(<!-- results\n(.*?)-->\n).*?(<!-- end of results -->)", re.DOTALL)


def made(text: str, results: Path, where: str) -> str:
    """The page with its tables made anew.

    Args:
      text: of the page.
      results: the store.
      where: the page's name, for messages.

    Raises:
      InputError: a mark is not understood, or names a result that is not in the store.
    """

    @cache
    def load(name: str) -> Record:
        return read(results / f"{name}.json")

    def block(match: re.Match) -> str:
        try:
            return f"{match[1]}{_block(match[2], load)}{match[3]}"
        except (InputError, KeyError, ValueError) as error:
            raise InputError(f"{where}: marks {match[2].strip()!r}: {error}") from error

    return BLOCK.sub(block, text)


def _block(marks: str, load: Callable[[str], Record]) -> str:
    first, *lines = filter(None, (line.strip() for line in marks.splitlines()))
    shown, _, wanted = first.partition(":")
    if shown not in ("columns", "differences"):
        raise ValueError("the first line is `columns: TABLE METRIC, ...`, or `differences:`")
    columns = [_column(column) for column in wanted.strip().split(", ")]
    rows: dict[str, Mapping] = {}
    records: dict[str, Record] = {}
    for line in lines:
        *given, source = line.split(" = ", 1)
        name, _, row = source.partition(" | ")
        label = given[0] if given else tables.row_label(row)
        records[name] = load(name)
        rows[label] = {table: of.get(row, {}) for table, of in records[name].rows.items()}
        if not any(rows[label].values()):
            raise ValueError(f"{name} has no row {row!r}")
    table = tables.of_columns(columns, rows)
    if shown == "differences":
        table = _differences(table, columns, rows)
    return f"{tables.as_markdown(tables.Tables([table]))}\n{_sources(records)}\n"


def _differences(table: tables.Table, columns, rows: Mapping[str, Mapping]) -> tables.Table:
    """The table with paired differences to the first row in the place of the others' means."""
    (_, reference), *others = rows.items()
    cells = [
        [name]
        + [
            interval(metric, difference(of[task][metric], reference[task][metric]))
            for task, metric in columns
        ]
        for name, of in others
    ]
    first = [*table.rows[0]]
    return dataclasses.replace(table, rows=[first, *cells], best=frozenset())


def _column(text: str) -> tuple[str, str]:
    """Task and metric."""
    task, _, metric = text.rpartition(" ")
    return task, metric


def _sources(records: Mapping[str, Record]) -> str:
    """Where figures come from, and how to get them again."""
    places: dict[str, list[str]] = {}
    for name, record in records.items():
        where = f"{record.commit[:7]}, {record.date[:10]}"
        places.setdefault(where, []).append(name)
    each = [
        f"{where}: `python -m launch.reproduce --only={','.join(names)}`"
        for where, names in places.items()
    ]
    return f"<sub>{'; '.join(each)}</sub>\n"
