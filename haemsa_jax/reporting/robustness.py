"""Networks and yardsticks where modalities are missing: measured, as tables and drawn.

`Robustness` is task id -> model -> condition -> metric -> one value a seed. A condition is a
presence pattern such as `text+audio` or a missing rate such as `0.3`.
"""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from haemsa_jax.config import dataset_of, in_order
from haemsa_jax.data import Dataset
from haemsa_jax.data.dataset import Split
from haemsa_jax.data.missing import (
    RATES,
    area_under_rates,
    column_means,
    drop_frames,
    drop_utterances,
    keep_modalities,
    subsets,
)
from haemsa_jax.reporting import baselines, tables
from haemsa_jax.reporting.drawing import ABSENT, DPI, FONT, HUES
from haemsa_jax.training.measurement.evaluation import Evaluate

Measured = dict[str, dict[str, dict[str, list[float]]]]
Robustness = dict[str, Measured]
YARDSTICKS = ("late fusion", "ridge all")
AREA, AVERAGE = "AUILC", "average"  # area under the indicator-loss curve


def conditions(protocol: str, modalities: Sequence[str]) -> list[str]:
    """The conditions of a protocol by name."""
    if protocol == "patterns":
        return ["+".join(pattern) for pattern in subsets(modalities)]
    return [str(rate) for rate in RATES[protocol]]


def make_degrade(dataset: Dataset, split: str, protocol: str, seed: int) -> Callable[[str], Split]:
    """degrade(condition) -> the split under it, the same for whoever reads it.

    Args:
      dataset: with the split, and for lost columns the split train.
      split: its name.
      protocol: of `PROTOCOLS`.
      seed: of what is lost.
    """
    whole = dataset.splits[split]
    if protocol == "patterns":
        return lambda condition: keep_modalities(whole, condition.split("+"))
    if protocol == "utterance":
        return lambda condition: drop_utterances(whole, float(condition), seed)
    means = column_means(dataset.splits["train"])
    return lambda condition: drop_frames(whole, float(condition), seed, means)


def measure(
    models: Mapping[str, Callable[[str], Sequence[Evaluate]]],
    datasets: Mapping[str, Dataset],
    split: str,
    protocol: str,
    seed: int,
    yardsticks: Mapping[str, Dataset],
    observe: Callable[[str, str], None] = lambda model, condition: None,
    others: Mapping[str, baselines.Fit] | None = None,
) -> Robustness:
    """Metrics of every model under every condition.

    Under `patterns` a data set is read with the subsets of its own modalities alone.

    Args:
      models: per name, what `make_evaluate` made of the runs that are it under a condition, whose
        seeds count together.
      datasets: by name, with the splits train, validation and the one to read.
      split: the split to read.
      protocol: of `PROTOCOLS`.
      seed: of what is lost.
      yardsticks: the data sets as `baselines` reads them, which fills what is absent with zeros;
        empty to measure none.
      observe: is called with model and condition before each measurement.
      others: by name of a row what makes predictions of a data set and task.
    """
    names = conditions(protocol, modalities_of(datasets))
    degrade = {
        name: make_degrade(dataset, split, protocol, seed) for name, dataset in datasets.items()
    }
    degraded = {
        condition: {name: under(condition) for name, under in degrade.items()}
        for condition in names
    }
    measured: Robustness = {}
    for model, runs in models.items():
        for condition in names:
            observe(model, condition)
            for evaluate in runs(condition):
                for task_id, task in evaluate(degraded[condition]).items():
                    if not _applies(protocol, condition, datasets[dataset_of(task_id)]):
                        continue
                    row = measured.setdefault(task_id, {}).setdefault(model, {})
                    for metric, values in task.metrics.items():
                        row.setdefault(condition, {}).setdefault(metric, []).extend(values)
    for task_id in measured if yardsticks or others else ():
        name, _, task_name = task_id.rpartition(":")
        dataset = {**datasets, **yardsticks}[name]
        fitted = baselines.fit(dataset, task_name, 0) if yardsticks else {}
        fitted = {label: fitted[label] for label in YARDSTICKS if label in fitted}
        baselines.check_names(others or {}, {*measured[task_id], *fitted})
        fitted |= baselines.fit_others(others or {}, dataset, task_name)
        under = make_degrade(dataset, split, protocol, seed)
        measured[task_id] |= _predicted(dataset, task_name, fitted, under, protocol, names, observe)
    return measured


def _predicted(
    dataset: Dataset,
    task: str,
    fitted: Mapping[str, baselines.Predict],
    degraded: Callable[[str], Split],
    protocol: str,
    names: Sequence[str],
    observe: Callable[[str, str], None],
) -> Measured:
    """Rows of one task whose predictions are no network's of ours, under every condition."""
    rows: Measured = {name: {} for name in fitted}
    for condition in names:
        if not _applies(protocol, condition, dataset):
            continue
        partial = degraded(condition)
        for name, row in rows.items():
            observe(name, condition)
            values = baselines.measure(dataset.tasks[task], fitted[name], partial)
            row[condition] = {metric: [value] for metric, value in values.items()}
    return rows


def modalities_of(datasets: Mapping[str, Dataset]) -> tuple[str, ...]:
    """Those that any data set has, in the order of `NetworkConfig.modalities`."""
    return in_order({m for dataset in datasets.values() for m in dataset.widths})


def _applies(protocol: str, condition: str, dataset: Dataset) -> bool:
    return protocol != "patterns" or {*condition.split("+")} <= {*dataset.widths}


