"""What a table of results says of networks and yardsticks, in a sentence a task."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from haemsa_jax.reporting import baselines, tables
from haemsa_jax.tasks.metrics import metric_of

Rows = Mapping[str, Mapping[str, Sequence[float]]]


def verdicts(results: tables.Results) -> list[str]:
    """A sentence for each task in which no network is better than the best yardstick.

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
        return ""
    compared = "level with" if level else "better than"
    apart = ", no farther apart than seeds are" if level and cells[0] != cells[1] else ""
    return (
        f"{task_id}: {yardstick}, which is no network, is {compared} {network} by "
        f"{metric_of(metric).display}, {cells[0]} against {cells[1]}{apart}."
    )
