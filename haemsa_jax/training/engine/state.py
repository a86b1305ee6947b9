"""What training changes and what it needs beside a batch: arrays alone."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from haemsa_jax.config import OPTIONS, NetworkConfig, TrainConfig
from haemsa_jax.memory import bytes_of, check_memory
from haemsa_jax.models import fresh_variables, overlaid
from haemsa_jax.training.engine.optimizer import make_optimizer
from haemsa_jax.training.objective.representation_losses import init_companion
from haemsa_jax.training.objective.task_weighting import UNCERTAINTY

Array = jax.Array


@struct.dataclass
class Settings:
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


class TrainState(struct.PyTreeNode):
    """Arrays alone: no key (keys are folded from seed, stream and step), no function.

    Attributes:
      params: the network's parameters.
      averaged: their exponential moving average, which is validated and kept.
      optimizer: the state of `make_optimizer`.
      balance: float[M], running ratio of how right each modality alone is to how right the others
        are; 1 where modalities are not balanced.
      step: int[], steps done.
      structure: what of the network is open, as its model takes it.
      settings: of the training.
      constants: normalization and frozen weights. Members of a stack share one copy.

    The last three stay as they are in training. A state is `detached` where it is kept without
    them.
    """

    params: dict
    averaged: dict
    optimizer: optax.OptState
    balance: Array
    step: Array
    structure: Any = None
    settings: Settings | None = None
    constants: dict | None = None

    def attached(self, structure: Any, settings: Settings, constants: dict) -> "TrainState":
        """With what stays as it is."""
        return self.replace(structure=structure, settings=settings, constants=constants)

    def detached(self) -> "TrainState":
        """Without what stays as it is."""
        return self.replace(structure=None, settings=None, constants=None)


# Of a stack of members under `jax.vmap`: in_axes=(MEMBER_AXES, ...), out_axes=(MEMBER_AXES, 0).
_AXES: tuple[Any, ...] = (0, 0, 0, 0, 0, 0, 0, None)
MEMBER_AXES = TrainState(*_AXES)


def settings_from_config(config: TrainConfig, network: NetworkConfig) -> Settings:
    """The settings of a `TrainConfig` as arrays."""
    names = (
        "learning_rate", "weight_decay", "dropout", "input_dropout", "modality_dropout",
        "auxiliary", *OPTIONS,
    )  # fmt: skip
    values = {name: jnp.float32(getattr(config, name)) for name in names}
    weights = [config.task_weights.get(task_id, 1.0) for task_id in network.tasks]
    return Settings(**values, task_weights=jnp.asarray(weights, jnp.float32))


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
    params = dict(fresh_variables(network, key)[0])
    if config.task_weighting == UNCERTAINTY:
        params[UNCERTAINTY] = jnp.zeros(len(network.tasks))
    params |= init_companion(network, config, jax.random.fold_in(key, 1))
    return overlaid(params, given or {})


def init_state(network: NetworkConfig, config: TrainConfig, params: dict) -> TrainState:
    """Fresh detached state around fresh parameters."""
    optimizer = make_optimizer(network, config).init(params)
    balance = jnp.ones(len(network.modalities))
    return TrainState(params, params, optimizer, balance, jnp.zeros((), jnp.int32))


def moving_average(params: dict, averaged: dict, step: Array, decay: float) -> dict:
    """The exponential moving average after the step number `step` (int[], from 0).

    Early averages follow the weights closely, so that the random start is soon forgotten.
    """
    keep = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return optax.incremental_update(params, averaged, 1.0 - keep)


def stack(tree: Any, count: int) -> Any:
    """The same arrays for each of `count` members: a leading axis on every leaf."""
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *jnp.shape(leaf))), tree)


def check_fits(members: TrainState, devices: Sequence[jax.Device]) -> None:
    """Raises an `InputError` where a stack of networks is larger than the devices' memory.

    Args:
      members: the stack, or its shapes; beside it stand gradients and networks that are selected.
      devices: each holds all of it.
    """
    needed = bytes_of(members) + 2 * bytes_of(members.params)
    check_memory(
        needed * len(devices), devices, f"seeds and folds, {len(members.step)} in all,",
        "use fewer --seeds or --folds, or a smaller network",
    )  # fmt: skip
