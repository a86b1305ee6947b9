"""Tables: one type, written as Markdown, as aligned text and by the page's template.

`Results` is task id -> row name -> metric name -> one value a seed. It is plain JSON as it stands,
and that is how raw results are kept; their tables are made from it.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from haemsa_jax.models.model import MODELS
from haemsa_jax.tasks.metrics import BY_CLASS, PER_CENT, metric_of

BEST_POSSIBLE = "best possible"  # a bound, not a competitor: never marked as the best
Results = Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]


@dataclass(frozen=True)
class Table:
    """Cells as they are shown; the first column stands to the left, numbers to the right.

    Attributes:
      header: names of the columns.
      rows: as many cells each; what they hold is text, never Markdown or HTML.
      title: empty for none.
      best: (row, column) of the cells that are marked.
      left: columns that stand to the left.
      prose: those of them that hold running text; where there are any, a narrow page shows each row
        as lines.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    best: frozenset[tuple[int, int]] = frozenset()
    left: frozenset[int] = frozenset({0})
    prose: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Tables:
    """Tables that belong together, and a note below the last of them; empty for none."""

    tables: Sequence[Table]
    note: str = ""


MISSING = "-"
FOOTNOTE = "±: sample standard deviation over seeds."
ONE_SEED = "No ±: nothing here was trained from several seeds."
ONE_FOLD = "Of one fold network: mean ± standard deviation over the fold networks."
ONE_NETWORK = ", one network"  # ends names of rows that hold the networks of bags one by one
# What kept results call their rows, and what people read in its place.
_SHOWN = (
    (r"^late fusion$", "ridge a modality, averaged"),
    (r"^ridge all$", "ridge, all modalities"),
    (r"^ridge all \+ context$", "ridge, all modalities and 3 past utterances"),
    (r"-searched(?=,|$)", ", searched"),
    (r", bag of (\d+)", r", mean of \1 fold networks"),
    (r", one network$", ", one fold network"),
    (r", ensemble chosen out of fold$", ", ensemble selected by out-of-fold predictions"),
)


def model_label(model: str) -> str:
    """A registered model's name in tables, such as `late fusion network`."""
    return "HAEMSA" if model == "haemsa" else f"{model.replace('_', ' ')} network"


def row_label(name: str) -> str:
    """What people read of a row, by the name that kept results have for it.

    Plans of comparisons call rows by their models, such as `late_fusion`.
    """
    model = name.partition(",")[0].removesuffix("-searched")
    if model in MODELS:
        name = model_label(model) + name.removeprefix(model)
    for pattern, shown in _SHOWN:
        name = re.sub(pattern, shown, name)
    return name


def heading(metric: str) -> str:
    """Name, unit and better direction of a metric, such as `Acc-7 % ↑`."""
    return f"{metric_of(metric).display}{unit(metric)} {arrow(metric)}".strip()


def unit(metric: str) -> str:
    """What follows a printed value."""
    given = metric_of(metric).unit
    return f" {given}" if given else ""


def scale(metric: str) -> float:
    """By what a value is multiplied before it is printed: fractions are shown in per cent."""
    return 100.0 if metric_of(metric).unit == PER_CENT else 1.0


def decimals(metric: str) -> int:
    """How many are printed."""
    of = metric_of(metric)
    return 0 if of.counts else 1 if of.unit == PER_CENT else 3


def arrow(metric: str) -> str:
    """The direction that is better; empty where there is none."""
    if metric_of(metric).counts:
        return ""
    return "↑" if metric_of(metric).higher_is_better else "↓"


def cell(metric: str, values: Sequence[float]) -> str:
    """Mean over seeds, with the sample standard deviation where there are several."""
    if not values:
        return MISSING
    spread = f" ± {_number(metric, deviation(values))}" if len(values) > 1 else ""
    return _number(metric, fmean(values)) + spread


