"""One training step on all tasks at once, as a pure function of (state, data, step).

Written against an axis name: with `axis=None` it is the whole step on one device (which a
population maps over); under `pmap` each device takes its slice of every batch.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from haemsa_jax.config import NetworkConfig, TrainConfig, dataset_of
from haemsa_jax.data.batches import DeviceSplit, gather, shuffled_positions
from haemsa_jax.data.presence import drop_modalities
from haemsa_jax.models.architecture import Architecture
from haemsa_jax.models.haemsa import Haemsa, Rates, slug, variables_of
from haemsa_jax.sample import Sample
from haemsa_jax.training.losses import combined, task_loss
from haemsa_jax.training.state import Hyper, TrainState, apply_gradients, learning_rate, pack

Array = jax.Array
STREAMS = ("init", "batch", "dropout", "presence")


def stream(seed: Array, name: str) -> Array:
    """The root key of one random stream of a run; `seed` is a key."""
    return jax.random.fold_in(seed, STREAMS.index(name))


def batch_sizes(counts: Mapping[str, int], config: TrainConfig, devices: int = 1) -> dict[str, int]:
    """Samples of each task in one step, by the temperature of sampling.

    Args:
      counts: labelled training samples of every task.
      config: with the batch size, which is the mean over tasks, and the temperature.
      devices: each size is a multiple of it.
    """
    power = 1.0 / config.sampling_temperature if config.sampling_temperature else 0.0
    shares = {task_id: count**power for task_id, count in counts.items()}
    each = config.batch_size * len(counts) / sum(shares.values()) / devices
    return {task_id: devices * max(1, round(each * share)) for task_id, share in shares.items()}


def steps_per_epoch(counts: Mapping[str, int], sizes: Mapping[str, int]) -> int:
    """Steps until every task has seen each of its samples once."""
    return max(-(-count // sizes[task_id]) for task_id, count in counts.items())


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
    batch = make_batch(network, config, axis, devices)
    losses_of = make_losses(network, config)

    def step(
        state: TrainState, constants: dict, architecture: Architecture, hyper: Hyper,
        data: dict[str, DeviceSplit], seed: Array, clock: Array,
    ) -> tuple[TrainState, Array]:  # fmt: skip
        weights = hyper.task_weights / hyper.task_weights.sum()
        drawn = batch(data, seed, clock, hyper)

        def loss_of(params):
            # Every device has the same share of each task's batch, so that the mean of its means,
            # and of their gradients, is that of the whole batch.
            main, auxiliary = losses_of(params, constants, architecture, hyper, drawn)
            return combined(main + hyper.auxiliary * auxiliary, weights, params), main

        grads, losses = jax.grad(loss_of, has_aux=True)(state.params)
        grads, _ = pack(grads)
        if axis is not None:
            grads, losses = jax.lax.pmean((grads, losses), axis)
        rate = learning_rate(hyper.learning_rate, clock, total_steps, config.warmup)
        return apply_gradients(state, grads, hyper, rate, config), losses

    return step


def drawn_places(
    seed: Array, index: int, step: Array, size: int, count: int, lengths: Array | None
) -> Array:
    """int[size], places among the `count` rows of a task, the `index`th, that its batch has."""
    order = jax.random.fold_in(stream(seed, "batch"), index)
    return shuffled_positions(order, step, size, count, lengths)


def make_batch(
    network: NetworkConfig, config: TrainConfig, axis: str | None = None, devices: int = 1
) -> Callable[..., dict[str, Any]]:
    """A device's share of a step's samples, modalities hidden at random.

    Returns:
      batch(data, seed, step, hyper) -> data set name to (samples, labels by task id, a key a
      sample); the samples of a data set are those of its tasks, one task after the other.
    """

    def batch(data, seed, step, hyper) -> dict[str, Any]:
        device = 0 if axis is None else jax.lax.axis_index(axis)
        sizes = batch_sizes(label_counts(network, data), config, devices)
        shares = {task_id: size // devices for task_id, size in sizes.items()}
        # A key a sample, folded from its place in the whole batch: results do not depend on how
        # many devices share it.
        ends = np.cumsum([0, *sizes.values()])[:-1]
        place = jnp.concatenate([
            end + device * share + jnp.arange(share)
            for end, share in zip(ends, shares.values(), strict=True)
        ])  # fmt: skip
        hide = _keys(stream(seed, "presence"), step, place)
        keys = _keys(stream(seed, "dropout"), step, place)
        starts = dict(zip(shares, np.cumsum([0, *shares.values()]).tolist(), strict=False))
        drawn: dict[str, Any] = {}
        for dataset in network.widths:
            split, samples, labels, whose = data[dataset], [], {}, []
            context = network.context_of(dataset)
            for task_id in network.tasks_of(dataset):
                index, name = network.task_index(task_id), network.tasks[task_id].name
                rows, share = split.rows[name], shares[task_id]
                places = drawn_places(
                    seed, index, step, sizes[task_id], rows.shape[0], split.lengths.get(name)
                )
                mine = rows[jax.lax.dynamic_slice(places, (device * share,), (share,))]

                def sample_of(row, split=split, index=index, context=context):
                    return gather(split, row, jnp.int32(index), *context)

                samples.append(jax.vmap(sample_of)(mine))
                labels[task_id] = split.labels[name][mine]
                whose.append(np.arange(share) + starts[task_id])
            whose = np.concatenate(whose)
            samples = jax.tree.map(lambda *parts: jnp.concatenate(parts), *samples)
            samples = jax.vmap(drop_modalities, (0, 0, None))(
                hide[whose], samples, hyper.modality_dropout
            )
            drawn[dataset] = samples, labels, keys[whose]
        return drawn

    return batch


def _keys(root: Array, step: Array, place: Array) -> Array:
    """One key a sample, key[B]."""
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.fold_in(root, step), place)


def make_losses(network: NetworkConfig, config: TrainConfig) -> Callable[..., tuple[Array, Array]]:
    """Losses of a batch.

    Returns:
      losses(params, constants, architecture, hyper, drawn) -> float[K], float[K]: means over each
      task's samples of what the network says and of what its modalities say alone.
    """
    module = Haemsa(network)

    def losses(params, constants, architecture, hyper, drawn) -> tuple[Array, Array]:
        variables = variables_of(params, constants)
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
                task, head = network.tasks[task_id], constants[f"head_{slug(task_id)}"]
                one = functools.partial(task_loss, task, config, hyper, head)
                main[task_id] = jax.vmap(one)(outputs.predictions[task_id][mine], label).mean()
                each = jax.vmap(jax.vmap(one, (0, None)))(outputs.auxiliary[task_id][mine], label)
                there = outputs.presence[mine]
                auxiliary[task_id] = (
                    jnp.where(there, each, 0.0).sum(-1) / jnp.maximum(there.sum(-1), 1)
                ).mean()
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
