"""Results as tables: Markdown for a file, aligned text for a terminal.

`Results` is task id -> row name -> metric name -> one value a seed. It is plain JSON as it stands,
and that is how raw results are kept; the tables are made from it.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np

from haemsa_jax.training.metrics import BY_CLASS, HIGHER_IS_BETTER

Results = Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]

NAMES = {
    "mae": "MAE",
    "corr": "Corr",
    "acc7": "Acc-7",
    "acc5": "Acc-5",
    "acc3": "Acc-3",
    "acc2_has0": "Acc-2 has0",
    "f1_has0": "F1 has0",
    "acc2_non0": "Acc-2 non0",
    "f1_non0": "F1 non0",
    "accuracy": "Acc",
    "f1_weighted": "F1 weighted",
    "f1_macro": "F1 macro",
    "wacc_mean": "WAcc",
    "f1_mean": "F1",
    BY_CLASS: "F1",
}
PLAIN = ("mae", "corr")  # three decimals as they are; all others in per cent
MISSING = "-"
FOOTNOTE = "±: sample standard deviation over seeds."


def heading(metric: str) -> str:
    """Name, unit and better direction of a metric, such as `Acc-7 % ↑`."""
    return f"{NAMES[metric]}{unit(metric)} {arrow(metric)}"


def unit(metric: str) -> str:
    """What follows a printed value."""
    return "" if metric in PLAIN else " %"


def arrow(metric: str) -> str:
    """The direction that is better."""
    return "↑" if HIGHER_IS_BETTER[metric] else "↓"


def cell(metric: str, values: Sequence[float]) -> str:
    """Mean over seeds, with the sample standard deviation where there are several."""
    if not values:
        return MISSING
    spread = f" ± {_number(metric, deviation(values))}" if len(values) > 1 else ""
    return _number(metric, fmean(values)) + spread


def deviation(values: Sequence[float]) -> float:
    """Sample standard deviation; 0 of a single value, NaN where one of them is."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def markdown(results: Results) -> str:
    """One Markdown table a task, the best mean of each column in bold."""
    return _document(results, title="### {}", table=_markdown_table)


def text(results: Results) -> str:
    """One aligned table a task for the terminal, the best mean of each column starred."""
    return _document(results, title="{}", table=_text_table)


def _document(results, title, table) -> str:
    parts = [f"{title.format(task)}\n\n{table(rows)}" for task, rows in results.items()]
    seeds = [len(v) for rows in results.values() for row in rows.values() for v in row.values()]
    if max(seeds, default=0) > 1:
        parts.append(FOOTNOTE)
    return "\n\n".join(parts) + "\n"


def _number(metric: str, value: float) -> str:
    return f"{value:.3f}" if metric in PLAIN else f"{100 * value:.1f}"


def _grid(rows, mark) -> tuple[list[str], list[list[str]]]:
    """Headings and body, row names first; `mark` is put on the best cells."""
    metrics = list(dict.fromkeys(metric for row in rows.values() for metric in row))
    best = {metric: _best(metric, rows) for metric in metrics}
    body = [
        [_row_name(name, row)]
        + [
            (mark if name in best[metric] else str)(cell(metric, row.get(metric, ())))
            for metric in metrics
        ]
        for name, row in rows.items()
    ]
    return ["", *map(heading, metrics)], body


def _row_name(name: str, row) -> str:
    seeds = max(map(len, row.values()), default=0)
    return f"{name} ({seeds} seeds)" if seeds > 1 else name


def _best(metric: str, rows) -> set[str]:
    """Rows whose mean, as printed, is the best; none where there is nothing to compare."""
    if metric == BY_CLASS:  # rows are classes, none of which is better than another
        return set()
    sign = 1 if HIGHER_IS_BETTER[metric] else -1
    means = {name: fmean(row[metric]) for name, row in rows.items() if row.get(metric)}
    means = {name: sign * value for name, value in means.items() if not math.isnan(value)}
    if len(means) < 2:
        return set()
    top = _number(metric, max(means.values()))
    return {name for name, value in means.items() if _number(metric, value) == top}


def _markdown_table(rows) -> str:
    headings, body = _grid(rows, mark="**{}**".format)
    rule = ["---"] + ["---:"] * (len(headings) - 1)
    return "\n".join("| " + " | ".join(line) + " |" for line in [headings, rule, *body])


def _text_table(rows) -> str:
    headings, body = _grid(rows, mark="*{}".format)
    widths = [max(map(len, column)) for column in zip(headings, *body, strict=True)]
    lines = [
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
        for line in [headings, *body]
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)
