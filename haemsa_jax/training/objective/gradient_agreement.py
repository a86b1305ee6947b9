"""Whether tasks pull the shared parameters the same way."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from haemsa_jax.config import NetworkConfig, TrainConfig, is_encoder
from haemsa_jax.structure.layout import layout
from haemsa_jax.structure.parts import declare
from haemsa_jax.training.objective.batch_losses import make_losses
from haemsa_jax.training.objective.task_weighting import UNCERTAINTY
from haemsa_jax.training.objective.views import make_views

Array = jax.Array


def make_agreement(network: NetworkConfig, config: TrainConfig) -> Callable[..., Array]:
    """The cosine between the gradients of every pair of tasks on the parameters that all share.

    Below zero, a step that helps the one harms the other (Yu et al. 2020, arXiv 2001.06782).

    Returns:
      agreement(state, batch, rng) -> float[K, K], of one attached `TrainState` on a `Batch`, with
      `rng` the key of the step.
    """
    views_of, losses_of = make_views(network, config), make_losses(network, config)
    level, own = jnp.ones(len(network.modalities)), _of_single_tasks(network)

    def agreement(state, batch, rng) -> Array:
        views = {
            name: views_of(
                name, samples, batch.place[name], rng, state.structure, state.settings, level
            )
            for name, samples in batch.samples.items()
        }
        shared = {name: x for name, x in state.params.items() if name not in own}

        def losses(shared):
            return losses_of({**state.params, **shared}, state, batch, views, rng).main

        _, back = jax.vjp(losses, shared)
        # One task after the other: each gradient is as large as the network.
        pulls = jax.lax.map(lambda task: ravel_pytree(back(task))[0], jnp.eye(len(network.tasks)))
        pulls /= jnp.maximum(jnp.linalg.norm(pulls, axis=-1, keepdims=True), 1e-12)
        return pulls @ pulls.T

    return agreement


def _of_single_tasks(network: NetworkConfig) -> set[str]:
    """Top modules whose parameters are of one data set or task, or numbered by task."""
    part, own = declare(network).part, {UNCERTAINTY}
    for path, array in layout(network)["params"].items():
        numbered = any(
            name.startswith("task/")
            for axis in array.axes
            for segment in axis
            for name in segment.parts
        )
        if part[array.owner].tasks is not None or (len(path) == 1 and numbered):
            own.add(path[0])
    return {name for name in own if not is_encoder(name)}
