"""TrainState, hyper-parameters as data, and the optimiser."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax.flatten_util import ravel_pytree

from haemsa_jax.config import OPTIONS, NetworkConfig, TrainConfig
from haemsa_jax.models.haemsa import ENCODER, Haemsa, init_variables, overlaid
from haemsa_jax.training.sharing import init_companion

Array = jax.Array
Packed = dict[str, Any]
UNCERTAINTY = "uncertainty"


@struct.dataclass
class Hyper:
    """What of the training is data, so that one program trains a population of settings.

    Attributes:
      learning_rate, weight_decay, dropout, input_dropout, modality_dropout, auxiliary, and the
        names of `OPTIONS`: float[], as in `TrainConfig`.
      task_weights: float[K].
    """

    learning_rate: Array
    weight_decay: Array
    dropout: Array
    input_dropout: Array
    modality_dropout: Array
    auxiliary: Array
    class_balance: Array
    focal: Array
    logit_adjustment: Array
    utterance_dropout: Array
    frame_dropout: Array
    moments: Array
    contrast: Array
    correlation: Array
    orthogonality: Array
    reconstruction: Array
    imputation: Array
    distillation: Array
    gradient_balance: Array
    prediction_balance: Array
    task_weights: Array


@struct.dataclass
class TrainState:
    """Arrays alone: no key (keys are folded from seed, stream and step), no function.

    Attributes:
      params: the network's parameters.
      averaged: their exponential moving average, which is validated and kept, packed as `pack`
        does; `averaged_params` gives it the tree's shape.
      moments: AdamW's state, packed likewise.
      lead: float[M], running ratio of how right each modality alone is to how right the others are;
        1 where modalities are not balanced.
      step: int[], steps done.
    """

    params: dict
    averaged: Packed
    moments: optax.OptState
    lead: Array
    step: Array


def hyper_from_config(config: TrainConfig, network: NetworkConfig) -> Hyper:
    """The settings of a `TrainConfig` as arrays."""
    names = (
        "learning_rate", "weight_decay", "dropout", "input_dropout", "modality_dropout",
        "auxiliary", *OPTIONS,
    )  # fmt: skip
    values = {name: jnp.float32(getattr(config, name)) for name in names}
    weights = [config.task_weights.get(task_id, 1.0) for task_id in network.tasks]
    return Hyper(**values, task_weights=jnp.asarray(weights, jnp.float32))


def init_params(
    network: NetworkConfig, config: TrainConfig, key: Array, given: Mapping[str, Any] | None = None
) -> dict:
    """First parameters: random ones, in which those that are given take their places.

    Args:
      network, config: what is trained, and how; tasks that are weighed by their uncertainty have a
        parameter each, and some losses have a companion.
      key: of the random ones.
      given: some of the tree's leaves.
    """
    params = dict(init_variables(Haemsa(network), key)[0])
    if config.task_weighting == UNCERTAINTY:
        params[UNCERTAINTY] = jnp.zeros(len(network.tasks))
    params |= init_companion(network, config, jax.random.fold_in(key, 1))
    return overlaid(params, given or {})


def init_state(params: dict, modalities: int) -> TrainState:
    """Fresh state around fresh parameters of a network of so many modalities."""
    packed, _ = pack(params)
    moments = optax.scale_by_adam().init(packed)
    return TrainState(params, packed, moments, jnp.ones(modalities), jnp.zeros((), jnp.int32))


def pack(params: dict) -> tuple[Packed, Callable[[Packed], dict]]:
    """Parameters as one vector, and a text encoder's as they are: few arrays, all of them large.

    A few large operations instead of a dozen for each of several hundred arrays halve what there is
    to compile; an encoder's layers are stacked already, and copying them would take time.

    Returns:
      the packed parameters, and the way back.
    """
    rest = {name: value for name, value in params.items() if name != ENCODER}
    flat, unravel = ravel_pytree(rest)
    encoder = {ENCODER: params[ENCODER]} if ENCODER in params else {}
    return {"rest": flat, **encoder}, lambda packed: {
        **unravel(packed["rest"]),
        **{name: packed[name] for name in encoder},
    }


def averaged_params(state: TrainState) -> dict:
    """The averaged parameters as a tree."""
    return pack(state.params)[1](state.averaged)


def stack(tree: Any, count: int) -> Any:
    """The same arrays for each of `count` members: a leading axis on every leaf."""
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *jnp.shape(leaf))), tree)


def learning_rate(peak: Array, step: Array, total: int, warmup: float) -> Array:
    """Linear warm-up over `warmup * total` steps, then a cosine to zero at `total`."""
    rise = max(1.0, warmup * total)
    progress = jnp.clip((step - rise) / max(1.0, total - rise), 0.0, 1.0)
    return peak * jnp.minimum((step + 1) / rise, 0.5 * (1.0 + jnp.cos(jnp.pi * progress)))


def apply_gradients(
    state: TrainState, grads: Packed, hyper: Hyper, rate: Array, config: TrainConfig
) -> TrainState:
    """One step of clipped AdamW (Loshchilov and Hutter 2019), weight decay on matrices alone.

    `grads` are packed as `pack` does.
    """
    params, unpack = pack(state.params)
    # The barrier keeps XLA from mixing the optimiser into the gradients' own operations.
    grads = jax.lax.optimization_barrier(grads)
    clip, adam = optax.clip_by_global_norm(config.clip_norm), optax.scale_by_adam()
    grads, _ = clip.update(grads, clip.init(grads))
    updates, moments = adam.update(grads, state.moments)
    matrices = {name: x for name, x in state.params.items() if name != ENCODER}
    decays, _ = ravel_pytree(jax.tree.map(lambda p: jnp.full(p.shape, float(p.ndim > 1)), matrices))
    updates["rest"] = updates["rest"] + hyper.weight_decay * decays * params["rest"]
    if ENCODER in params:
        # Pretrained weights stay near where they were: slower, and not drawn to zero.
        paces = _paces(params[ENCODER], config)
        updates[ENCODER] = jax.tree.map(lambda u, pace: pace * u, updates[ENCODER], paces)
    params = jax.tree.map(lambda p, u: p - rate * u, params, updates)
    # Early averages follow the weights closely, so that the random start is soon forgotten.
    keep = jnp.minimum(config.ema, (1.0 + state.step) / (10.0 + state.step))
    averaged = jax.tree.map(lambda a, p: keep * a + (1.0 - keep) * p, state.averaged, params)
    return state.replace(
        params=unpack(params), averaged=averaged, moments=moments, step=state.step + 1
    )


def _paces(encoder: dict, config: TrainConfig) -> dict:
    """How fast each array of an encoder learns: slower, the farther it is from the top."""
    layers = encoder.get("layers", {})  # of adapters without a rank, the mark alone is left
    count = len(jax.tree.leaves(layers)[0]) if layers else 0
    below = config.encoder_rate * config.layer_decay**count
    paces = jax.tree.map(lambda x: jnp.float32(below), encoder)
    heights = config.encoder_rate * config.layer_decay ** jnp.arange(count - 1, -1, -1.0)
    heard = jax.tree.map(lambda x: heights.reshape(-1, *[1] * (x.ndim - 1)).astype(x.dtype), layers)
    return {**paces, "layers": heard} if layers else paces
