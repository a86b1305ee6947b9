"""Models over many tasks: mean ranks, which of them differ, and what each costs.

Ranks, Friedman's test and Nemenyi's critical distance as in Demšar, "Statistical Comparisons of
Classifiers over Multiple Data Sets", JMLR 7 (2006).
"""

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from haemsa_jax.reporting import tables
from haemsa_jax.reporting.ablation import CONFIDENCE, difference, interval
from haemsa_jax.reporting.baselines import is_yardstick
from haemsa_jax.reporting.drawing import ABSENT, DPI, FONT
from haemsa_jax.tasks.metrics import metric_of


@dataclass(frozen=True)
class Ranks:
    """Of rows over tasks.

    Attributes:
      mean: by row, the best first; 1 is the best of a task. Ties share their ranks.
      tasks: how many.
      p: of Friedman's test that all rows are alike; None for fewer than three rows or two tasks.
      distance: mean ranks that lie farther apart differ (Nemenyi, 95 %); None likewise.
    """

    mean: Mapping[str, float]
    tasks: int
    p: float | None
    distance: float | None


def ranks(results: tables.Results) -> Ranks:
    """Rows by each task's first metric, mean over seeds; yardsticks have no rank.

    Args:
      results: by task, row and metric; rows that a task lacks have no rank either.
    """
    names = [
        name
        for name in next(iter(results.values()))
        if not is_yardstick(name)
        and name != tables.BEST_POSSIBLE
        and all(name in rows for rows in results.values())
    ]
    means = np.array([[_cost(rows, name) for name in names] for rows in results.values()])
    each = stats.rankdata(means, axis=1)
    mean = dict(sorted(zip(names, each.mean(axis=0).tolist(), strict=True), key=lambda x: x[1]))
    tasks, count = len(results), len(names)
    if count < 3 or tasks < 2:
        return Ranks(mean, tasks, None, None)
    p = float(stats.friedmanchisquare(*means.T).pvalue)
    quantile = stats.studentized_range.ppf(CONFIDENCE, count, np.inf) / math.sqrt(2)
    distance = float(quantile * math.sqrt(count * (count + 1) / (6 * tasks)))
    return Ranks(mean, tasks, None if math.isnan(p) else p, distance)


def _cost(rows: Mapping[str, Mapping[str, Sequence[float]]], name: str) -> float:
    metric = next(iter(rows[name]))
    return (-1 if metric_of(metric).higher_is_better else 1) * fmean(rows[name][metric])


def tables_of(
    results: tables.Results, of: Ranks, costs: Mapping[str, Mapping[str, Mapping[str, float]]]
) -> tables.Tables:
    """A table a task, with differences to the best network, and of several tasks one of ranks.

    Args:
      results: by task, row and metric, one value a seed.
      of: their ranks.
      costs: by task, row and name of a cost, such as `parameters`.
    """
    each = [_of_task(task, rows, of, costs.get(task, {})) for task, rows in results.items()]
    note = (
        f"{tables.of_results(results).note} Differences are to the best network of a task, paired "
        "by seed, in brackets their 95 % interval; baselines have none."
    )
    if of.tasks < 2:
        return tables.Tables(each, note)
    lines = [[tables.row_label(name), f"{rank:.2f}"] for name, rank in of.mean.items()]
    if of.distance is not None:
        outcome = "all alike" if of.p is None else f"Friedman's p {of.p:.2g}"
        note += f" Mean ranks differ where they are {of.distance:.2f} apart (Nemenyi); {outcome}."
    last = tables.Table(["", "mean rank"], lines, f"Ranks over {of.tasks} tasks")
    return tables.Tables([*each, last], note)


def _of_task(task: str, rows, of: Ranks, costs) -> tables.Table:
    table = tables.of_task(task, rows)
    metric = next(iter(next(iter(rows.values()))))
    ranked = [name for name in rows if name in of.mean]
    best = min(ranked, key=lambda name: _cost(rows, name))
    kinds = list(next(iter(costs.values()), {}))
    lines = []
    for (name, row), cells in zip(rows.items(), table.rows, strict=True):
        apart = ""
        if name in ranked and name != best and len(row[metric]) == len(rows[best][metric]):
            apart = interval(metric, difference(row[metric], rows[best][metric]))
        own = costs.get(name, {})
        spent = [f"{own[kind]:,.0f}" if kind in own else tables.MISSING for kind in kinds]
        lines.append([*cells, apart, *spent])
    header = [*table.header, f"{metric_of(metric).display} minus best network's", *kinds]
    return dataclasses.replace(table, header=header, rows=lines)


def figure(of: Ranks, path: str | os.PathLike) -> None:
    """Writes the diagram of mean ranks: rows that a bar joins are not told apart.

    Args:
      of: ranks of two rows or more.
      path: of the PNG.
    """
    names, places = list(of.mean), list(of.mean.values())
    groups = _alike(places, of.distance)
    drawing = Figure(figsize=(9, 1.4 + 0.34 * len(names)), dpi=DPI, layout="constrained")
    axes = drawing.subplots()
    bottom = 1.0 + 0.6 * len(groups)
    for line, (name, place) in enumerate(of.mean.items()):
        height = bottom + line
        axes.plot([place, place], [0, height], color=ABSENT, linewidth=1)
        axes.plot(place, height, "o", color="black", markersize=5)
        axes.annotate(
            f"  {tables.row_label(name)}  {place:.2f}",
            (place, height),
            fontsize=FONT,
            verticalalignment="center",
        )
    for line, (first, last) in enumerate(groups):
        height = 0.6 * (line + 1)
        axes.plot([first, last], [height, height], color="black", linewidth=3)
    outcome = "" if of.distance is None else f"; those joined are not {of.distance:.2f} apart"
    axes.set_xlabel(f"mean rank over {of.tasks} tasks, 1 is best{outcome}", fontsize=FONT)
    axes.set_xlim(0.9, max(len(names), places[-1]) * 1.25)
    axes.set_ylim(bottom + len(names), 0)
    axes.set_yticks([])
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.spines[["left", "right", "bottom"]].set_visible(False)
    drawing.savefig(path)


def _alike(places: Sequence[float], distance: float | None) -> list[tuple[float, float]]:
    """Longest stretches of sorted mean ranks that are within the distance, of two or more."""
    if distance is None:
        return []
    stretches: list[tuple[float, float]] = []
    for start, first in enumerate(places):
        last = max(place for place in places[start:] if place - first <= distance)
        if last > first and not any(last <= end for _, end in stretches):
            stretches.append((first, last))
    return stretches
