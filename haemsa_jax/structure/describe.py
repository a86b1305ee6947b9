"""What a structure leaves idle: labels that are open although no task can reach their parts."""

from collections.abc import Mapping
from typing import Any

import jax

from haemsa_jax.config import NetworkConfig
from haemsa_jax.structure.parts import TASK, Structure, declare
from haemsa_jax.structure.usage import opened, usage


def idle(network: NetworkConfig, structure: Structure) -> dict[str, list[str]]:
    """By gene the labels of masks that are open without effect. On the host."""
    declaration, structure = declare(network), jax.device_get(dict(structure))
    whole = usage(network, structure)
    labels: dict[str, list[str]] = {}
    of_task = {task_id: usage(network, structure, (task_id,)) for task_id in network.tasks}
    for part in declaration.parts:
        for template, label in part.opened:
            for task_id in network.tasks if TASK in template else list(network.tasks)[:1]:
                gene = declaration.gene.get(template.replace(TASK, task_id))
                if gene is None or gene.kind != "mask":
                    continue
                now = of_task[task_id] if TASK in template else whole
                is_open = opened(declaration, part, structure, task_id) > 0
                if is_open and not now[part.name] > 0:
                    labels.setdefault(gene.name, []).append(label)
    return labels


def used_parts(network: NetworkConfig, structure: Structure) -> Mapping[str, Any]:
    """By task id, and under the empty name for the whole network, which parts are used: bool."""
    structure = jax.device_get(dict(structure))
    usages = {"": usage(network, structure)}
    usages |= {task_id: usage(network, structure, (task_id,)) for task_id in network.tasks}
    return {
        name: {part: bool(value > 0) for part, value in of.items()} for name, of in usages.items()
    }
