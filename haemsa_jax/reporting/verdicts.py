"""What results say of networks and yardsticks, in a sentence a task or search."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from haemsa_jax.reporting import baselines, tables
from haemsa_jax.tasks.metrics import metric_of

Rows = Mapping[str, Mapping[str, Sequence[float]]]


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
    chance = max(tables.deviation(known[name]) for name in networks)
    gap = means[yardstick] - means[network]
    level = cells[0] == cells[1] or abs(gap) <= chance
    if not level and not gap > 0:
        alone = "; it is one seed, so chance is not measured (--seeds=5)" * (
            len(known[network]) == 1
        )
        return (
            f"{task_id}: {network} is better than {yardstick}, the best that is no network, by "
            f"{metric_of(metric).display}, {cells[1]} against {cells[0]}{alone}."
        )
    compared = "level with" if level else "better than"
    apart = ", no farther apart than seeds are" if level and cells[0] != cells[1] else ""
    return (
        f"{task_id}: {yardstick}, which is no network, is {compared} {network} by "
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
        f"Evolution found a genome of fitness {saved['fitness']:.3f}{other} (mean cost on data "
        "that its networks were not trained on, lower is better)."
    )
