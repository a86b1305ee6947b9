"""One training step on all tasks at once, as a pure function of (state, data, step).

Written against an axis name: with `axis=None` it is the whole step on one device (which a
population maps over); under `pmap` each device takes its slice of every batch.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from haemsa_jax.config import NetworkConfig, TrainConfig, dataset_of
from haemsa_jax.data.batches import DeviceSplit, gather, shuffled_positions, window_tokens
from haemsa_jax.data.presence import drop_modalities
from haemsa_jax.models.architecture import Architecture
from haemsa_jax.models.haemsa import Haemsa, Rates, slug
from haemsa_jax.sample import Sample
from haemsa_jax.training.losses import task_loss
from haemsa_jax.training.state import Hyper, TrainState, apply_gradients, learning_rate

Array = jax.Array
STREAMS = ("init", "batch", "dropout", "presence")


def stream(seed: Array, name: str) -> Array:
    """The root key of one random stream of a run; `seed` is a key."""
    return jax.random.fold_in(seed, STREAMS.index(name))


def steps_per_epoch(counts: dict[str, int], batch_size: int) -> int:
    """Steps until the task with most samples has seen each of them once."""
    return -(-max(counts.values()) // batch_size)


def make_step(
    network: NetworkConfig, config: TrainConfig, total_steps: int, axis: str | None = None,
    devices: int = 1,
) -> Callable[..., tuple[TrainState, Array]]:  # fmt: skip
    """The training step.

    Args:
      network: parameter shapes and tasks.
      config: the settings that are not data (batch size, context, loss, schedule's shape).
      total_steps: where the schedule ends.
      axis: name of the mapped device axis, or None.
      devices: its size; divides the batch size.

    Returns:
      step(state, constants, architecture, hyper, data, seed, clock) -> (state, losses), with `data`
      a dict of data set name to training `DeviceSplit`, `seed` a key, `clock` int[] that decides
      batch, noise and place on the schedule (`state.step` where a network is trained in one go),
      and losses float[K], unweighted, auxiliary heads left out.
    """
    module = Haemsa(network)
    share = config.batch_size // devices
    batch = _make_batch(network, config, share, axis)
    losses_of = _make_losses(module, config)

    def total(x):
        return x if axis is None else jax.lax.psum(x, axis)

    def step(
        state: TrainState, constants: dict, architecture: Architecture, hyper: Hyper,
        data: dict[str, DeviceSplit], seed: Array, clock: Array,
    ) -> tuple[TrainState, Array]:  # fmt: skip
        weights = hyper.task_weights / hyper.task_weights.sum()
        drawn = batch(data, seed, clock, hyper)

        def loss_of(params):
            main, auxiliary = losses_of(params, constants, architecture, hyper, drawn)
            # Sums over the samples here, divided by their number over all devices. The mean of
            # the gradients over `devices` then is the gradient of the whole batch.
            main = main / (total(jnp.float32(share)) / devices)
            auxiliary = auxiliary / (total(jnp.float32(share)) / devices)
            return (weights * (main + hyper.auxiliary * auxiliary)).sum(), main

        grads, losses = jax.grad(loss_of, has_aux=True)(state.params)
        if axis is not None:
            grads, losses = jax.lax.pmean((grads, losses), axis)
        rate = learning_rate(hyper.learning_rate, clock, total_steps, config.warmup)
        return apply_gradients(state, grads, hyper, rate, config), losses

    return step


def _make_batch(network: NetworkConfig, config: TrainConfig, share: int, axis: str | None):
    """batch(data, seed, step, hyper) -> data set name to (samples, labels, keys)."""

    def batch(data, seed, step, hyper) -> dict[str, Any]:
        first = 0 if axis is None else jax.lax.axis_index(axis) * share
        drawn: dict[str, Any] = {}
        for dataset in network.widths:
            split, samples, labels, keys = data[dataset], [], {}, []
            context = network.context_of(dataset)
            lengths = None
            if network.encodes(dataset):
                lengths = window_tokens(split, "text", *context)
            for task_id in network.tasks_of(dataset):
                index, name = network.task_index(task_id), network.tasks[task_id].name
                rows = split.rows[name]
                order = jax.random.fold_in(stream(seed, "batch"), index)
                places = shuffled_positions(
                    order, step, config.batch_size, rows.shape[0],
                    None if lengths is None else lengths[rows],
                )  # fmt: skip
                mine = rows[jax.lax.dynamic_slice(places, (first,), (share,))]
                # A key a sample, folded from its place in the whole batch: results do not depend
                # on how many devices share it.
                place = index * config.batch_size + first + jnp.arange(share)

                def sample_of(row, split=split, index=index, context=context):
                    return gather(split, row, jnp.int32(index), *context)

                sample = jax.vmap(sample_of)(mine)
                hide = _keys(stream(seed, "presence"), step, place)
                samples.append(
                    jax.vmap(drop_modalities, (0, 0, None))(hide, sample, hyper.modality_dropout)
                )
                labels[task_id] = split.labels[name][mine]
                keys.append(_keys(stream(seed, "dropout"), step, place))
            join = lambda *parts: jnp.concatenate(parts)  # noqa: E731
            drawn[dataset] = (jax.tree.map(join, *samples), labels, join(*keys))
        return drawn

    return batch


def _keys(root: Array, step: Array, place: Array) -> Array:
    """One key a sample, key[B]."""
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.fold_in(root, step), place)


def _make_losses(module: Haemsa, config: TrainConfig):
    """losses(params, constants, architecture, hyper, drawn) -> sums float[K], float[K]."""
    network = module.config

    def losses(params, constants, architecture, hyper, drawn) -> tuple[Array, Array]:
        variables = {"params": params, "constants": constants}
        rates = Rates(hyper.dropout, hyper.input_dropout, config.encoder_dropout)
        main, auxiliary = {}, {}
        for dataset, (samples, labels, keys) in drawn.items():
            longest = longest_text(network, dataset, samples)

            def forward(sample, key, dataset=dataset, longest=longest):
                rngs = {"dropout": key}
                return module.apply(
                    variables, sample, architecture, rates, dataset, longest, rngs=rngs
                )

            outputs = jax.vmap(forward)(samples, keys)
            start = 0
            for task_id, label in labels.items():
                mine = slice(start, start + len(label))
                start += len(label)
                scale = constants[f"head_{slug(task_id)}"]["scale"]
                one = lambda said, truth, t=task_id, s=scale: task_loss(  # noqa: E731
                    network.tasks[t], config.regression_loss, said, truth, s
                )
                main[task_id] = jax.vmap(one)(outputs.predictions[task_id][mine], label).sum()
                each = jax.vmap(jax.vmap(one, (0, None)))(outputs.auxiliary[task_id][mine], label)
                there = outputs.presence[mine]
                auxiliary[task_id] = (
                    jnp.where(there, each, 0.0).sum(-1) / jnp.maximum(there.sum(-1), 1)
                ).sum()
        order = list(network.tasks)
        return jnp.stack([main[t] for t in order]), jnp.stack([auxiliary[t] for t in order])

    return losses


def longest_text(network: NetworkConfig, dataset: str, samples: Sample) -> Array | None:
    """int[], most text tokens of any sample, where an encoder wants to know."""
    if not network.encodes(dataset):
        return None
    return samples.masks["text"].sum(axis=-1).max()


def label_counts(network: NetworkConfig, data: dict[str, DeviceSplit]) -> dict[str, int]:
    """Labelled training samples of every task."""
    return {
        task_id: len(data[dataset_of(task_id)].rows[task.name])
        for task_id, task in network.tasks.items()
    }
