"""What each idea of a network is worth: metrics without it, and paired differences to the whole.

`found` is a `Robustness` of protocol `patterns` (robustness.py): the models are the whole network
and its ablations, and values of a seed belong together, since it drew the same batches.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy import stats

from haemsa_jax.reporting import tables
from haemsa_jax.reporting.figures import ABSENT, DPI, FONT, HUES
from haemsa_jax.reporting.robustness import Robustness
from haemsa_jax.training.metrics import HIGHER_IS_BETTER

CONFIDENCE = 0.95
THERE, MISSING = "everything there", "something missing"
DRAWN = 2  # metrics of a task that are compared and drawn: the first ones


@dataclass(frozen=True)
class Difference:
    """Of an ablation to the whole, mean over seeds, and half the width of its interval.

    The interval is Student's for paired values; None where there is one seed.
    """

    mean: float
    half: float | None


def states(row: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[str, dict[str, list[float]]]:
    """A model's metrics with everything there, and averaged over all patterns that lack something.

    Args:
      row: pattern -> metric -> a value a seed; the pattern with everything first.
    """
    full, *partial = row.values()
    found = {THERE: {metric: list(values) for metric, values in full.items()}}
    if partial:
        found[MISSING] = {
            metric: [fmean(each) for each in zip(*(one[metric] for one in partial), strict=True)]
            for metric in full
        }
    return found


def difference(ablated: Sequence[float], whole: Sequence[float]) -> Difference:
    """Paired by seed, with a confidence of 95 %."""
    each = [one - other for one, other in zip(ablated, whole, strict=True)]
    if len(each) < 2:
        return Difference(fmean(each), None)
    reach = stats.t.ppf(0.5 + CONFIDENCE / 2, len(each) - 1)
    return Difference(fmean(each), float(reach * tables.deviation(each) / len(each) ** 0.5))


def markdown(found: Robustness, whole: str) -> str:
    """For every task and state a table of models, each metric beside its difference to `whole`."""
    parts = []
    for task_id, models in found.items():
        each = {model: states(row) for model, row in models.items()}
        for state, of_whole in each[whole].items():
            metrics = list(of_whole)[:DRAWN]
            head = ["", *(x for m in metrics for x in (tables.heading(m), "minus the whole"))]
            lines = [head, ["---", *["---:"] * (2 * len(metrics))]]
            for model, by_state in each.items():
                cells = []
                for metric in metrics:
                    values = by_state[state][metric]
                    apart = difference(values, of_whole[metric])
                    cells += [
                        tables.cell(metric, values),
                        "" if model == whole else _interval(metric, apart),
                    ]
                lines.append([model, *cells])
            body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
            parts.append(f"### {task_id}, {state}\n\n{body}")
    parts.append(
        f"{tables.FOOTNOTE} Differences are paired by seed, in brackets their "
        f"{CONFIDENCE:.0%} interval; {MISSING}: the mean over all patterns that lack a modality."
    )
    return "\n\n".join(parts) + "\n"


def _interval(metric: str, apart: Difference) -> str:
    def said(value: float) -> str:
        return f"{value:+.3f}" if metric in tables.PLAIN else f"{100 * value:+.1f}"

    if apart.half is None:
        return said(apart.mean)
    return f"{said(apart.mean)} [{said(apart.mean - apart.half)}, {said(apart.mean + apart.half)}]"


def figure(found: Robustness, whole: str, path: str | os.PathLike) -> None:
    """Writes one PNG: a panel a task and metric, of every ablation what is gained or lost by it."""
    panels = [
        (task_id, metric)
        for task_id, models in found.items()
        for metric in list(next(iter(models[whole].values())))[:DRAWN]
    ]
    rows = -(-len(panels) // DRAWN)
    drawing = Figure(figsize=(12.8, 0.8 + 2.6 * rows), dpi=DPI, layout="constrained")
    grid = drawing.subplots(rows, DRAWN, squeeze=False).flat
    for (task_id, metric), axes in zip(panels, grid, strict=False):
        each = {model: states(row) for model, row in found[task_id].items()}
        names = [model for model in each if model != whole]
        scale = 1 if metric in tables.PLAIN else 100
        sign = scale if HIGHER_IS_BETTER[metric] else -scale
        for place, state in enumerate(each[whole]):
            for line, model in enumerate(names):
                apart = difference(each[model][state][metric], each[whole][state][metric])
                half = None if apart.half is None else scale * apart.half
                axes.errorbar(
                    sign * apart.mean, line + 0.24 * place - 0.12, xerr=half,
                    color=HUES[place], marker="os"[place], markersize=6, capsize=3,
                    label=state if line == 0 else None,
                )  # fmt: skip
        axes.axvline(0.0, color="black", linewidth=1)
        axes.set_yticks(range(len(names)), names, fontsize=FONT)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_title(f"{task_id}: {tables.NAMES[metric]}{tables.unit(metric)}", fontsize=FONT + 1)
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
