"""Figures: what a network predicts and what its gates do, and how a training went.

Drawn on `matplotlib.figure.Figure`, which has no global state and needs no display.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from haemsa_jax.config import TaskSpec
from haemsa_jax.reporting import gates, tables
from haemsa_jax.reporting.drawing import (
    ABSENT,
    DPI,
    FONT,
    HUES,
    TOTAL,
    heat_map,
    numbers,
    title_of,
)
from haemsa_jax.reporting.predictions import plot_of
from haemsa_jax.structure.parts import Declaration
from haemsa_jax.tasks.metrics import METRICS, compute, metric_of


@dataclass(frozen=True)
class TaskReport:
    """One task on the split that is shown; NumPy arrays.

    Attributes:
      task_id: `dataset:task`.
      spec: the task.
      truth: labels of the N labelled samples.
      prediction: of the same samples, mean over seeds: float[N], or float[N, C].
      seeds: how many.
      declaration: of the network, whose gates are drawn.
      gates: by name their mean weights for this task, float[parts].
    """

    task_id: str
    spec: TaskSpec
    truth: np.ndarray
    prediction: np.ndarray
    seeds: int
    declaration: Declaration
    gates: Mapping[str, np.ndarray]


def evaluation_figure(tasks: Sequence[TaskReport], path: str | os.PathLike) -> None:
    """Writes one PNG: a row a task, predictions against truth and the gates of every level."""
    levels = gates.levels(tasks[0].declaration)
    columns = 1 + len(levels)
    size = (4.6 + 3.8 * len(levels), 4.2 * len(tasks))
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12)
    figure = Figure(figsize=size, dpi=DPI, layout=layout)
    ratios = {"width_ratios": (1.25, *[1.0] * len(levels))}
    grid = figure.subplots(len(tasks), columns, squeeze=False, gridspec_kw=ratios)
    for report, (left, *others) in zip(tasks, grid, strict=True):
        plot_of(report.spec.kind)(left, report)
        left.set_title(_headline(report), fontsize=FONT + 1, fontweight="bold")
        for axes, (level, gatings) in zip(others, levels.items(), strict=True):
            gates.draw(axes, level, gatings, report.gates)
    figure.savefig(path)


def training_figure(log_rows: Sequence[Mapping[str, Any]], path: str | os.PathLike) -> None:
    """Writes one PNG from the rows of a run's log: losses, and every validation metric, by step.

    Args:
      log_rows: as `log.read` returns them. Drawn are `loss` and `loss/TASK` of the rows of kind
        `train`, `score` and `TASK/METRIC` of those of kind `validation`, learnt weights of those of
        kind `tasks`: the mean over seeds, in a band from the lowest to the highest; and how the
        tasks' gradients agree, on the mean over seeds and rows.
      path: of the PNG.
    """
    panels, cosines = _curves(log_rows), _cosines(log_rows)
    count = len(panels) + bool(cosines)
    columns = min(count, 3)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(4.8 * columns, 3.2 * rows + 0.5), dpi=DPI, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).flat
    tasks = list(dict.fromkeys(task for curves in panels.values() for task in curves if task))
    hues = {"": TOTAL} | {task: HUES[i % len(HUES)] for i, task in enumerate(tasks)}
    for (title, curves), axes in zip(panels.items(), grid, strict=False):
        for task, (steps, curve) in curves.items():
            marker = None if title == "loss" else "."
            values = np.asarray(curve)
            axes.plot(steps, values.mean(axis=1), color=hues[task], linewidth=1.4, marker=marker)
            if values.shape[1] > 1:
                band = values.min(axis=1), values.max(axis=1)
                axes.fill_between(steps, *band, color=hues[task], alpha=0.2, linewidth=0)
        title_of(axes, title, x="step")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axes.grid(color=ABSENT)
    if cosines:
        _agreement(next(grid), cosines)
    for left_over in grid:
        left_over.remove()
    _legend(figure, {task or "all tasks": hue for task, hue in hues.items()})
    figure.savefig(path)


# --- predictions against truth -------------------------------------------------------------------


def _headline(report: TaskReport) -> str:
    everything = np.ones(len(report.truth), bool)
    values = compute(report.spec, report.prediction, report.truth, everything)
    shown = [
        f"{metric_of(metric).display} {tables.cell(metric, [float(value)])}{tables.unit(metric)}"
        for metric, value in list(values.items())[:2]
    ]
    # The mean of several networks is better than they are one by one: say whose figures these are.
    whose = f", mean prediction of {report.seeds} seeds" if report.seeds > 1 else ""
    return f"{report.task_id}{whose}\n{'   '.join(shown)}   n = {len(report.truth)}"


# --- training ------------------------------------------------------------------------------------


def _curves(log_rows) -> dict[str, dict[str, tuple[list, list]]]:
    """Panel title -> task id (empty: all tasks together) -> steps and values."""
    panels: dict[str, dict[str, tuple[list, list]]] = {"loss": {}}
    for row in log_rows:
        for name, value in row.items():
            place = _place(row.get("kind"), name)
            if place is not None:
                title, task = place
                steps, values = panels.setdefault(title, {}).setdefault(task, ([], []))
                steps.append(row["step"])
                values.append(value)
    return panels


def _cosines(log_rows) -> dict[tuple[str, str], float]:
    """Of two tasks' gradients: mean over seeds and over the rows that tell."""
    cosines: dict[tuple[str, str], list[float]] = {}
    for row in log_rows:
        for name, values in row.items():
            of, _, both = name.partition("/")
            if row.get("kind") == "tasks" and of == "cosine":
                first, second = both.split("|")
                cosines.setdefault((first, second), []).append(float(np.mean(values)))
    return {pair: float(np.mean(values)) for pair, values in cosines.items()}


