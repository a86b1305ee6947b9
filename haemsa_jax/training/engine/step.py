"""One training step on all tasks at once, as a pure function of state, batch and random key.

Written against an axis name: with `axis=None` it is the whole step on one device (which a
population maps over); under `pmap` each device takes its share of the batch.
"""

import functools
from collections.abc import Callable
from typing import Any, cast

import jax
import optax

from haemsa_jax.config import NetworkConfig, TrainConfig
from haemsa_jax.training.engine.batch import Batch
from haemsa_jax.training.engine.optimizer import learning_rate, make_optimizer
from haemsa_jax.training.engine.state import Settings, TrainState, moving_average
from haemsa_jax.training.objective.batch_losses import Losses, make_losses
from haemsa_jax.training.objective.modality_balance import MEMORY, discrepancy, paces
from haemsa_jax.training.objective.task_weighting import combined
from haemsa_jax.training.objective.views import make_views

Array = jax.Array


def make_train_step(
    network: NetworkConfig, config: TrainConfig, *, total_steps: int, axis: str | None = None
) -> Callable[..., tuple[TrainState, dict[str, Any]]]:
    """The training step.

    Args:
      network: parameter shapes and tasks.
      config: the settings that are not data (loss, schedule's shape, which options are on).
      total_steps: where the schedule ends.
      axis: name of the mapped device axis, or None.

    Returns:
      step(state, batch, rng, clock=None) -> (state, metrics). `state` is an attached `TrainState`,
      `batch` a `Batch` from anywhere, `rng` the key of the step. `clock`, int[], is the place on
      the schedule of the learning rate, `state.step` where a network is trained in one go. Of the
      metrics `loss` is float[] by task id, unweighted, of the whole batch; 0 for a task without a
      row.
    """
    gradients = _make_gradients(network, config, axis)
    optimizer = make_optimizer(network, config)

    def step(
        state: TrainState, batch: Batch, rng: Array, clock: Array | None = None
    ) -> tuple[TrainState, dict[str, Any]]:
        settings = cast(Settings, state.settings)
        clock = state.step if clock is None else clock
        grads, losses = gradients(state, batch, rng)
        balance, pace = state.balance, None
        if config.balances:
            ratio = discrepancy(*losses.rightness)
            balance = MEMORY * balance + (1.0 - MEMORY) * ratio
            if config.gradient_balance:
                pace = paces(ratio, settings.gradient_balance)
        updates, optimizer_state = optimizer.update(
            grads,
            state.optimizer,
            state.params,
            learning_rate=learning_rate(settings.learning_rate, clock, total_steps, config.warmup),
            weight_decay=settings.weight_decay,
            paces=pace,
        )
        params = optax.apply_updates(state.params, updates)
        state = state.replace(
            params=params,
            averaged=moving_average(params, state.averaged, state.step, config.ema),
            optimizer=optimizer_state,
            balance=balance,
            step=state.step + 1,
        )
        return state, {"loss": dict(zip(network.tasks, losses.main, strict=True))}

    return step


def _make_gradients(
    network: NetworkConfig, config: TrainConfig, axis: str | None
) -> Callable[[TrainState, Batch, Array], tuple[dict, Losses]]:
    """gradients(state, batch, rng) -> gradients and losses of the whole batch."""
    views_of, losses_of = make_views(network, config), make_losses(network, config, axis)

    def gradients(state: TrainState, batch: Batch, rng: Array) -> tuple[dict, Losses]:
        settings = cast(Settings, state.settings)
        hide = functools.partial(
            views_of, rng=rng, structure=state.structure, settings=settings, ratio=state.balance
        )
        views = {name: hide(name, x, batch.place[name]) for name, x in batch.samples.items()}

        def objective(params):
            losses = losses_of(params, state, batch, views, rng)
            each = losses.main + settings.auxiliary * losses.auxiliary
            if config.distillation:
                each += settings.distillation * losses.distillation
            weights = losses.drawn * settings.task_weights / settings.task_weights.sum()
            return combined(each, weights, params) + losses.whole, losses

        result = jax.grad(objective, has_aux=True)(state.params)
        # The mean over devices of each one's losses and gradients is that of the whole batch.
        return result if axis is None else jax.lax.pmean(result, axis)

    return gradients
