"""TrainState, hyper-parameters as data, and the optimiser."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax.flatten_util import ravel_pytree

from haemsa_jax.config import NetworkConfig, TrainConfig

Array = jax.Array


@struct.dataclass
class Hyper:
    """What of the training is data, so that one program trains a population of settings.

    Attributes:
      learning_rate, weight_decay, dropout, input_dropout, modality_dropout, auxiliary: float[],
        as in `TrainConfig`.
      task_weights: float[K].
    """

    learning_rate: Array
    weight_decay: Array
    dropout: Array
    input_dropout: Array
    modality_dropout: Array
    auxiliary: Array
    task_weights: Array


@struct.dataclass
class TrainState:
    """Arrays alone: no key (keys are folded from seed, stream and step), no function.

    Attributes:
      params: the network's parameters.
      averaged: float[P], the exponential moving average of all parameters in one vector, which is
        validated and kept; `averaged_params` gives it the tree's shape.
      moments: AdamW's state, on the same vector.
      step: int[], steps done.
    """

    params: dict
    averaged: Array
    moments: optax.OptState
    step: Array


def hyper_from_config(config: TrainConfig, network: NetworkConfig) -> Hyper:
    """The settings of a `TrainConfig` as arrays."""
    names = (
        "learning_rate", "weight_decay", "dropout", "input_dropout", "modality_dropout", "auxiliary"
    )  # fmt: skip
    values = {name: jnp.float32(getattr(config, name)) for name in names}
    weights = [config.task_weights.get(task_id, 1.0) for task_id in network.tasks]
    return Hyper(**values, task_weights=jnp.asarray(weights, jnp.float32))


def init_state(params: dict) -> TrainState:
    """Fresh state around fresh parameters."""
    flat, _ = ravel_pytree(params)
    return TrainState(params, flat, optax.scale_by_adam().init(flat), jnp.zeros((), jnp.int32))


def averaged_params(state: TrainState) -> dict:
    """The averaged parameters as a tree."""
    return ravel_pytree(state.params)[1](state.averaged)


def stack(tree: Any, count: int) -> Any:
    """The same arrays for each of `count` members: a leading axis on every leaf."""
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *jnp.shape(leaf))), tree)


def learning_rate(peak: Array, step: Array, total: int, warmup: float) -> Array:
    """Linear warm-up over `warmup * total` steps, then a cosine to zero at `total`."""
    rise = max(1.0, warmup * total)
    progress = jnp.clip((step - rise) / max(1.0, total - rise), 0.0, 1.0)
    return peak * jnp.minimum((step + 1) / rise, 0.5 * (1.0 + jnp.cos(jnp.pi * progress)))


def apply_gradients(
    state: TrainState, grads: dict, hyper: Hyper, rate: Array, config: TrainConfig
) -> TrainState:
    """One step of clipped AdamW (Loshchilov and Hutter 2019), weight decay on matrices alone."""
    # All parameters as one vector: a few large operations instead of a dozen for each of several
    # hundred arrays, which halves what there is to compile.
    params, unravel = ravel_pytree(state.params)
    # The barrier keeps XLA from mixing the optimiser into the gradients' own operations.
    grads = jax.lax.optimization_barrier(ravel_pytree(grads)[0])
    decays, _ = ravel_pytree(
        jax.tree.map(lambda p: jnp.full(p.shape, float(p.ndim > 1)), state.params)
    )
    clip, adam = optax.clip_by_global_norm(config.clip_norm), optax.scale_by_adam()
    grads, _ = clip.update(grads, clip.init(grads))
    updates, moments = adam.update(grads, state.moments)
    params = params - rate * (updates + hyper.weight_decay * decays * params)
    # Early averages follow the weights closely, so that the random start is soon forgotten.
    keep = jnp.minimum(config.ema, (1.0 + state.step) / (10.0 + state.step))
    averaged = keep * state.averaged + (1.0 - keep) * params
    return TrainState(unravel(params), averaged, moments, state.step + 1)
