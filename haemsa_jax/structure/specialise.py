"""From supernet and structure to the small network that holds only what is used.

The small network has the same outputs: what the supernet adds for a modality that no task reads is
a constant, and is folded into the biases of what stays (`Model.fold`).
"""

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from haemsa_jax.config import NetworkConfig, encoder_name
from haemsa_jax.encoders.interface import encoder_of
from haemsa_jax.structure.interface import ENCODERS, SIDES, encoder
from haemsa_jax.structure.layout import layout, places
from haemsa_jax.structure.parts import TASK, Structure, carried, declare
from haemsa_jax.structure.usage import usage


@dataclass(frozen=True)
class Specialised:
    """A small network.

    Attributes:
      network: its configuration.
      params, constants: NumPy arrays.
      structure: what of it each task uses.
    """

    network: NetworkConfig
    params: dict[str, Any]
    constants: dict[str, Any]
    structure: dict[str, Any]


def specialise(
    network: NetworkConfig,
    params: Mapping[str, Any],
    constants: Mapping[str, Any],
    structure: Structure,
) -> Specialised:
    """The small network of one structure, with its parameters and constants.

    Args:
      network: the supernet.
      params: of one network, without a leading axis.
      constants: likewise.
      structure: which parts are used.

    Returns:
      For every sample and task the small network gives the supernet's predictions and gates, to
      rounding.
    """
    from haemsa_jax.models.model import model_of

    small = specialised_config(network, structure)
    params, constants = jax.tree.map(np.asarray, (dict(params), dict(constants)))
    fold = getattr(model_of(network), "fold", None)
    if fold is not None:
        params = fold(network, small, params)
    for modality in network.encoded():
        if network.marks(modality) and not small.marks(modality):
            params, constants = _unmarked(network, modality, params, constants)
    before, after = layout(network), layout(small)
    kept_params, kept_constants = (
        unflatten_dict(transplanted(flatten_dict(tree), before[name], after[name]))
        for name, tree in (("params", params), ("constants", constants))
    )
    kept = carried(network, structure, small)
    return Specialised(small, kept_params, kept_constants, kept)


def transplanted(
    arrays: Mapping[tuple[str, ...], Any], before: Mapping, after: Mapping
) -> dict[tuple[str, ...], np.ndarray]:
    """Those arrays of one layout that another has, their rows and columns as they stand there.

    Args:
      arrays: by path, of the layout `before`.
      before, after: what `layout` gives of one collection.
    """
    kept = {}
    for path, wanted in after.items():
        array = np.asarray(arrays[path])
        for axis, (old, new) in enumerate(zip(before[path].axes, wanted.axes, strict=True)):
            if new and old != new:
                chosen = places(old, new)
                if chosen is None:
                    raise ValueError(f"{'/'.join(path)} has rows or columns that were not there")
                array = np.take(array, chosen, axis=axis)
        kept[path] = array
    return kept


def specialised_config(
    network: NetworkConfig, structure: Structure, without: Collection[str] = ()
) -> NetworkConfig:
    """The configuration in which only what a structure uses is built. On the host.

    Args:
      network: the supernet.
      structure: which parts are used.
      without: kinds of parts that are not built whatever the structure says.
    """
    declaration, structure = declare(network), jax.device_get(dict(structure))
    whole = usage(network, structure)
    of_task = {task_id: usage(network, structure, (task_id,)) for task_id in network.tasks}
    used: dict[str, set[str]] = {gene.name: set() for gene in declaration.genes}
    banned: dict[str, list[bool]] = {gene.name: [] for gene in declaration.genes}
    for part in declaration.parts:
        for template, label in part.opened:
            per_task = TASK in template
            for task_id in network.tasks if per_task else list(network.tasks)[:1]:
                name = template.replace(TASK, task_id)
                if name not in used:
                    continue
                banned[name].append(part.kind in without)
                now = of_task[task_id] if per_task else whole
                if now[part.name] > 0 and part.kind not in without:
                    used[name].add(label)
    # A gene of which an earlier specialisation left no label is not declared, and stays empty.
    kept = dict(network.kept)
    for gene in declaration.genes:
        if gene.kind == "mask":
            kept[gene.name] = tuple(label for label in gene.labels if label in used[gene.name])
        elif gene.kind == "choice":
            gone = banned[gene.name] and all(banned[gene.name])
            kept[gene.name] = () if gone else (gene.labels[int(structure[gene.name])],)
    return _built(network, kept)


def _built(network: NetworkConfig, kept: dict[str, tuple[str, ...]]) -> NetworkConfig:
    """The configuration with these labels, and windows and adapters no larger than they ask."""
    context = {
        dataset: tuple(
            max(int(kept[f"{side}/{task_id}"][0]) for task_id in network.tasks_of(dataset))
            for side in SIDES
        )
        for dataset in network.context
    }
    encoders = dict(network.encoders)
    for modality, spec in network.encoders.items():
        if kept.pop(encoder(modality), ENCODERS[-1:]) == ENCODERS[:1]:
            encoders[modality] = dataclasses.replace(spec, rank=0)
    return network.changed(kept=kept, context=context, encoders=encoders)


def _unmarked(
    network: NetworkConfig, modality: str, params: Mapping[str, Any], constants: Mapping[str, Any]
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Without what marks a target's tokens: every token is one of the target's."""
    from haemsa_jax.models.model import overlaid

    family, name = encoder_of(network.encoders[modality]), encoder_name(modality)
    if name not in constants:
        return {**params, name: family.unmark(params[name])}, constants
    whole = family.unmark(overlaid(constants[name], params.get(name, {})))
    adapters, fixed = family.split(whole)
    return {**params, name: adapters}, {**constants, name: fixed}
