"""What a structure opens and uses: traversals of a declaration's parts, in their order."""

import functools
import operator
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from haemsa_jax.config import NetworkConfig
from haemsa_jax.structure.parts import TASK, Declaration, Part, Structure, declare


def opened(declaration: Declaration, part: Part, structure: Structure, task_id: str) -> Any:
    """{0, 1}, whether the genes open a part to a task, be it of use or not."""
    if not part.opened:
        return np.float32(1.0)
    chances: list[Any] = [np.float32(0.0)]
    for name, label in part.opened:
        gene = declaration.gene.get(name.replace(TASK, task_id))
        if gene is None or label not in gene.labels:
            continue
        place, value = gene.labels.index(label), structure[gene.name]
        chances.append(value[place] if gene.kind == "mask" else 1.0 * (value >= place))
    return functools.reduce(_larger, chances)


def usage(
    network: NetworkConfig, structure: Structure, tasks: Iterable[str] | None = None
) -> dict[str, Any]:
    """Which parts a structure uses, {0, 1} by part. Pure; NumPy in, NumPy out.

    Args:
      network: the configuration.
      structure: without leading axes.
      tasks: for whose sake; all of the network's by default.
    """
    declaration = declare(network)
    tasks = tuple(network.tasks if tasks is None else tasks)
    of_task: dict[str, dict[str, Any]] = {task_id: {} for task_id in tasks}
    used: dict[str, Any] = {}
    for part in declaration.parts:
        chances = [np.float32(0.0)]
        for task_id in tasks:
            here = of_task[task_id]
            if part.tasks is not None and task_id not in part.tasks:
                here[part.name] = np.float32(0.0)
                continue
            groups = [
                functools.reduce(_larger, [here[name] for name in group], np.float32(0.0))
                for group in part.reads
            ]
            here[part.name] = _product([opened(declaration, part, structure, task_id), *groups])
            chances.append(here[part.name])
        whole = _product([functools.reduce(_larger, chances), *(used[x] for x in part.needs)])
        if part.several:
            count = sum(used[name] for name in part.several)
            whole = whole * (1.0 * (count > 1))
        used[part.name] = whole
    return used


def running(network: NetworkConfig, structure: Structure, dataset: str) -> dict[str, Any]:
    """Which of the parts that the network uses run on samples of a data set, {0, 1} by part.

    That is more than its tasks use: what another data set's tasks have opened runs here, too, where
    there is something to read.
    """
    declaration, tasks = declare(network), network.tasks_of(dataset)
    whole, runs = usage(network, structure), {}
    for part in declaration.parts:
        if part.kind == "modality":
            read = [opened(declaration, part, structure, task_id) for task_id in tasks]
            runs[part.name] = functools.reduce(_larger, read)
            continue
        own = np.float32(part.tasks is None or bool({*part.tasks} & {*tasks}))
        groups = [] if part.everywhere else part.reads
        given = [functools.reduce(_larger, [runs[x] for x in group]) for group in groups]
        runs[part.name] = _product([whole[part.name] * own, *given])
    return runs


def modalities_of(declaration: Declaration, name: str) -> set[str]:
    """Modalities without any of which a part has nothing to read, by name."""
    part = declaration.part[name]
    if part.kind == "modality":
        return {name.partition("/")[2]}
    alone = [group[0] for group in part.reads if len(group) == 1]
    return {m for below in alone for m in modalities_of(declaration, below)}


def _larger(left: Any, right: Any) -> Any:
    traced = isinstance(left, jax.Array) or isinstance(right, jax.Array)
    return jnp.maximum(left, right) if traced else np.maximum(left, right)


def _product(values: list[Any]) -> Any:
    return functools.reduce(operator.mul, values)