def summaries(
    protocol: str, row: Mapping[str, Mapping[str, Sequence[float]]], metric: str
) -> dict[str, list[float]]:
    """What a model reaches over all conditions by the name of the summary, a value a seed.

    Their mean and, where conditions are rates, the area under them. Empty lists where a condition
    was not measured or seeds differ in number.
    """
    each = [values.get(metric, []) for values in row.values()]
    whole = bool(each) and len({len(values) for values in each}) == 1
    seeds = [*zip(*each, strict=True)] if whole else []
    average = {AVERAGE: [fmean(values) for values in seeds]}
    if protocol == "patterns":
        return average
    rates = [float(condition) for condition in row]
    return {AREA: [area_under_rates(rates, values) for values in seeds], **average}


def rows_of(protocol: str, measured: Robustness) -> tables.Results:
    """Rows of models by task and condition, such as `hazumi:ui text+audio`.

    The last of a task's conditions are what a model reaches over all of them.
    """
    rows: dict[str, dict[str, dict[str, list[float]]]] = {}
    for task_id, models in measured.items():
        for model, row in models.items():
            metrics = next(iter(row.values()))
            total = {metric: summaries(protocol, row, metric) for metric in metrics}
            over_all = {
                name: {metric: total[metric][name] for metric in metrics}
                for name in summary_names(protocol)
            }
            for condition, values in {**row, **over_all}.items():
                rows.setdefault(f"{task_id} {condition}", {})[model] = values
    return rows


def summary_names(protocol: str) -> tuple[str, ...]:
    """The names of what a model reaches over all conditions."""
    return (AVERAGE,) if protocol == "patterns" else (AREA, AVERAGE)


def tables_of(protocol: str, measured: Robustness) -> tables.Tables:
    """A table a task and metric: models by conditions."""
    parts = []
    for task_id, models in measured.items():
        metrics = list(next(iter(next(iter(models.values())).values())))
        for metric in metrics:
            names = list(next(iter(models.values())))
            rows = [
                [
                    tables.row_label(model),
                    *(tables.cell(metric, row.get(name, {}).get(metric, [])) for name in names),
                    *(tables.cell(metric, x) for x in summaries(protocol, row, metric).values()),
                ]
                for model, row in models.items()
            ]
            header = ["", *names, *summary_names(protocol)]
            parts.append(tables.Table(header, rows, f"{task_id}, {tables.heading(metric)}"))
    several = any("±" in cell for part in parts for row in part.rows for cell in row[1:])
    return tables.Tables(parts, tables.FOOTNOTE if several else "")


def markdown(protocol: str, measured: Robustness) -> str:
    """The same as Markdown."""
    return tables.as_markdown(tables_of(protocol, measured))


def figure(protocol: str, measured: Robustness, path: str | os.PathLike) -> None:
    """Writes one PNG: a panel a task and metric, of the first two metrics, a line a model.

    Bands are one standard deviation over seeds.
    """
    panels = [
        (task_id, metric)
        for task_id, models in measured.items()
        for metric in list(next(iter(next(iter(models.values())).values())))[:2]
    ]
    columns = min(2, len(panels))
    rows = math.ceil(len(panels) / columns)
    drawing = Figure(figsize=(6.4 * columns, 4.0 * rows + 0.6), dpi=DPI, layout="constrained")
    grid = drawing.subplots(rows, columns, squeeze=False).flat
    models = list(dict.fromkeys(model for rows in measured.values() for model in rows))
    hues = {model: HUES[place % len(HUES)] for place, model in enumerate(models)}
    for (task_id, metric), axes in zip(panels, grid, strict=False):
        for place, (model, row) in enumerate(measured[task_id].items()):
            shift = 0.5 * (place + 0.5) / len(measured[task_id]) - 0.25
            _line(axes, protocol, row, metric, hues[model], shift)
        axes.set_title(f"{task_id}: {tables.heading(metric)}", fontsize=FONT + 1)
        axes.set_xlabel("modalities present" if protocol == "patterns" else "missing rate")
        axes.grid(color=ABSENT)
        axes.spines[["top", "right"]].set_visible(False)
    for left_over in grid:
        left_over.remove()
    lines = [drawing.axes[0].plot([], [], color=hue, linewidth=3)[0] for hue in hues.values()]
    drawing.legend(
        lines,
        [*map(tables.row_label, models)],
        loc="outside lower center",
        ncols=min(4, len(models)),
        fontsize=FONT,
    )
    drawing.savefig(path)


def _line(axes: Axes, protocol: str, row, metric: str, hue: str, shift: float) -> None:
    """A model's curve; under patterns its points, shifted to the side of other models'."""
    names = [name for name in row if row[name].get(metric)]
    scale = tables.scale(metric)
    mean = scale * np.array([fmean(row[name][metric]) for name in names])
    spread = scale * np.array([tables.deviation(row[name][metric]) for name in names])
    if protocol == "patterns":
        places = [list(row).index(name) for name in names]
        axes.errorbar(
            np.array(places) + shift,
            mean,
            spread,
            color=hue,
            marker="o",
            markersize=5,
            linestyle="none",
            capsize=2,
        )
        axes.set_xticks(range(len(row)), list(row), rotation=25, ha="right", fontsize=FONT - 1)
        return
    rates = [float(name) for name in names]
    axes.plot(rates, mean, color=hue, marker=".", linewidth=1.6)
    axes.fill_between(rates, mean - spread, mean + spread, color=hue, alpha=0.18, linewidth=0)
