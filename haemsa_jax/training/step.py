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
from flax import struct

from haemsa_jax.config import SHARING_LOSSES, NetworkConfig, TrainConfig, dataset_of, head_name
from haemsa_jax.data.batches import DeviceSplit, gather, shuffled_positions
from haemsa_jax.data.presence import drop_frames, drop_modalities, drop_utterances, restrict
from haemsa_jax.models.architecture import Architecture
from haemsa_jax.models.haemsa import Haemsa, Outputs, Rates, variables_of
from haemsa_jax.models.layers import places
from haemsa_jax.noise import hashed
from haemsa_jax.sample import Sample
from haemsa_jax.training.balance import (
    MEMORY,
    discrepancy,
    hiding_rates,
    paces,
    rightness,
    slowed,
)
from haemsa_jax.training.losses import combined, task_loss, teaching_loss
from haemsa_jax.training.sharing import make_sharing_losses
from haemsa_jax.training.state import Hyper, TrainState, apply_gradients, learning_rate, pack

Array = jax.Array
STREAMS = ("init", "batch", "dropout", "presence", "utterances", "frames")


def stream(seed: Array, name: str) -> Array:
    """The root key of one random stream of a run; `seed` is a key."""
    return jax.random.fold_in(hashed(seed), STREAMS.index(name))


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
      and losses float[K], unweighted, of what the network says alone.
    """
    batch = make_batch(network, config, axis, devices)
    losses_of = make_losses(network, config, axis)

    def step(
        state: TrainState, constants: dict, architecture: Architecture, hyper: Hyper,
        data: dict[str, DeviceSplit], seed: Array, clock: Array,
    ) -> tuple[TrainState, Array]:  # fmt: skip
        weights = hyper.task_weights / hyper.task_weights.sum()
        drawn = batch(data, seed, clock, architecture, hyper, state.lead)

        def loss_of(params):
            # Every device has the same share of each task's batch, so that the mean of its means,
            # and of their gradients, is that of the whole batch.
            found = losses_of(params, constants, architecture, hyper, drawn)
            each = found.main + hyper.auxiliary * found.auxiliary
            if config.distillation:
                each += hyper.distillation * found.teaching
            return combined(each, weights, params) + found.sharing, found

        grads, found = jax.grad(loss_of, has_aux=True)(state.params)
        if axis is not None:
            found = jax.lax.pmean(found, axis)
        if config.balances:
            ratio = discrepancy(*found.rightness)
            state = state.replace(lead=MEMORY * state.lead + (1.0 - MEMORY) * ratio)
            if config.gradient_balance:
                grads = slowed(network, grads, paces(ratio, hyper.gradient_balance))
        grads, _ = pack(grads)
        if axis is not None:
            grads = jax.lax.pmean(grads, axis)
        rate = learning_rate(hyper.learning_rate, clock, total_steps, config.warmup)
        return apply_gradients(state, grads, hyper, rate, config), found.main

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
    """A step's samples, modalities hidden at random, or a device's share of them.

    Args:
      network, config: as for `make_step`.
      axis: name of the mapped device axis; None for the whole batch.
      devices: the sizes of tasks' batches are multiples of it.

    Returns:
      batch(data, seed, step, architecture, hyper, lead) -> data set name to (views, labels by task
      id, a key a sample, tokens of the longest text or None). The views are the samples with
      modalities hidden and, where these are taught, as they are. The samples of a data set are
      those of its tasks, one task after the other.
    """

    def batch(data, seed, step, architecture, hyper, lead) -> dict[str, Any]:
        device, parts = (0, 1) if axis is None else (jax.lax.axis_index(axis), devices)
        sizes = batch_sizes(label_counts(network, data), config, devices)
        shares = {task_id: size // parts for task_id, size in sizes.items()}
        # A key a sample, folded from its place in the whole batch: results do not depend on how
        # many devices share it.
        before = np.cumsum([0, *sizes.values()])[:-1]
        place = jnp.concatenate([
            first + device * share + jnp.arange(share)
            for first, share in zip(before, shares.values(), strict=True)
        ])  # fmt: skip
        hide = _keys(stream(seed, "presence"), step, place)
        keys = _keys(stream(seed, "dropout"), step, place)
        starts = dict(zip(shares, np.cumsum([0, *shares.values()]).tolist(), strict=False))
        drawn: dict[str, Any] = {}
        for dataset in network.widths:
            split, samples, labels, whose, readable = data[dataset], [], {}, [], []
            context = network.context_of(dataset)
            for task_id in network.tasks_of(dataset):
                index, name = network.task_index(task_id), network.tasks[task_id].name
                rows, share = split.rows[name], shares[task_id]
                chosen = drawn_places(
                    seed, index, step, sizes[task_id], rows.shape[0], split.lengths.get(name)
                )
                mine = rows[jax.lax.dynamic_slice(chosen, (device * share,), (share,))]

                def sample_of(row, split=split, index=index, context=context):
                    return gather(split, row, jnp.int32(index), *context)

                samples.append(jax.vmap(sample_of)(mine))
                readable.append(_readable(network, architecture, task_id, samples[-1]))
                labels[task_id] = split.labels[name][mine]
                whose.append(np.arange(share) + starts[task_id])
            whose = np.concatenate(whose)
            samples, readable = (
                jax.tree.map(lambda *parts: jnp.concatenate(parts), *of)
                for of in (samples, readable)
            )
            rate = hyper.modality_dropout
            if config.prediction_balance:
                rates = hiding_rates(rate, lead, hyper.prediction_balance)
                rate = rates[places(tuple(samples.masks), network.modalities)]
            # Of what a task may read one always stays, so what it may not goes first.
            hidden = jax.vmap(restrict)(samples, readable)
            hidden = jax.vmap(drop_modalities, (0, 0, None))(hide[whose], hidden, rate)
            if config.utterance_dropout:
                drop = functools.partial(
                    drop_utterances, rate=hyper.utterance_dropout, context=context
                )
                apart = _keys(stream(seed, "utterances"), step, place)
                hidden = jax.vmap(drop)(apart[whose], hidden)
            if config.frame_dropout:
                drop = functools.partial(drop_frames, rate=hyper.frame_dropout, context=context)
                hidden = jax.vmap(drop)(_keys(stream(seed, "frames"), step, place)[whose], hidden)
            views = (hidden, samples) if config.distillation else (hidden,)
            # Before anything is hidden: what a population draws is the same for all its members,
            # what is hidden is not, and an encoder's branches would all be computed.
            longest = longest_text(network, dataset, samples)
            drawn[dataset] = views, labels, keys[whose], longest
        return drawn

    return batch


def _readable(
    network: NetworkConfig, architecture: Architecture, task_id: str, samples: Sample
) -> dict[str, Array]:
    """Per modality bool[B], whether a task may read it."""
    opened, built = architecture.modalities[network.task_index(task_id)], network.built
    return {
        m: jnp.broadcast_to(
            (opened[network.modalities.index(m)] > 0) & (m in built.modalities[task_id]),
            mask.shape[:1],
        )
        for m, mask in samples.masks.items()
    }


def _keys(root: Array, step: Array, place: Array) -> Array:
    """One key a sample, key[B]."""
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.fold_in(root, step), place)


@struct.dataclass
class Losses:
    """Of a batch.

    Attributes:
      main: float[K], means over each task's samples of what the network says.
      auxiliary: float[K], of what its modalities say alone.
      teaching: float[K], between both views of a sample.
      sharing: float[], weighed sum of the losses on shared and specific parts.
      rightness: float[M] twice: summed over the samples that have a modality, how right it is
        alone, and their number.
    """

    main: Array
    auxiliary: Array
    teaching: Array
    sharing: Array
    rightness: tuple[Array, Array]


def make_losses(
    network: NetworkConfig, config: TrainConfig, axis: str | None = None
) -> Callable[..., Losses]:
    """Losses of a batch.

    Returns:
      losses(params, constants, architecture, hyper, drawn) -> `Losses`.
    """
    module = Haemsa(network)
    sharing_losses = make_sharing_losses(network, config)
    shares = any(name in SHARING_LOSSES for name in config.options)

    def losses(params, constants, architecture, hyper, drawn) -> Losses:
        variables = variables_of(params, constants)
        rates = Rates(hyper.dropout, hyper.input_dropout, config.encoder_dropout)
        main, auxiliary, teaching, sharing = {}, {}, {}, jnp.zeros(())
        right = jnp.zeros((2, len(network.modalities)))
        for dataset, (views, labels, keys, longest) in drawn.items():

            def forward(sample, key, dataset=dataset, longest=longest):
                rngs = {"dropout": key}
                return module.apply(
                    variables, sample, architecture, rates, dataset, longest, rngs=rngs
                )

            seen = _of_views(jax.vmap(forward), views, keys)
            if shares:
                sharing += sharing_losses(params, hyper, _of_batch(seen[-1], axis)) / len(drawn)
            start = 0
            for task_id, label in labels.items():
                mine = slice(start, start + len(label))
                start += len(label)
                task, head = network.tasks[task_id], constants[head_name(task_id)]
                one = functools.partial(task_loss, task, config, hyper, head)
                said = [view.predictions[task_id][mine] for view in seen]
                alone = [view.auxiliary[task_id][mine] for view in seen]
                there = [view.presence[mine] for view in seen]
                main[task_id] = _mean([jax.vmap(one)(x, label).mean() for x in said])
                auxiliary[task_id] = _mean([
                    _where_there(jax.vmap(jax.vmap(one, (0, None)))(x, label), present)
                    for x, present in zip(alone, there, strict=True)
                ])  # fmt: skip
                teaching[task_id] = jnp.zeros(())
                if config.distillation:
                    teach = functools.partial(teaching_loss, task, head)
                    teaching[task_id] = jax.vmap(teach)(*said).mean()
                if config.balances:
                    true = functools.partial(rightness, task, head)
                    values = jax.vmap(jax.vmap(true, (0, None)))(alone[-1], label)
                    present = there[-1].astype(values.dtype)
                    right += jnp.stack([(values * present).sum(0), present.sum(0)])
        by_task = [
            jnp.stack([of[task_id] for task_id in network.tasks])
            for of in (main, auxiliary, teaching)
        ]
        return Losses(*by_task, sharing, (right[0], right[1]))

    return losses


def _of_views(forward, views: tuple[Sample, ...], keys: Array) -> list[Outputs]:
    """Outputs of every view. All views of a sample share its key, and so their dropout."""
    if len(views) == 1:
        return [forward(views[0], keys)]
    together = jax.tree.map(lambda *x: jnp.stack(x), *views)
    outputs = jax.vmap(forward, (0, None))(together, keys)
    return [jax.tree.map(lambda x, k=view: x[k], outputs) for view in range(len(views))]


def _of_batch(outputs: Outputs, axis: str | None) -> Outputs:
    """Those of all devices: what is compared within a batch does not depend on their number."""
    if axis is None:
        return outputs
    names = ("presence", "summaries", "shared", "specific", "guesses")
    mine = {name: getattr(outputs, name) for name in names}
    return outputs.replace(**jax.lax.all_gather(mine, axis, tiled=True))


def _mean(values: list[Array]) -> Array:
    return sum(values) / len(values)


def _where_there(values: Array, presence: Array) -> Array:
    """Mean over samples of the mean over modalities that are there, of float[B, M]."""
    kept = jnp.where(presence, values, 0.0).sum(-1)
    return (kept / jnp.maximum(presence.sum(-1), 1)).mean()


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
