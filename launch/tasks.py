"""From `--tasks` to data sets and a network configuration."""

from collections.abc import Iterable, Mapping, Sequence

import haemsa_datasets
from haemsa_jax.config import TaskSpec
from haemsa_jax.data import Dataset
from haemsa_jax.errors import InputError


def load_tasks(
    names: Sequence[str], data_dir: str, splits: Iterable[str]
) -> tuple[dict[str, Dataset], dict[str, TaskSpec]]:
    """Data sets and tasks by name.

    Args:
      names: `dataset` (all its tasks) or `dataset:task`, such as `cmu_mosi/contextual`,
        `hazumi:ui`.
      data_dir: where data sets are prepared.
      splits: the splits to read.
    """
    wanted: dict[str, list[str]] = {}
    for name in names:
        dataset, _, task = name.strip().partition(":")
        wanted.setdefault(dataset, []).append(task)
    datasets = {name: haemsa_datasets.load(name, data_dir, splits) for name in wanted}
    tasks = {}
    for name, chosen in wanted.items():
        known = datasets[name].tasks
        for task in known if "" in chosen else chosen:
            if task not in known:
                raise InputError(
                    f"--tasks: {name!r} has no task {task!r}; choose from "
                    f"{', '.join(f'{name}:{other}' for other in known)}"
                )
            tasks[f"{name}:{task}"] = known[task]
    return datasets, tasks


def per_dataset(flag: str, entries: Sequence[str], known: Iterable[str]) -> dict[str, int]:
    """`8` or `hazumi=8,cmu_mosi/contextual=4` as a number for every data set."""
    known, numbers = list(known), {}
    for entry in entries:
        name, _, number = entry.rpartition("=")
        if not number.isdigit() or (name and name not in known):
            raise InputError(
                f"--{flag}={entry}: expected a number, or DATASET=number with one of "
                f"{', '.join(known)}"
            )
        numbers |= {dataset: int(number) for dataset in ([name] if name else known)}
    return numbers


def task_weights(entries: Sequence[str], known: Mapping[str, TaskSpec]) -> dict[str, float]:
    """`hazumi:ui=2,hazumi:tc=0.5` as numbers."""
    weights = {}
    for entry in entries:
        name, _, number = entry.rpartition("=")
        try:
            weights[name] = float(number)
        except ValueError:
            name = ""
        if name not in known:
            raise InputError(
                f"--task_weights={entry}: expected TASK=number with one of {', '.join(known)}"
            )
    return weights
