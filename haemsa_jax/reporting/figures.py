"""Figures: what a network predicts and what its gates do, and how a training went.

Drawn on `matplotlib.figure.Figure`, which has no global state and needs no display. Hues are
Okabe and Ito's, which colour-blind readers tell apart; weights and shares run along one sequential
map from 0 to 1, so that panels compare.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from haemsa_jax.config import TaskSpec
from haemsa_jax.reporting import tables
from haemsa_jax.training import metrics

HUES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D00", "#7A5195")
TOTAL, ABSENT = "#222222", "#E8E8E8"
INK, FAINT = "#333333", "#BBBBBB"
DPI = 120
CROWD = 1500  # samples from which a scatter would only be a blot
DENSITY = ListedColormap(colormaps["Blues"](np.linspace(0.25, 1, 256)))  # one sample is seen too
FONT = 10


@dataclass(frozen=True)
class TaskReport:
    """One task on the split that is shown; NumPy arrays.

    Attributes:
      task_id: `dataset:task`.
      spec: the task.
      truth: labels of the N labelled samples.
      prediction: of the same samples, mean over seeds: float[N], or float[N, C].
      seeds: how many.
      modalities: names of the M modalities.
      experts: names of the E local experts.
      operators: names of the F fusion operators.
      local: float[M, L, E], mean gate weights of the local experts, by block.
      links: float[M, M], mean weight of the link into target (row) from source (column).
      fusion: float[F], mean gate weights of the fusion operators for this task.
    """

    task_id: str
    spec: TaskSpec
    truth: np.ndarray
    prediction: np.ndarray
    seeds: int
    modalities: Sequence[str]
    experts: Sequence[str]
    operators: Sequence[str]
    local: np.ndarray
    links: np.ndarray
    fusion: np.ndarray


def evaluation_figure(tasks: Sequence[TaskReport], path: str | os.PathLike) -> None:
    """Writes one PNG: a row a task, predictions against truth and the gates of every level."""
    figure = Figure(figsize=(16, 4.2 * len(tasks)), dpi=DPI, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)
    ratios = {"width_ratios": (1.25, 1.2, 1, 0.85)}
    grid = figure.subplots(len(tasks), 4, squeeze=False, gridspec_kw=ratios)
    for report, (left, local, links, fusion) in zip(tasks, grid, strict=True):
        _PREDICTIONS[report.spec.kind](left, report)
        left.set_title(_headline(report), fontsize=FONT + 1, fontweight="bold")
        _local_gates(local, report)
        _links(links, report)
        _fusion(fusion, report)
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
        for task, (steps, values) in curves.items():
            marker = None if title == "loss" else "."
            values = np.asarray(values)
            axes.plot(steps, values.mean(axis=1), color=hues[task], linewidth=1.4, marker=marker)
            if values.shape[1] > 1:
                band = values.min(axis=1), values.max(axis=1)
                axes.fill_between(steps, *band, color=hues[task], alpha=0.2, linewidth=0)
        _title(axes, title, x="step")
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
    values = metrics.compute(report.spec, report.prediction, report.truth, everything)
    shown = [
        f"{tables.NAMES[metric]} {tables.cell(metric, [float(value)])}{tables.unit(metric)}"
        for metric, value in list(values.items())[:2]
    ]
    # The mean of several networks is better than they are one by one: say whose figures these are.
    whose = f", mean prediction of {report.seeds} seeds" if report.seeds > 1 else ""
    return f"{report.task_id}{whose}\n{'   '.join(shown)}   n = {len(report.truth)}"


def _scatter(axes: Axes, report: TaskReport) -> None:
    truth, prediction = report.truth, report.prediction
    low = min(report.spec.range[0], prediction.min())
    high = max(report.spec.range[1], prediction.max())
    if len(truth) > CROWD:
        extent = (low, high) * 2
        bins = axes.hexbin(truth, prediction, gridsize=24, extent=extent, bins="log", cmap=DENSITY)
        bar = axes.figure.colorbar(bins, ax=axes, shrink=0.85, format="%d")
        bar.set_label("samples", fontsize=FONT)
        bar.ax.tick_params(labelsize=FONT)
    else:
        axes.scatter(truth, prediction, s=14, alpha=0.4, color=HUES[0], linewidths=0)
    axes.plot((low, high), (low, high), color=HUES[1], linewidth=1.2)
    margin = 0.03 * (high - low)
    axes.set(xlim=(low - margin, high + margin), ylim=(low - margin, high + margin), aspect=1)
    axes.set_xlabel("truth", fontsize=FONT)
    axes.set_ylabel("prediction", fontsize=FONT)
    axes.tick_params(labelsize=FONT)


def _confusion(axes: Axes, report: TaskReport) -> None:
    """Rows are true classes and sum to 1; the counts stand below the shares."""
    classes = report.spec.classes
    counts = np.zeros((len(classes),) * 2, int)
    np.add.at(counts, (report.truth, report.prediction.argmax(axis=-1)), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    texts = [
        [f"{share:.2f}\n{count}" for share, count in zip(*row, strict=True)]
        for row in zip(shares, counts, strict=True)
    ]
    _heat_map(axes, shares, texts, classes, classes, fontsize=FONT - 2 * (len(classes) > 5))
    axes.set_xlabel("predicted", fontsize=FONT)
    axes.set_ylabel("true", fontsize=FONT)


def _label_bars(axes: Axes, report: TaskReport) -> None:
    everything = np.ones(len(report.truth), bool)
    places = np.arange(len(report.spec.classes))
    scores = {"weighted F1": metrics.label_f1, "weighted accuracy": metrics.label_wacc}
    for offset, hue, (name, metric) in zip((-0.2, 0.2), HUES, scores.items(), strict=False):
        values = metric(report.prediction, report.truth, everything)
        bars = axes.barh(places + offset, values, height=0.38, color=hue, label=name)
        axes.bar_label(bars, fmt="%.2f", fontsize=FONT - 1, padding=2)
    share = report.truth.mean(axis=0)
    names = [f"{name} ({p:.0%})" for name, p in zip(report.spec.classes, share, strict=True)]
    axes.set_yticks(places, names, fontsize=FONT)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.12)
    axes.set_xticks((0, 0.5, 1))
    axes.legend(fontsize=FONT - 1, loc="upper center", bbox_to_anchor=(0.5, -0.07), ncols=2)
    axes.spines[["top", "right"]].set_visible(False)


_PREDICTIONS = {
    "regression": _scatter,
    "classification": _confusion,
    "multilabel": _label_bars,
}


# --- gates ---------------------------------------------------------------------------------------


def _local_gates(axes: Axes, report: TaskReport) -> None:
    blocks = report.local.shape[1]
    rows = [f"{modality} {block + 1}" for modality in report.modalities for block in range(blocks)]
    weights = report.local.reshape(len(rows), -1)
    _heat_map(axes, weights, _numbers(weights), rows, report.experts)
    for border in range(blocks, len(rows), blocks):
        axes.axhline(border - 0.5, color="white", linewidth=3)
    _title(axes, "local expert weights")


def _links(axes: Axes, report: TaskReport) -> None:
    weights = np.where(np.eye(len(report.modalities), dtype=bool), np.nan, report.links)
    _heat_map(axes, weights, _numbers(weights), report.modalities, report.modalities)
    axes.set_ylabel("target", fontsize=FONT)
    _title(axes, "cross-modal link weights", x="source")


def _fusion(axes: Axes, report: TaskReport) -> None:
    places = np.arange(len(report.operators))
    bars = axes.barh(places, report.fusion, height=0.6, color=HUES[0])
    axes.bar_label(bars, fmt="%.2f", fontsize=FONT, padding=3)
    axes.set_yticks(places, report.operators, fontsize=FONT)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.18)
    axes.set_xticks((0, 0.5, 1))
    axes.spines[["top", "right"]].set_visible(False)
    _title(axes, "global expert weights")


def _heat_map(axes: Axes, shares, texts, rows, columns, fontsize=FONT, signed=0.0) -> None:
    """Shares in [0, 1], or from -signed to signed, with their texts; NaN is drawn as not there."""
    axes.set_facecolor(ABSENT)
    low, high, colours = (-signed, signed, "RdBu") if signed else (0, 1, "Blues")
    axes.imshow(shares, vmin=low, vmax=high, cmap=colours, aspect="auto")
    for (row, column), share in np.ndenumerate(shares):
        ink = "white" if abs(share) > 0.6 * high else "black"
        axes.text(
            column, row, texts[row][column], ha="center", va="center", color=ink, fontsize=fontsize
        )
    slant = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if len(columns) > 3 else {}
    axes.set_xticks(range(len(columns)), columns, fontsize=FONT, **slant)
    axes.set_yticks(range(len(rows)), rows, fontsize=FONT)
    axes.tick_params(length=0)


def _numbers(weights: np.ndarray) -> list[list[str]]:
    return [["" if np.isnan(value) else f"{value:.2f}" for value in row] for row in weights]


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
    found: dict[tuple[str, str], list[float]] = {}
    for row in log_rows:
        for name, values in row.items():
            of, _, both = name.partition("/")
            if row.get("kind") == "tasks" and of == "cosine":
                first, second = both.split("|")
                found.setdefault((first, second), []).append(float(np.mean(values)))
    return {pair: float(np.mean(values)) for pair, values in found.items()}


def _agreement(axes: Axes, cosines: Mapping[tuple[str, str], float]) -> None:
    tasks = list(dict.fromkeys(task for pair in cosines for task in pair))
    table = np.full((len(tasks), len(tasks)), np.nan)
    for (first, second), value in cosines.items():
        a, b = tasks.index(first), tasks.index(second)
        table[a, b] = table[b, a] = value
    # A scale of their own: gradients of so many numbers are nearly at right angles.
    most = max(0.1, np.nanmax(np.abs(table)))
    numbers = _numbers(np.round(table, 2) + 0.0)  # no -0.00
    names = [task.replace(":", "\n") for task in tasks]
    _heat_map(axes, table, numbers, names, names, FONT - 1, signed=most)
    _title(axes, "cosine of tasks' gradients; red is conflict")
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
    if kind == "validation" and task and metric in tables.NAMES:
        return f"validation {tables.NAMES[metric]} {tables.arrow(metric)}", task
    return None


def _title(axes: Axes, title: str, x: str = "") -> None:
    axes.set_title(title, fontsize=FONT + 1)
    axes.set_xlabel(x, fontsize=FONT)
    axes.tick_params(labelsize=FONT)


def _legend(figure: Figure, hues: Mapping[str, str]) -> None:
    lines = [figure.axes[0].plot([], [], color=hue, linewidth=3)[0] for hue in hues.values()]
    columns = min(len(hues), 4)
    figure.legend(lines, list(hues), loc="outside lower center", ncols=columns, fontsize=FONT)
