"""What results say of networks and baselines, in a sentence a task or search."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import jax.numpy as jnp
import numpy as np

from haemsa_jax.evolution.evidence import BLOCKS, blocks_left_out, standard_errors
from haemsa_jax.reporting import baselines, tables
from haemsa_jax.tasks import metrics
from haemsa_jax.tasks.metrics import metric_of
from haemsa_jax.training.measurement.evaluation import TaskEvaluation

Rows = Mapping[str, Mapping[str, Sequence[float]]]


def chance(evaluated: Mapping[str, TaskEvaluation]) -> list[str]:
    """A sentence for each task of one network: the standard error of its first metric.

    Seeds say nothing there, so it is that over the samples that were read, by jackknife.

    Args:
      evaluated: by task id; what has several seeds is passed over.
    """
    return [_chance(name, of) for name, of in evaluated.items() if len(of.predictions) == 1]


def _chance(task_id: str, of: TaskEvaluation) -> str:
    kept = blocks_left_out(of.group, BLOCKS)
    name = of.spec.primary
    without = [metrics.compute(of.spec, of.predictions[0], of.truth, block)[name] for block in kept]
    # The error of the difference to what never moves.
    error = float(standard_errors(jnp.stack([jnp.array(without), jnp.zeros(len(kept))]))[0, 1])
    unit = "groups" if len(np.unique(of.group)) > 1 else "samples"
    return (
        f"{task_id}: of one network there is no ± over seeds (train several, seeds=5); over the "
        f"{unit} of the split, {metric_of(name).display} has a standard error of "
        f"{tables.cell(name, [error])} (jackknife, {len(kept)} blocks of {unit} left out in turn)."
    )


def verdicts(results: tables.Results) -> list[str]:
    """A sentence for each task: whether a network is better than the best yardstick.

    Both are compared by the task's first metric, the one that selects. They are level where their
    means are printed alike, or are no farther apart than a standard deviation over seeds.

    Args:
      results: with yardsticks, or nothing is said.
    """
    return [text for task_id, rows in results.items() if (text := _verdict(task_id, rows))]


def _verdict(task_id: str, rows: Rows) -> str:
    metric = next(iter(next(iter(rows.values()), {})), None)
    known = {name: of[metric] for name, of in rows.items() if metric and of.get(metric)}
    yardsticks = [name for name in known if baselines.is_yardstick(name)]
    networks = [n for n in known if n not in yardsticks and n != tables.BEST_POSSIBLE]
    if not metric or not yardsticks or not networks:
        return ""
    sign = 1 if metric_of(metric).higher_is_better else -1
    means = {name: sign * fmean(values) for name, values in known.items()}
    network, yardstick = (max(names, key=means.__getitem__) for names in (networks, yardsticks))
    cells = [tables.cell(metric, [fmean(known[name])]) for name in (yardstick, network)]
    deviation = max(tables.deviation(known[name]) for name in networks)
    gap = means[yardstick] - means[network]
    level = cells[0] == cells[1] or abs(gap) <= deviation
    ours, other = tables.row_label(network), tables.row_label(yardstick)
    if not level and not gap > 0:
        alone = "; it is one seed, so chance is not measured (--seeds=5)" * (
            len(known[network]) == 1
        )
        return (
            f"{task_id}: {ours} is better than {other}, the best that is no network, by "
            f"{metric_of(metric).display}, {cells[1]} against {cells[0]}{alone}."
        )
    compared = "level with" if level else "better than"
    apart = ", no farther apart than seeds are" if level and cells[0] != cells[1] else ""
    return (
        f"{task_id}: {other}, which is no network, is {compared} {ours} by "
        f"{metric_of(metric).display}, {cells[0]} against {cells[1]}{apart}."
    )


def of_search(saved: Mapping[str, Any]) -> str:
    """A sentence on a search.

    Args:
      saved: what `best.json` holds.
    """
    beside = saved.get("random_fitness")
    other = "" if beside is None else f"; a random search of as many training steps, {beside:.3f}"
    return (
        f"Evolution found a genome (a choice of structure and training) of fitness "
        f"{saved['fitness']:.3f}{other}. Fitness is the mean over tasks of 1 - score on data that "
        "its networks were not trained on, times a price of size: lower is better, 0 is perfect."
    )
