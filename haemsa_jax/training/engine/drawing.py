"""Batches drawn from data that live on the device: a pure function of (data, seed, step)."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from haemsa_jax.config import NetworkConfig, TrainConfig, dataset_of
from haemsa_jax.data.batches import DeviceSplit, gather, shuffled_positions
from haemsa_jax.training.engine.batch import Batch
from haemsa_jax.training.random_streams import stream

Array = jax.Array


PARTS = 16  # of the samples make a batch, where nobody says its size
SMALLEST, LARGEST = 8, 32  # samples of such a batch


def usual_batch(counts: Mapping[str, int], devices: int = 1) -> int:
    """Samples of a task in one step that suit the largest task; a multiple of the devices."""
    power = 1 << max(0, (max(counts.values()) // PARTS).bit_length() - 1)
    return -(-min(max(SMALLEST, power), LARGEST) // devices) * devices


def batch_sizes(counts: Mapping[str, int], config: TrainConfig, devices: int = 1) -> dict[str, int]:
    """Samples of each task in one step, by the temperature of sampling.

    Args:
      counts: labelled training samples of every task.
      config: with the batch size, which is the mean over tasks, 0 for `usual_batch`, and the
        temperature.
      devices: each size is a multiple of it.
    """
    power = 1.0 / config.sampling_temperature if config.sampling_temperature else 0.0
    shares = {task_id: count**power for task_id, count in counts.items()}
    size = config.batch_size or usual_batch(counts, devices)
    each = size * len(counts) / sum(shares.values()) / devices
    return {task_id: devices * max(1, round(each * share)) for task_id, share in shares.items()}


def steps_per_epoch(counts: Mapping[str, int], sizes: Mapping[str, int]) -> int:
    """Steps until every task has seen each of its samples once."""
    return max(-(-count // sizes[task_id]) for task_id, count in counts.items())


def label_counts(network: NetworkConfig, data: Mapping[str, DeviceSplit]) -> dict[str, int]:
    """Labelled training samples of every task, with folds of the network that has most."""
    return {
        task_id: data[dataset_of(task_id)].rows[task.name].shape[-1]
        for task_id, task in network.tasks.items()
    }


def drawn_places(
    seed: Array,
    index: int,
    step: Array,
    size: int,
    count: int | Array | np.ndarray,
    lengths: Array | np.ndarray | None,
    most: int | None = None,
) -> Array:
    """int[size], places among the `count` rows of a task, the `index`th, that its batch has."""
    order = jax.random.fold_in(stream(seed, "batch"), index)
    return shuffled_positions(order, step, size, count, lengths, most)


def of_fold(data: Mapping[str, DeviceSplit], fold: Array) -> dict[str, DeviceSplit]:
    """By data set what the network of one fold, int[], reads."""
    return {name: split.of_fold(fold) for name, split in data.items()}


def make_draw(
    network: NetworkConfig, config: TrainConfig, *, axis: str | None = None, devices: int = 1
) -> Callable[..., Batch]:
    """Batches of all tasks, or a device's share of them.

    Args:
      network: tasks and context.
      config: the batch size and how tasks share it.
      axis: name of the mapped device axis; None for the whole batch.
      devices: the sizes of tasks' batches are multiples of it.

    Returns:
      draw(data, seed, step) -> `Batch`, with `data` a dict of data set name to training
      `DeviceSplit` of one network, `seed` a key and `step` int[].
    """

    def draw(data: Mapping[str, DeviceSplit], seed: Array, step: Array) -> Batch:
        device, parts = (0, 1) if axis is None else (jax.lax.axis_index(axis), devices)
        sizes = batch_sizes(label_counts(network, data), config, devices)
        samples, labels, weights, places, utterances, before = {}, {}, {}, {}, {}, 0
        for dataset in network.widths:
            split, chosen_rows, place, indices = data[dataset], [], [], []
            for task_id in network.tasks_of(dataset):
                index, name = network.task_index(task_id), network.tasks[task_id].name
                size, share = sizes[task_id], sizes[task_id] // parts
                most, lengths = split.rows[name].shape[0], split.lengths.get(name)
                count = split.counts.get(name, most)
                chosen = drawn_places(seed, index, step, size, count, lengths, most)
                chosen = jax.lax.dynamic_slice(chosen, (device * share,), (share,))
                chosen_rows.append(split.rows[name][chosen])
                place.append(before + device * share + jnp.arange(share))
                indices += [index] * share
                before += size
            rows, task_indices = jnp.concatenate(chosen_rows), np.array(indices, np.int32)
            context = network.context_of(dataset)

            def sample_of(row, task, split=split, context=context):
                return gather(split, row, task, *context)

            samples[dataset] = jax.vmap(sample_of)(rows, task_indices)
            places[dataset], utterances[dataset] = jnp.concatenate(place), rows
            for task_id in network.tasks_of(dataset):
                labels[task_id] = split.labels[network.tasks[task_id].name][rows]
                drawn = task_indices == network.task_index(task_id)
                weights[task_id] = jnp.asarray(drawn, jnp.float32)
        return Batch(samples, labels, weights, places, utterances)

    return draw
