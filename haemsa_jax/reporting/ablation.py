"""What each idea of a network is worth: metrics without it, and paired differences to the whole.

What is measured is a `Robustness` of protocol `patterns` (robustness.py): the models are the whole
network, first, and its ablations. Values of a seed belong together, since it drew the same batches.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy import stats

from haemsa_jax.reporting import tables
from haemsa_jax.reporting.drawing import ABSENT, DPI, FONT, HUES
from haemsa_jax.reporting.robustness import Robustness
from haemsa_jax.tasks.metrics import metric_of

CONFIDENCE = 0.95
COMPLETE, PARTIAL = "all modalities", "modalities missing"
DRAWN = 2  # metrics of a task that are compared and drawn: the first ones


@dataclass(frozen=True)
class Difference:
    """Of an ablation to the whole, mean over seeds, and half the width of its interval.

    The interval is Student's for paired values; None where there is one seed.
    """

    mean: float
    half: float | None


def states(row: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[str, dict[str, list[float]]]:
    """A model's metrics with all modalities, and averaged over all patterns that lack one.

    Args:
      row: pattern -> metric -> a value a seed; the pattern with all modalities first.
    """
    full, *partial = row.values()
    by_state = {COMPLETE: {metric: list(values) for metric, values in full.items()}}
    if partial:
        by_state[PARTIAL] = {
            metric: [
                fmean(each) for each in zip(*(pattern[metric] for pattern in partial), strict=True)
            ]
            for metric in full
        }
    return by_state


def rows_of(measured: Robustness) -> tables.Results:
    """Rows by task: each model with all modalities, and with some missing."""
    return {
        task_id: {
            f"{model}, {state}": metrics
            for model, row in models.items()
            for state, metrics in states(row).items()
        }
        for task_id, models in measured.items()
    }


def difference(ablated: Sequence[float], whole: Sequence[float]) -> Difference:
    """Paired by seed, with a confidence of 95 %."""
    each = [left - right for left, right in zip(ablated, whole, strict=True)]
    if len(each) < 2:
        return Difference(fmean(each), None)
    reach = stats.t.ppf(0.5 + CONFIDENCE / 2, len(each) - 1)
    return Difference(fmean(each), float(reach * tables.deviation(each) / len(each) ** 0.5))


def tables_of(measured: Robustness, whole: str) -> tables.Tables:
    """For every task and state a table of models, each metric beside its difference to `whole`."""
    parts = []
    for task_id, models in measured.items():
        each = {model: states(row) for model, row in models.items()}
        for state, of_whole in each[whole].items():
            metrics = list(of_whole)[:DRAWN]
            header = ["", *(x for m in metrics for x in (tables.heading(m), "minus the whole"))]
            rows = []
            for model, by_state in each.items():
                cells = [model]
                for metric in metrics:
                    values = by_state[state][metric]
                    apart = difference(values, of_whole[metric])
                    cells.append(tables.cell(metric, values))
                    cells.append("" if model == whole else interval(metric, apart))
                rows.append(cells)
            parts.append(tables.Table(header, rows, f"{task_id}, {state}"))
    note = (
        f"{tables.FOOTNOTE} Differences are paired by seed, in brackets their "
        f"{CONFIDENCE:.0%} interval; {PARTIAL}: the mean over all patterns that lack a modality."
    )
    return tables.Tables(parts, note)


def markdown(measured: Robustness, whole: str) -> str:
    """The same as Markdown."""
    return tables.as_markdown(tables_of(measured, whole))


def sizes_table(
    sizes: Mapping[str, Mapping[str, Sequence[Mapping[str, int]]]], labels: Mapping[str, str]
) -> tables.Table:
    """What every ablation trained.

    Args:
      sizes: place -> ablation -> of each of its networks `parameters` and `steps`.
      labels: of ablations, where they are not shown by their names.
    """
    rows = []
    for place, models in sizes.items():
        for model, networks in models.items():
            parameters = sum(network["parameters"] for network in networks)
            steps = ", ".join(dict.fromkeys(str(network["steps"]) for network in networks))
            name = f"{place}: {labels.get(model, model)}"
            rows.append([name, str(len(networks)), f"{parameters:,}", steps])
    return tables.Table(["", "networks", "parameters", "steps"], rows)


def interval(metric: str, apart: Difference) -> str:
    """A difference with its sign and, in brackets, its interval, as they are printed."""

    def signed(value: float) -> str:
        return f"{tables.scale(metric) * value:+.{tables.decimals(metric)}f}"

    if apart.half is None:
        return signed(apart.mean)
    low, high = apart.mean - apart.half, apart.mean + apart.half
    return f"{signed(apart.mean)} [{signed(low)}, {signed(high)}]"


def figure(measured: Robustness, whole: str, path: str | os.PathLike) -> None:
    """Writes one PNG: a panel a task and metric, of every ablation what is gained or lost by it."""
    panels = [
        (task_id, metric)
        for task_id, models in measured.items()
        for metric in list(next(iter(models[whole].values())))[:DRAWN]
    ]
    rows = -(-len(panels) // DRAWN)
    drawing = Figure(figsize=(12.8, 0.8 + 2.6 * rows), dpi=DPI, layout="constrained")
    grid = drawing.subplots(rows, DRAWN, squeeze=False).flat
    for (task_id, metric), axes in zip(panels, grid, strict=False):
        each = {model: states(row) for model, row in measured[task_id].items()}
        names = [model for model in each if model != whole]
        scale = tables.scale(metric)
        sign = scale if metric_of(metric).higher_is_better else -scale
        for place, state in enumerate(each[whole]):
            ablated = [each[name][state][metric] for name in names]
            _intervals(axes, ablated, each[whole][state][metric], sign, place, state)
        axes.axvline(0.0, color="black", linewidth=1)
        axes.set_yticks(range(len(names)), names, fontsize=FONT)
        axes.set_ylim(len(names) - 0.5, -0.5)
        display = metric_of(metric).display
        axes.set_title(f"{task_id}: {display}{tables.unit(metric)}", fontsize=FONT + 1)
        axes.set_xlabel("← worse than the whole      better →", fontsize=FONT)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
        axes.grid(axis="x", color=ABSENT)
        axes.spines[["top", "right"]].set_visible(False)
    for left_over in grid:
        left_over.remove()
    marks = {
        label: handle
        for axes in drawing.axes
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    drawing.legend(marks.values(), marks, loc="outside lower center", ncols=2, fontsize=FONT)
    drawing.savefig(path)


def _intervals(
    axes: Axes,
    ablated: Sequence[Sequence[float]],
    whole: Sequence[float],
    sign: float,
    place: int,
    label: str,
) -> None:
    """A point and its interval a line, `place` of the two that share a line."""
    for line, values in enumerate(ablated):
        apart = difference(values, whole)
        axes.errorbar(
            sign * apart.mean,
            line + 0.24 * place - 0.12,
            xerr=None if apart.half is None else abs(sign) * apart.half,
            color=HUES[place],
            marker="os"[place],
            markersize=6,
            capsize=3,
            label=label if line == 0 else None,
        )
