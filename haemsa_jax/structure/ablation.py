"""Ablations: what a genome's network is without one of the four ideas it is made of.

Each is trained for as many steps, on as many samples of every task, as the whole.
"""

import dataclasses
import itertools
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from haemsa_jax.config import NetworkConfig, TrainConfig, dataset_of
from haemsa_jax.errors import InputError
from haemsa_jax.structure.parts import Structure, carried, default_structure
from haemsa_jax.structure.size import parameters
from haemsa_jax.structure.specialise import specialised_config
from haemsa_jax.training.engine.budget import fitted
from haemsa_jax.training.engine.drawing import batch_sizes, steps_per_epoch

WHOLE = "whole"
ABLATIONS = {
    "hierarchy": "one level of experts",
    "evolution": "not evolved",
    "transfer": "no cross-modal transfer",
    "multitask": "one network a task",
}


# Kinds of parts that are taken away.
LEVELS_BELOW = "block", "specific"
TRANSFER = "link", "imputed"
TAKEN = {"hierarchy": LEVELS_BELOW, "transfer": TRANSFER}


def possible(network: NetworkConfig) -> tuple[str, ...]:
    """Ablations of a network by name: those that take something away.

    A part is taken away by shutting the genes that open it. What is always open stays, and so does
    what a choice opens together with parts of other kinds.
    """
    everything = default_structure(network)
    whole = specialised_config(network, everything)
    has = {
        name: specialised_config(network, everything, kinds) != whole
        for name, kinds in TAKEN.items()
    }
    has["multitask"] = len(network.tasks) > 1
    return tuple(name for name in ABLATIONS if has.get(name, True))


def _check_possible(name: str, network: NetworkConfig) -> None:
    if name not in ABLATIONS:
        raise InputError(f"--ablate={name} is unknown; choose from {', '.join(ABLATIONS)}")
    choices = possible(network)
    if name in choices:
        return
    if name == "multitask":
        raise InputError(
            f"--ablate=multitask: there is one task, {next(iter(network.tasks))}; leave it away"
        )
    raise InputError(
        f"--ablate={name}: model={network.model} has no part of kind {' or '.join(TAKEN[name])} "
        f"that a gene opens for itself; choose from {', '.join(choices)}"
    )


@dataclass(frozen=True)
class Variant:
    """One network and its training.

    Attributes:
      network: specialised.
      structure: its own.
      train: the training.
    """

    network: NetworkConfig
    structure: Structure
    train: TrainConfig

    @property
    def parameters(self) -> int:
        """How many numbers are learnt."""
        return int(parameters(self.network, self.structure))


def specialised(
    network: NetworkConfig,
    structure: Structure,
    train: TrainConfig,
    without: Collection[str] = (),
) -> Variant:
    """The variant in which only what a structure uses is built, without some kinds of parts."""
    small = specialised_config(network, structure, without)
    return Variant(small, carried(network, structure, small), train)


def ablate(
    name: str,
    network: NetworkConfig,
    structure: Structure,
    train: TrainConfig,
    unevolved: TrainConfig,
    counts: Mapping[str, int],
    devices: int = 1,
) -> list[Variant]:
    """What is trained in the place of the whole.

    - `hierarchy`: global experts alone. No local expert stands below them and no specific part
      goes past them; the network is made wider until it has at least the whole's parameters.
    - `evolution`: everything is open, and training is as the search started from.
    - `transfer`: no links, no imputing of absent modalities, no distillation into partial views.
    - `multitask`: a network for each task, of the parts that the task uses.

    Args:
      name: of `ABLATIONS`.
      network: the supernet.
      structure: the genome's.
      train: the genome's training.
      unevolved: the training that the search started from.
      counts: labelled training samples of every task.
      devices: over which batches are spread.

    Returns:
      The networks that together do all tasks, one but for `multitask`.

    Raises:
      InputError: there is nothing to take away, or no such ablation.
    """
    _check_possible(name, network)
    if name == "hierarchy":
        return [_one_level(network, structure, train)]
    if name == "evolution":
        return [specialised(network, default_structure(network), unevolved)]
    if name == "transfer":
        alone = dataclasses.replace(train, imputation=0.0, distillation=0.0)
        return [specialised(network, structure, alone, TRANSFER)]
    budget = alone_for(train, counts, devices)
    return [_alone(network, structure, budget[task_id], task_id) for task_id in counts]


def _one_level(network: NetworkConfig, structure: Structure, train: TrainConfig) -> Variant:
    """Global experts alone, as wide as gives them the parameters of all levels."""
    train = dataclasses.replace(train, orthogonality=0.0, reconstruction=0.0)
    wanted = specialised(network, structure, train).parameters
    for width in itertools.count(network.width, getattr(network, "heads", 1)):
        variant = specialised(network.changed(width=width), structure, train, LEVELS_BELOW)
        if variant.parameters >= wanted:
            return variant
    raise AssertionError("widths have no end")


def _alone(network, structure: Structure, train: TrainConfig, task_id: str) -> Variant:
    """One task's network of what the task uses of the whole."""
    small, structure = only(network, structure, task_id)
    if "imputed" not in small.representations:  # of one modality there is nothing to impute from
        train = dataclasses.replace(train, imputation=0.0)
    return specialised(small, structure, train)


def only(
    network: NetworkConfig, structure: Structure, task_id: str
) -> tuple[NetworkConfig, Structure]:
    """The supernet on one task, and what is left of a structure there."""
    dataset = dataset_of(task_id)
    encoders = {
        modality: dataclasses.replace(spec, datasets=(dataset,))
        for modality, spec in network.encoders.items()
        if dataset in spec.datasets
    }
    small = network.changed(
        widths={dataset: network.widths[dataset]},
        tasks={task_id: network.tasks[task_id]},
        context={name: of for name, of in network.context.items() if name == dataset},
        encoders=encoders,
    )
    return small, carried(network, structure, small)


def alone_for(
    train: TrainConfig, counts: Mapping[str, int], devices: int = 1
) -> dict[str, TrainConfig]:
    """By task the training in which it alone sees as many samples, in as many steps, as jointly.

    Args:
      train: the joint training.
      counts: labelled training samples of every task.
      devices: over which batches are spread.
    """
    train = fitted(train, counts, devices)
    sizes = batch_sizes(counts, train, devices)
    joint, configs = steps_per_epoch(counts, sizes), {}
    for task_id, count in counts.items():
        longer = joint / steps_per_epoch({task_id: count}, sizes)
        configs[task_id] = dataclasses.replace(
            train,
            batch_size=sizes[task_id],
            sampling_temperature=0.0,
            epochs=max(1, round(train.epochs * longer)),
            evaluate_every=max(1, round(train.evaluate_every * longer)),
            task_weighting="fixed",
            task_weights={},
        )
    return configs