def deviation(values: Sequence[float]) -> float:
    """Sample standard deviation; 0 of a single value, NaN where one of them is."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def of_results(results: Results) -> Tables:
    """A table a task, the best mean of each column marked."""
    tables = [of_task(task_id, rows) for task_id, rows in results.items()]
    seeds: dict[bool, int] = {False: 0, True: 0}  # by whether a row holds networks of bags
    for name, row in ((name, row) for rows in results.values() for name, row in rows.items()):
        of = name.endswith(ONE_NETWORK)
        seeds[of] = max(seeds[of], *map(len, row.values()), 0)
    several = [FOOTNOTE] * (seeds[False] > 1) + [ONE_FOLD] * (seeds[True] > 1)
    return Tables(tables, " ".join(several) or ONE_SEED)


def markdown(results: Results) -> str:
    """One Markdown table a task, the best mean of each column in bold."""
    return as_markdown(of_results(results))


def text(results: Results) -> str:
    """One aligned table a task for the terminal, the best mean of each column starred."""
    return as_text(of_results(results))


def as_markdown(tables: Tables) -> str:
    """Headings and pipe tables; what would be markup in a cell is escaped."""
    parts = []
    for table in tables.tables:
        rule = ["---" if column in table.left else "---:" for column in range(len(table.header))]
        lines = [[escaped(cell) for cell in table.header], rule]
        lines += _marked(table, "**{}**", escaped)
        body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        parts.append(f"### {escaped(table.title)}\n\n{body}" if table.title else body)
    return "\n\n".join([*parts, *filter(None, [tables.note])]) + "\n"


def paragraphs(sentences: Iterable[str]) -> str:
    """Markdown of sentences below a table, each a paragraph."""
    return "".join(f"\n{escaped(sentence)}\n" for sentence in sentences)


def as_text(tables: Tables) -> str:
    """Aligned columns for a terminal."""
    parts = []
    for table in tables.tables:
        lines = [[_one_line(cell) for cell in table.header], *_marked(table, "*{}", _one_line)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        lines.insert(1, ["-" * width for width in widths])
        body = "\n".join(_aligned(line, widths, table.left) for line in lines)
        parts.append(f"{_one_line(table.title)}\n\n{body}" if table.title else body)
    return "\n\n".join([*parts, *filter(None, [tables.note])]) + "\n"


def _marked(table: Table, mark: str, clean) -> Iterable[list[str]]:
    for row, cells in enumerate(table.rows):
        yield [
            mark.format(clean(cell)) if (row, column) in table.best else clean(cell)
            for column, cell in enumerate(cells)
        ]


def _aligned(cells: Sequence[str], widths: Sequence[int], left: frozenset[int]) -> str:
    padded = [
        cell.ljust(width) if column in left else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(padded).rstrip()


def _one_line(cell: str) -> str:
    """Without line breaks and control characters, which terminals and tables obey."""
    return "".join(x if x.isprintable() else " " for x in cell)


def escaped(cell: str) -> str:
    """Text that Markdown shows as it is: no columns, HTML, emphasis, code or links of its own."""
    for markup in ("\\", "|", "<", "*", "`"):
        cell = cell.replace(markup, f"\\{markup}")
    return _one_line(cell).replace("](", "]\\(")


def of_task(task_id: str, rows: Mapping[str, Mapping[str, Sequence[float]]]) -> Table:
    """The table of one task, the best mean of each column marked."""
    metrics = list(dict.fromkeys(metric for row in rows.values() for metric in row))
    best = {metric: _best(metric, rows) for metric in metrics}
    return Table(
        header=["", *map(heading, metrics)],
        rows=[
            [_row_name(name, row), *(cell(metric, row.get(metric, ())) for metric in metrics)]
            for name, row in rows.items()
        ],
        title=task_id,
        best=frozenset(
            (row, column)
            for row, name in enumerate(rows)
            for column, metric in enumerate(metrics, start=1)
            if name in best[metric]
        ),
    )


def of_columns(
    columns: Sequence[tuple[str, str]], rows: Mapping[str, Mapping[str, Mapping]]
) -> Table:
    """One table of several tasks, the best mean of each column marked.

    Args:
      columns: task and metric.
      rows: by name, task and metric, one value a seed.
    """
    best = {
        (task, metric): _best(metric, {name: of.get(task, {}) for name, of in rows.items()})
        for task, metric in columns
    }
    return Table(
        header=[
            "",
            *(f"{task.partition(':')[2]} {heading(metric)}".strip() for task, metric in columns),
        ],
        rows=[
            [name, *(cell(metric, of.get(task, {}).get(metric, ())) for task, metric in columns)]
            for name, of in rows.items()
        ],
        best=frozenset(
            (row, column)
            for row, name in enumerate(rows)
            for column, place in enumerate(columns, start=1)
            if name in best[place]
        ),
    )


def _number(metric: str, value: float) -> str:
    return f"{scale(metric) * value:.{decimals(metric)}f}"


def _row_name(name: str, row) -> str:
    count, shown = max(map(len, row.values()), default=0), row_label(name)
    what = f"mean over the {count}" if name.endswith(ONE_NETWORK) else f"{count} seeds"
    return f"{shown} ({what})" if count > 1 else shown


def _best(metric: str, rows) -> set[str]:
    """Rows whose mean, as printed, is the best; none where there is nothing to compare."""
    # Rows may be classes, none of which is better than another.
    if metric == BY_CLASS or metric_of(metric).counts:
        return set()
    sign = 1 if metric_of(metric).higher_is_better else -1
    competing = {name: row for name, row in rows.items() if name != BEST_POSSIBLE}
    means = {name: fmean(row[metric]) for name, row in competing.items() if row.get(metric)}
    means = {name: sign * value for name, value in means.items() if not math.isnan(value)}
    if len(means) < 2:
        return set()
    top = _number(metric, max(means.values()))
    return {name for name, value in means.items() if _number(metric, value) == top}
