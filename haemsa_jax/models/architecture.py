"""Architecture: which parts of the supernet a network uses, as arrays of static shape.

The supernet holds every expert and every link. An Architecture opens or shuts them by masks, so
that thousands of architectures share one compiled program, and a population of them is one `vmap`.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from haemsa_jax.config import FUSION_OPERATORS, LOCAL_EXPERTS, NetworkConfig, dataset_of

LEVELS = ("local", "link", "fusion")  # those with gates of a sharpness


@struct.dataclass
class Architecture:
    """Masks, float32 in {0, 1}, and numbers.

    K tasks, M modalities, L blocks, E local, F global experts.

    Attributes:
      modalities: [K, M] the modalities that a task may read.
      local: [M, L, E] experts of each modality's local banks.
      depth: [M, L] blocks in use; a block that is not leaves its tokens as they are.
      links: [M, M] cross-modal links, target by source; the diagonal is 0.
      fusion: [K, F] global experts that a task may use.
      specific: [K, M] modalities whose specific part a task hears.
      imputed: [M] modalities whose shared part is guessed where they are absent.
      context: [K, 2] utterances before and after the target that a task reads.
      adapters: [] whether a text encoder's adapters, if it has any, are heard.
      sharpness: [3] inverse temperature of the gates of each of `LEVELS`.
    """

    modalities: jax.Array
    local: jax.Array
    depth: jax.Array
    links: jax.Array
    fusion: jax.Array
    specific: jax.Array
    imputed: jax.Array
    context: jax.Array
    adapters: jax.Array
    sharpness: jax.Array


def default_architecture(config: NetworkConfig) -> Architecture:
    """Everything open: all experts, blocks and links, every modality for every task."""
    tasks, modalities = len(config.tasks), len(config.modalities)
    # Made by NumPy: JAX would compile a program for each of their shapes.
    whole = Architecture(
        modalities=np.ones((tasks, modalities)),
        local=np.ones((modalities, config.depth, len(LOCAL_EXPERTS))),
        depth=np.ones((modalities, config.depth)),
        links=1.0 - np.eye(modalities),
        fusion=np.ones((tasks, len(FUSION_OPERATORS))),
        specific=np.full((tasks, modalities), float(config.splits)),
        imputed=np.full(modalities, float(config.imputes)),
        context=np.array([config.context_of(dataset_of(t)) for t in config.tasks]),
        adapters=np.ones(()),
        sharpness=np.ones(len(LEVELS)),
    )
    return jax.tree.map(lambda x: jnp.asarray(x.astype(np.float32)), whole)


def reach(config: NetworkConfig, architecture: Architecture, dataset: str) -> jax.Array:
    """float[2], utterances before and after the target that some task of a data set reads."""
    tasks = [config.task_index(task_id) for task_id in config.tasks_of(dataset)]
    return architecture.context[np.array(tasks)].max(axis=0)
