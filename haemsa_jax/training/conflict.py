"""Whether tasks pull the shared parameters the same way."""

from collections.abc import Callable
from itertools import combinations
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from haemsa_jax.config import NetworkConfig, TrainConfig
from haemsa_jax.training.losses import UNCERTAINTY
from haemsa_jax.training.step import make_batch, make_losses

Array = jax.Array
OWN = ("stem_", "head_", "queries", UNCERTAINTY)  # parameters that are of one data set or task


def make_conflict(
    network: NetworkConfig, config: TrainConfig, devices: int = 1
) -> Callable[..., Array]:
    """The cosine between the gradients of every pair of tasks on the parameters that all share.

    Below zero, a step that helps the one harms the other (Yu et al. 2020, arXiv 2001.06782).

    Args:
      network, config: what is trained.
      devices: that share a batch in training; the sizes of tasks' batches are multiples of it.

    Returns:
      conflict(params, constants, architectures, hypers, data, seeds, clock) -> float[S, K, K] on
      the training batch of step `clock`; arguments in the plural have a leading axis S.
    """
    batch = make_batch(network, config, None, devices)
    losses_of = make_losses(network, config)
    tasks = len(network.tasks)

    def one(member, constants, data, clock) -> Array:
        params, architecture, hyper, seed = member
        drawn = batch(data, seed, clock, architecture, hyper, jnp.ones(len(network.modalities)))
        shared = {name: x for name, x in params.items() if not name.startswith(OWN)}

        def losses(shared):
            return losses_of({**params, **shared}, constants, architecture, hyper, drawn).main

        _, back = jax.vjp(losses, shared)
        # One task after the other: each gradient is as large as the network.
        pulls = jax.lax.map(lambda task: ravel_pytree(back(task))[0], jnp.eye(tasks))
        pulls /= jnp.maximum(jnp.linalg.norm(pulls, axis=-1, keepdims=True), 1e-12)
        return pulls @ pulls.T

    @jax.jit
    def conflict(params, constants, architectures, hypers, data, seeds, clock):
        members = params, architectures, hypers, seeds
        return jax.lax.map(lambda member: one(member, constants, data, clock), members)

    return conflict


def named(network: NetworkConfig, cosines: Any) -> dict[str, list[float]]:
    """float[S, K, K] as a value a seed by `cosine/TASK|TASK`."""
    pairs = combinations(enumerate(network.tasks), 2)
    return {f"cosine/{a}|{b}": cosines[:, i, j].tolist() for (i, a), (j, b) in pairs}
