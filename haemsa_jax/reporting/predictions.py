"""Plots of predictions against truth, by task kind; open to users.

They stand apart from `haemsa_jax.tasks`, which trains and predicts without matplotlib.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap

from haemsa_jax.errors import InputError
from haemsa_jax.reporting.drawing import FONT, HUES, heat_map
from haemsa_jax.tasks import Classification, Multilabel, Regression, kind_of
from haemsa_jax.tasks.metrics import label_f1, label_wacc

if TYPE_CHECKING:
    from haemsa_jax.reporting.figures import TaskReport

Plot = Callable[[Axes, "TaskReport"], None]

CROWD = 1500  # samples from which a scatter would only be a blot
DENSITY = ListedColormap(colormaps["Blues"](np.linspace(0.25, 1, 256)))  # one sample is seen too

_PLOTS: dict[str, Plot] = {}


def register_plot(kind: str, plot: Plot) -> None:
    """Draws predictions of a task kind by `plot(axes, report)`.

    Args:
      kind: name of a registered task kind.
      plot: draws `report.prediction` and `report.truth` on the axes.

    Raises:
      InputError: there is no such kind, or it has a plot.
    """
    kind_of(kind)
    if kind in _PLOTS:
        raise InputError(f"task kind {kind!r} already has a plot; register it once")
    _PLOTS[kind] = plot


def plot_of(kind: str) -> Plot:
    """The plot of a kind, or of the nearest kind that it derives from; else of its errors."""
    names = (of.__dict__.get("name") for of in type(kind_of(kind)).__mro__)
    return next((_PLOTS[name] for name in names if name in _PLOTS), error_histogram)


def error_histogram(axes: Axes, report: "TaskReport") -> None:
    """How many samples have which error, as their kind measures it."""
    errors = kind_of(report.spec.kind).errors(report.spec, report.prediction, report.truth)
    axes.hist(errors, bins=24, color=HUES[0])
    axes.set_xlabel("error of a sample", fontsize=FONT)
    axes.set_ylabel("samples", fontsize=FONT)
    axes.tick_params(labelsize=FONT)
    axes.spines[["top", "right"]].set_visible(False)


def scatter(axes: Axes, report: "TaskReport") -> None:
    """Predictions against labels; with many samples, their density."""
    truth, prediction = report.truth, report.prediction
    ends = [*(report.spec.range or ()), prediction.min(), prediction.max()]
    low, high = min(ends), max(ends)
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


def confusion(axes: Axes, report: "TaskReport") -> None:
    """Rows are true classes and sum to 1; the counts stand below the shares."""
    classes = report.spec.classes
    counts = np.zeros((len(classes),) * 2, int)
    np.add.at(counts, (report.truth, report.prediction.argmax(axis=-1)), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    texts = [
        [f"{share:.2f}\n{count}" for share, count in zip(*row, strict=True)]
        for row in zip(shares, counts, strict=True)
    ]
    heat_map(axes, shares, texts, classes, classes, fontsize=FONT - 2 * (len(classes) > 5))
    axes.set_xlabel("predicted", fontsize=FONT)
    axes.set_ylabel("true", fontsize=FONT)


def label_bars(axes: Axes, report: "TaskReport") -> None:
    """Two metrics of every label, beside how often it is on."""
    everything = np.ones(len(report.truth), bool)
    places = np.arange(len(report.spec.classes))
    scores = {"weighted F1": label_f1, "weighted accuracy": label_wacc}
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


register_plot(Regression.name, scatter)
register_plot(Classification.name, confusion)
register_plot(Multilabel.name, label_bars)
