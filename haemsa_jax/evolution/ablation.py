"""Ablations: what a genome's network is without one of the four ideas it is made of.

Each is trained for as many steps, on as many samples of every task, as the whole.
"""

import dataclasses
import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import jax
import numpy as np

from haemsa_jax.config import NetworkConfig, TrainConfig, dataset_of
from haemsa_jax.errors import InputError
from haemsa_jax.evolution.genome import built_for
from haemsa_jax.evolution.size import size
from haemsa_jax.models.architecture import Architecture, default_architecture
from haemsa_jax.training.step import batch_sizes, steps_per_epoch

WHOLE = "whole"
ABLATIONS = {
    "hierarchy": "one level of experts",
    "evolution": "not evolved",
    "transfer": "no transfer",
    "multitask": "one network a task",
}


def possible(network: NetworkConfig) -> tuple[str, ...]:
    """Ablations of a network by name: of one task not that there are several."""
    return tuple(name for name in ABLATIONS if name != "multitask" or len(network.tasks) > 1)


@dataclass(frozen=True)
class Variant:
    """One network and its training.

    Attributes:
      network: of which `parts` alone are built.
      architecture: masks and gate sharpness; the same whether parts are built or not.
      train: the training.
    """

    network: NetworkConfig
    architecture: Architecture
    train: TrainConfig

    @property
    def parameters(self) -> int:
        """How many numbers are learnt."""
        return int(size(self.network, self.architecture).parameters)


def specialised(network: NetworkConfig, architecture: Architecture, train: TrainConfig) -> Variant:
    """The variant in which only what an architecture uses is built."""
    architecture = jax.device_get(architecture)
    built = built_for(network, architecture)
    return Variant(built, architecture, train)


def ablate(
    name: str, network: NetworkConfig, architecture: Architecture, train: TrainConfig,
    unevolved: TrainConfig, counts: Mapping[str, int], devices: int = 1,
) -> list[Variant]:  # fmt: skip
    """What is trained in the place of the whole.

    - `hierarchy`: global experts alone. No local expert stands below them and no specific part
      goes past them; the network is made wider until it has at least the whole's parameters.
    - `evolution`: everything is open, and training is as the search started from.
    - `transfer`: no links, no guesses at absent modalities, no teaching of partial views.
    - `multitask`: a network for each task, of the parts that the task uses.

    Args:
      name: of `ABLATIONS`.
      network: the supernet.
      architecture: the genome's.
      train: the genome's training.
      unevolved: the training that the search started from.
      counts: labelled training samples of every task.
      devices: over which batches are spread.

    Returns:
      The networks that together do all tasks, one but for `multitask`.

    Raises:
      InputError: there is nothing to take away, or no such ablation.
    """
    if name == "hierarchy":
        return [_one_level(network, architecture, train)]
    if name == "evolution":
        return [specialised(network, default_architecture(network), unevolved)]
    if name == "transfer":
        closed = architecture.replace(
            links=np.zeros_like(architecture.links), imputed=np.zeros_like(architecture.imputed)
        )
        alone = dataclasses.replace(train, imputation=0.0, distillation=0.0)
        return [specialised(network, closed, alone)]
    if name == "multitask":
        if len(network.tasks) < 2:
            raise InputError(
                f"--ablate=multitask: there is one task, {next(iter(network.tasks))}; leave it away"
            )
        budget = alone_for(train, counts, devices)
        return [_alone(network, architecture, budget[task_id], task_id) for task_id in counts]
    raise InputError(f"--ablate={name} is unknown; choose from {', '.join(ABLATIONS)}")


def _one_level(network: NetworkConfig, architecture: Architecture, train: TrainConfig) -> Variant:
    """Global experts alone, as wide as gives them the parameters of all levels."""
    flat = architecture.replace(
        depth=np.zeros_like(architecture.depth), specific=np.zeros_like(architecture.specific)
    )
    train = dataclasses.replace(train, orthogonality=0.0, reconstruction=0.0)
    wanted = specialised(network, architecture, train).parameters
    for width in itertools.count(network.width, network.heads):
        variant = specialised(dataclasses.replace(network, width=width), flat, train)
        if variant.parameters >= wanted:
            return variant


def _alone(network, architecture, train: TrainConfig, task_id: str) -> Variant:
    """One task's network of what the task uses of the whole."""
    network, architecture = only(network, architecture, task_id)
    if not network.imputes:  # of one modality there is nothing to guess from
        train = dataclasses.replace(train, imputation=0.0)
    return specialised(network, architecture, train)


def only(
    network: NetworkConfig, architecture: Architecture, task_id: str
) -> tuple[NetworkConfig, Architecture]:
    """The supernet on one task, and what is left of an architecture there."""
    dataset, row = dataset_of(task_id), network.task_index(task_id)
    text = network.text
    if text is not None:
        talking = tuple(name for name in text.datasets if name == dataset)
        text = dataclasses.replace(text, datasets=talking) if talking else None
    small = dataclasses.replace(
        network,
        widths={dataset: network.widths[dataset]},
        tasks={task_id: network.tasks[task_id]},
        context={name: of for name, of in network.context.items() if name == dataset},
        text=text,
    )
    there = np.array([network.modalities.index(m) for m in small.modalities])
    architecture = jax.device_get(architecture)
    return small, architecture.replace(
        modalities=architecture.modalities[[row]][:, there],
        local=architecture.local[there],
        depth=architecture.depth[there],
        links=architecture.links[there][:, there],
        fusion=architecture.fusion[[row]],
        specific=architecture.specific[[row]][:, there],
        imputed=architecture.imputed[there],
        context=architecture.context[[row]],
    )


def alone_for(
    train: TrainConfig, counts: Mapping[str, int], devices: int = 1
) -> dict[str, TrainConfig]:
    """By task the training in which it alone sees as many samples, in as many steps, as jointly.

    Args:
      train: the joint training.
      counts: labelled training samples of every task.
      devices: over which batches are spread.
    """
    sizes = batch_sizes(counts, train, devices)
    joint, found = steps_per_epoch(counts, sizes), {}
    for task_id, count in counts.items():
        longer = joint / steps_per_epoch({task_id: count}, sizes)
        found[task_id] = dataclasses.replace(
            train,
            batch_size=sizes[task_id],
            sampling_temperature=0.0,
            epochs=max(1, round(train.epochs * longer)),
            evaluate_every=max(1, round(train.evaluate_every * longer)),
            task_weighting="fixed",
            task_weights={},
        )
    return found
