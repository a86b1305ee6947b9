"""A new network from a trained one: which parameters it takes over, and which are new."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from haemsa_jax.config import NetworkConfig, TrainConfig, dataset_of, head_name, stem_name
from haemsa_jax.errors import InputError
from haemsa_jax.models.encoder import fold_adapters
from haemsa_jax.models.haemsa import ENCODER, Haemsa, init_variables, variables_of
from haemsa_jax.training.checkpoint import Trained
from haemsa_jax.training.state import init_params

_TASK_GATE = "TaskGate_0"  # as Flax calls it within `fusion`


@dataclass(frozen=True)
class WarmStart:
    """What a new network takes from a trained one.

    Attributes:
      params: the leaves that are taken, as `loop.Start` takes them.
      taken: modules of the new network, with the name in the trained one where it is another.
      new: modules, or parameters within one, that start at random.
    """

    params: Mapping[str, Any]
    taken: tuple[str, ...]
    new: tuple[str, ...]


def take(network: NetworkConfig, config: TrainConfig, trained: Trained) -> WarmStart:
    """Everything of the same name and shape; of several seeds, from the best on validation.

    Stems and heads belong to a data set. One that the trained network does not have is taken from
    another data set's, where a single one fits: of the same modality and width, or of a task of the
    same name, kind and outputs. Rows and columns that are numbered by task follow their tasks; what
    numbers modalities or experts is taken only where both networks have built the same ones.

    Raises:
      InputError: the networks are of different widths, so that hardly anything would fit.
    """
    of = trained.experiment.network
    if of.width != network.width:
        raise InputError(
            f"the trained network has width={of.width}, the new one width={network.width}; give "
            "both the same"
        )
    variables, architecture = trained.network(_best(trained))
    source = dict(variables["params"])
    if of.adapts and not (network.adapts and network.text.rank == of.text.rank):
        source[ENCODER] = fold_adapters(source[ENCODER], architecture.adapters)
    if of.text and network.text and of.text.fingerprint != network.text.fingerprint:
        source.pop(ENCODER, None)  # its tokens have other numbers
    source = flatten_dict(source)

    def fresh(key):
        _, constants = init_variables(Haemsa(network), key)
        return variables_of(init_params(network, config, key), constants)["params"]

    shapes = jax.eval_shape(fresh, jax.random.key(0))
    partners = _partners(network, of)
    names = _names(network, of, partners)
    places = [of.task_index(partners[t]) for t in network.tasks if t in partners]
    found, new = {}, []
    for path, wanted in flatten_dict(shapes).items():
        there = source.get((names.get(path[0], path[0]), *path[1:]))
        if not _numbered_alike(path, network, of):
            there = None
        elif there is not None and (path[0] == "queries" or _TASK_GATE in path):
            there = _of_tasks(path, there, places, len(of.tasks))
        if there is not None and there.shape == wanted.shape:
            found[path] = there
        else:
            new.append(path)
    taken = dict.fromkeys(path[0] for path in found)
    whole = {path[0] for path in new} - {*taken}
    parts = [path[0] if path[0] in whole else "/".join(path) for path in new]
    return WarmStart(
        unflatten_dict(found),
        tuple(f"{name} (was {names[name]})" if name in names else name for name in taken),
        tuple(dict.fromkeys(parts)),
    )


def trained_encoder(trained: Trained, place: int | None = None) -> dict[str, Any]:
    """Parameters of the text encoder in a network, adapters folded into its matrices.

    Args:
      trained: the networks of a run.
      place: which of them; by default the best on validation.

    Raises:
      InputError: there is no encoder within, or no such network.
    """
    network = trained.experiment.network
    if not any(network.encodes(dataset) for dataset in network.widths):
        why = "it has none" if network.text is None else f"{network.text.encoder} as published"
        raise InputError(
            f"the run trained no text encoder ({why}); train with --text and --text_mode=tuned or "
            "adapted"
        )
    there = len(trained.architectures.sharpness)
    place = _best(trained) if place is None else place
    if not 0 <= place < there:
        raise InputError(f"network {place} is asked for, but the run holds 0 to {there - 1}")
    variables, architecture = trained.network(place)
    return fold_adapters(variables["params"][ENCODER], architecture.adapters)


def _best(trained: Trained) -> int:
    """The network that is best on validation."""
    return 0 if trained.ranked else int(np.argmax(trained.progress["best_score"]))


def _numbered_alike(path: tuple[str, ...], network: NetworkConfig, source: NetworkConfig) -> bool:
    """Whether the rows of a parameter, and the columns of a gate, mean the same in both networks.

    What every gate sees begins with the modalities that are there.
    """
    gate = any(part.lower().startswith("gate_") for part in path)
    factor = any(part.startswith("factor_") for part in path)
    by_modality = gate or (path[0] in ("fusion", "imputer") and not factor)
    if by_modality and network.built_modalities != source.built_modalities:
        return False
    if _TASK_GATE in path:
        return network.built.fusion == source.built.fusion
    return not gate or network.built.local == source.built.local


def _of_tasks(path: tuple[str, ...], values: np.ndarray, places: list[int], tasks: int) -> Any:
    """A parameter numbered by task for the tasks at these places of the source's `tasks`."""
    if path[0] == "queries":
        return values[np.array(places, int)]
    each = values.reshape(*values.shape[:-1], tasks, -1)[..., np.array(places, int), :]
    return each.reshape(*values.shape[:-1], -1)


def _partners(network: NetworkConfig, source: NetworkConfig) -> dict[str, str]:
    """Each task's own id where the source has it, or the task there whose place it takes."""
    partners = {}
    for task_id, task in network.tasks.items():
        same = (task.name, task.kind, task.outputs)
        fits = [t for t, of in source.tasks.items() if (of.name, of.kind, of.outputs) == same]
        chosen = task_id if task_id in source.tasks else _single(task_id, fits)
        if chosen is not None:
            partners[task_id] = chosen
    return partners


def _names(
    network: NetworkConfig, source: NetworkConfig, partners: Mapping[str, str]
) -> dict[str, str]:
    """Modules of data sets that the source does not have, by name, and whose place they take."""
    names = {}
    for dataset in network.widths:
        for modality in network.stems_of(dataset):
            fits = [
                other
                for other in source.widths
                if modality in source.stems_of(other)
                and source.width_of(other, modality) == network.width_of(dataset, modality)
            ]
            if (chosen := _single(dataset, fits)) is not None:
                names[stem_name(dataset, modality)] = stem_name(chosen, modality)
    for task_id, chosen in partners.items():
        if chosen != task_id:
            each = ("", *network.stems_of(dataset_of(task_id)))
            names |= {head_name(task_id, m): head_name(chosen, m) for m in each}
    return names


def _single(wanted: str, fits: Iterable[str]) -> str | None:
    """The only one that fits, unless it bears the name already."""
    fits = list(fits)
    return fits[0] if len(fits) == 1 and wanted not in fits else None
