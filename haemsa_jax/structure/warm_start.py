"""A new network from a trained one: which parameters it takes over, and which are new."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from haemsa_jax.config import (
    NetworkConfig,
    TrainConfig,
    dataset_of,
    encoder_name,
    head_name,
    stem_name,
)
from haemsa_jax.encoders.interface import encoder_of
from haemsa_jax.errors import InputError
from haemsa_jax.models import fresh_variables, variables_of
from haemsa_jax.structure import interface
from haemsa_jax.structure.axes import Axis, Segment
from haemsa_jax.structure.layout import layout, places
from haemsa_jax.training.engine.state import init_params
from haemsa_jax.training.persistence.trained import Trained


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
    """Everything of the same name; of several seeds, from the best on validation.

    Rows and columns go by the parts they stand for, as the layout of both networks says it: those
    of a task, a modality or an expert follow it to its place in the new network. An array is taken
    where the trained network has all that the new one asks of it.

    Stems and heads belong to a data set. One that the trained network does not have is taken from
    another data set's, where a single one fits: of the same modality and width, or of a task of the
    same name, kind and outputs.

    Raises:
      InputError: the networks are different models or of different widths, so that hardly anything
        would fit.
    """
    source = trained.experiment.network
    for field in ("model", "width"):
        old, new = getattr(source, field), getattr(network, field)
        if old != new:
            raise InputError(
                f"the trained network has {field}={old}, the new one {field}={new}; give both the "
                "same"
            )
    variables, structure = trained.network(_best(trained))
    given = flatten_dict(_encoders_taken(network, source, variables["params"], structure))

    def fresh(key):
        _, constants = fresh_variables(network, key)
        return variables_of(init_params(network, config, key), constants)["params"]

    shapes = flatten_dict(jax.eval_shape(fresh, jax.random.key(0)))
    partners = _partners(network, source)
    names = _names(network, source, partners)
    renamed = {interface.task(new): interface.task(old) for new, old in partners.items()}
    before, after = layout(source)["params"], layout(network)["params"]
    taken, new = {}, []
    for path, wanted in shapes.items():
        old = (names.get(path[0], path[0]), *path[1:])
        old_axes, new_axes = (
            known[at].axes if at in known else ((),) * len(wanted.shape)
            for known, at in ((before, old), (after, path))
        )
        value = _fitted(given.get(old), wanted.shape, old_axes, new_axes, renamed)
        if value is None:
            new.append(path)
        else:
            taken[path] = value
    modules = dict.fromkeys(path[0] for path in taken)
    whole = {path[0] for path in new} - {*modules}
    parts = [path[0] if path[0] in whole else "/".join(path) for path in new]
    return WarmStart(
        unflatten_dict(taken),
        tuple(f"{name} (was {names[name]})" if name in names else name for name in modules),
        tuple(dict.fromkeys(parts)),
    )


def _encoders_taken(
    network: NetworkConfig, source: NetworkConfig, params: Mapping[str, Any], structure: Any
) -> dict[str, Any]:
    """Parameters of which encoders are such as the new network has, or left out."""
    params = dict(params)
    for modality in source.encoded():
        name, old = encoder_name(modality), source.encoders[modality]
        new = network.encoder_of(modality)
        if new is not None and new.fingerprint != old.fingerprint:
            del params[name]  # its tokens have other numbers
            continue
        same = new is not None and network.adapts(modality) and new.rank == old.rank
        if source.adapts(modality) and not same:
            params[name] = _folded(source, modality, params, structure)
    return params


def _folded(
    network: NetworkConfig, modality: str, params: Mapping[str, Any], structure: Any
) -> dict[str, Any]:
    weight = structure.get(interface.encoder(modality), 1.0)
    return encoder_of(network.encoders[modality]).fold(params[encoder_name(modality)], weight)


def _fitted(
    value: Any,
    shape: tuple[int, ...],
    before: tuple[Axis, ...],
    after: tuple[Axis, ...],
    renamed: Mapping[str, str],
) -> np.ndarray | None:
    """An array's rows and columns as the new network has them; None where it lacks some."""
    if value is None or len(before) != len(after):
        return None
    value = np.asarray(value)
    for axis, (old, new) in enumerate(zip(before, after, strict=True)):
        if bool(old) != bool(new):
            return None
        if new:
            wanted = tuple(
                Segment(tuple(renamed.get(part, part) for part in segment.parts), segment.size)
                for segment in new
            )
            chosen = places(old, wanted)
            if chosen is None:
                return None
            value = np.take(value, chosen, axis=axis)
    return value if value.shape == shape else None


def trained_encoder(trained: Trained, modality: str, place: int | None = None) -> dict[str, Any]:
    """Parameters of the encoder of a modality in a network, adapters folded into its matrices.

    Args:
      trained: the networks of a run.
      modality: whose encoder.
      place: which of them; by default the best on validation.

    Raises:
      InputError: there is no encoder within, or no such network.
    """
    network = trained.experiment.network
    if modality not in network.encoded():
        spec = network.encoder_of(modality)
        why = "it has none" if spec is None else f"{spec.encoder} as published"
        raise InputError(
            f"the run trained no {modality} encoder ({why}); train with --{modality} and "
            f"--{modality}_mode=tuned or adapted"
        )
    place = _best(trained) if place is None else place
    if not 0 <= place < trained.count:
        raise InputError(
            f"network {place} is asked for, but the run holds 0 to {trained.count - 1}"
        )
    variables, structure = trained.network(place)
    return _folded(network, modality, variables["params"], structure)


def _best(trained: Trained) -> int:
    """The network that is best on validation."""
    return 0 if trained.ranked else int(np.argmax(trained.progress["best_score"]))


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
