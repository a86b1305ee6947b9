"""Many training steps of a stack of members, on several devices, in one call."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from haemsa_jax.config import NetworkConfig, TrainConfig
from haemsa_jax.models import constant_axes, constants_at
from haemsa_jax.training.engine import parallel
from haemsa_jax.training.engine.drawing import make_draw, of_fold
from haemsa_jax.training.engine.members import side_by_side
from haemsa_jax.training.engine.step import make_train_step
from haemsa_jax.training.objective.gradient_agreement import make_agreement
from haemsa_jax.training.random_streams import step_key

Array = jax.Array


def make_block(
    network: NetworkConfig, config: TrainConfig, *, total_steps: int, length: int,
    devices: list[jax.Device],
) -> Callable[..., tuple[Any, Array]]:  # fmt: skip
    """Many training steps of S members in one call.

    Args:
      network, config, total_steps: as `make_train_step` takes them.
      length: steps of a block, at most.
      devices: each takes its share of every batch.

    Returns:
      block(members, structures, settings, constants, folds, data, seeds, steps) -> (members,
      losses): of detached states, structures, settings and constants (but those of encoders) with a
      leading axis S; `folds` are int[S], `data` is what draws of all folds read, `seeds` are S
      keys, `steps` is int[] <= length, and losses are float[length, S, K], zeros after `steps`. The
      number of steps is data: one program serves every block, and a run cut anywhere takes the same
      steps.
    """
    parallel.check_divisible(config.batch_size, len(devices))
    axis = parallel.AXIS
    step = make_train_step(network, config, total_steps=total_steps, axis=axis)
    draw = make_draw(network, config, axis=axis, devices=len(devices))

    def one(member, structure, settings, constants, fold, data, seed):
        batch = draw(of_fold(data, fold), seed, member.step)
        rng = step_key(seed, member.step)
        state, metrics = step(member.attached(structure, settings, constants), batch, rng)
        return state.detached(), jnp.stack([metrics["loss"][t] for t in network.tasks])

    def block(_, members, structures, settings, constants, folds, data, seeds, steps):
        axes = (0, 0, 0, constant_axes(constants), 0, None, 0)
        stacked = side_by_side(network, one, axes)

        def body(index, carry):
            members, losses = carry
            members, now = stacked(members, structures, settings, constants, folds, data, seeds)
            return members, losses.at[index].set(now)

        losses = jnp.zeros((length, len(seeds), len(network.tasks)))
        return jax.lax.fori_loop(0, steps, body, (members, losses))

    spread = parallel.spread(block, devices, in_axes=(0, *[None] * 8), out_axes=None)
    lanes = parallel.share_of(np.arange(len(devices)), devices)
    return lambda *arguments: spread(lanes, *arguments)


def make_agreement_of_members(
    network: NetworkConfig, config: TrainConfig, devices: int
) -> Callable[..., Array]:
    """Whether the tasks' gradients agree in each of S members.

    Args:
      network, config: what is trained.
      devices: that share a batch in training; the sizes of tasks' batches are multiples of it.

    Returns:
      agreement(members, structures, settings, constants, folds, data, seeds, clock) -> float[S, K,
      K] on the training batch of step `clock`; the other arguments are those of a block.
    """
    draw = make_draw(network, config, devices=devices)
    agreement = make_agreement(network, config)

    @jax.jit
    def of_members(members, structures, settings, constants, folds, data, seeds, clock):
        def one(stacked):
            member, structure, setting, fold, seed, place = stacked
            state = member.attached(structure, setting, constants_at(constants, place))
            batch = draw(of_fold(data, fold), seed, clock)
            return agreement(state, batch, step_key(seed, clock))

        places = jnp.arange(len(seeds))
        return jax.lax.map(one, (members, structures, settings, folds, seeds, places))

    return of_members
