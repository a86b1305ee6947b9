"""Random weights, samples and structures to check a model on."""

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from haemsa_jax.config import NetworkConfig
from haemsa_jax.models.model import build, init_variables
from haemsa_jax.sample import Sample
from haemsa_jax.structure.parts import declare
from haemsa_jax.structure.table import Table

TOKENS = 2  # of every utterance
PATTERNS = 8  # of modalities that are there, at most
CONTEXT = "context"  # level of the genes that say how far a task reads


class Case(NamedTuple):
    """A network with random weights, and samples of every data set."""

    network: NetworkConfig
    params: dict[str, Any]
    constants: dict[str, Any]
    samples: dict[str, Sample]


def case_of(network: NetworkConfig, rng: np.random.Generator) -> Case:
    """Random weights of a network, and samples of all its data sets."""
    shapes = jax.eval_shape(lambda key: init_variables(build(network), key), jax.random.key(0))
    params, constants = (_drawn(rng, tree) for tree in shapes)
    samples = {dataset: _samples(network, dataset, rng) for dataset in network.widths}
    return Case(network, params, constants, samples)


def _drawn(rng: np.random.Generator, shapes: Any) -> Any:
    """Random numbers, away from a neutral start: scales near 1, matrices that keep a norm."""

    def draw(path, shape):
        middle = 1.0 if getattr(path[-1], "key", "") in ("scale", "std") else 0.0
        spread = (
            min(0.3, shape.shape[-2] ** -0.5) if len(shape.shape) > 1 else 0.1 + 0.2 * (middle == 0)
        )
        return (middle + spread * rng.normal(size=shape.shape)).astype(shape.dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def _samples(network: NetworkConfig, dataset: str, rng: np.random.Generator) -> Sample:
    """Of every task samples with several subsets of the modalities, some tokens masked."""
    widths, tasks = network.widths[dataset], network.tasks_of(dataset)
    past, future = network.context_of(dataset)
    offsets = np.repeat(np.arange(-past, future + 1), TOKENS).astype(np.int32)
    every = list(itertools.product((True, False), repeat=len(widths)))[:-1]  # one is there
    # The whole comes first; of many modalities some subsets stand for all.
    picked = every[:: -(-len(every) // PATTERNS)]
    rows = [(task_id, pattern) for task_id in tasks for pattern in picked]
    masks = {}
    for place, m in enumerate(widths):
        mask = rng.random((len(rows), len(offsets))) < 0.7
        mask[:, np.flatnonzero(offsets == 0)[0]] = True
        masks[m] = mask & np.array([pattern[place] for _, pattern in rows])[:, None]
    shape = (len(rows), len(offsets))
    return Sample(
        features={m: jnp.asarray(rng.normal(size=(*shape, d)), "f4") for m, d in widths.items()},
        masks={m: jnp.asarray(mask) for m, mask in masks.items()},
        offsets={m: jnp.asarray(np.broadcast_to(offsets, shape)) for m in widths},
        task=jnp.array([network.task_index(task_id) for task_id, _ in rows], jnp.int32),
        speakers={m: jnp.asarray(rng.integers(0, 3, shape), jnp.int32) for m in widths}
        if network.reads_speakers(dataset)
        else {},
    )


def structures_of(network: NetworkConfig, rng: np.random.Generator, count: int) -> Iterator[Any]:
    """Random ones, half of them small; all of the context is read."""
    table = Table(declare(network).genes)
    decode = jax.jit(table.decode)
    kept = [gene.level == CONTEXT for gene in table.genes]
    context = np.repeat(kept, [gene.size for gene in table.genes])
    for number in range(count):
        genome = rng.normal(size=table.size) - 0.7 * (number % 2)
        yield decode(jnp.asarray(np.where(context, 3.0, genome), jnp.float32))


def filled(sample: Sample, value: float) -> Sample:
    """With a value wherever the mask says that there is nothing."""
    features = {
        m: np.where(sample.masks[m][..., None], x, np.float32(value))
        for m, x in sample.features.items()
    }
    return sample.replace(features=features)