def _agreement(axes: Axes, cosines: Mapping[tuple[str, str], float]) -> None:
    tasks = list(dict.fromkeys(task for pair in cosines for task in pair))
    table = np.full((len(tasks), len(tasks)), np.nan)
    for (first, second), value in cosines.items():
        a, b = tasks.index(first), tasks.index(second)
        table[a, b] = table[b, a] = value
    # A scale of their own: gradients of so many numbers are nearly at right angles.
    most = max(0.1, np.nanmax(np.abs(table)))
    texts = numbers(np.round(table, 2) + 0.0)  # no -0.00
    names = [task.replace(":", "\n") for task in tasks]
    heat_map(axes, table, texts, names, names, FONT - 1, signed=most)
    title_of(axes, "cosine of tasks' gradients; red is conflict")
    axes.tick_params(labelsize=FONT - 2)


_ABOUT_TASKS = {
    "weight": "learnt weight of tasks",
    "lead": "rightness of a modality over the others'",
}


def _place(kind: str | None, name: str) -> tuple[str, str] | None:
    """Panel and task of a scalar; None for those that are not drawn."""
    if kind == "train" and name.partition("/")[0] == "loss":
        return "loss", name.partition("/")[2]
    if kind == "validation" and name == "score":
        return "validation score ↑", ""
    of, _, task = name.partition("/")
    if kind == "tasks" and of in _ABOUT_TASKS:
        return _ABOUT_TASKS[of], task
    task, _, metric = name.rpartition("/")
    if kind == "validation" and task and metric in METRICS:
        return f"validation {metric_of(metric).display} {tables.arrow(metric)}", task
    return None


def _legend(figure: Figure, hues: Mapping[str, str]) -> None:
    lines = [figure.axes[0].plot([], [], color=hue, linewidth=3)[0] for hue in hues.values()]
    columns = min(len(hues), 4)
    figure.legend(lines, list(hues), loc="outside lower center", ncols=columns, fontsize=FONT)
