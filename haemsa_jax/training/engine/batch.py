"""The batch of a training step, and how to make one of arrays of one's own."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from haemsa_jax.config import NetworkConfig, TaskSpec, dataset_of
from haemsa_jax.data import values
from haemsa_jax.errors import InputError
from haemsa_jax.sample import Sample
from haemsa_jax.tasks import kind_of

Array = jax.Array


@struct.dataclass
class Batch:
    """What one training step sees. All rows of a data set stand in one leading axis B.

    Attributes:
      samples: by data set, with a leading axis B; `task` says as which task each row is read.
      labels: by task id [B] or [B, C], in the rows of the task's data set.
      weights: by task id float[B]; 0 where a row has no label for the task or is not drawn for it,
        and then its label may hold anything. A task's loss is sum(weight * loss) / sum(weight).
      place: by data set int[B], a row's place in the whole batch, over data sets and devices; its
        random numbers are folded from it.
      utterance: by data set int[B]; rows of the same number are the same utterance, which the
        contrastive loss does not tell apart.
      longest: by data set and modality int[], the most tokens of any row, where known; only an
        encoder within the network asks for it.
    """

    samples: dict[str, Sample]
    labels: dict[str, Array]
    weights: dict[str, Array]
    place: dict[str, Array]
    utterance: dict[str, Array]
    longest: dict[str, dict[str, Array]] | None = None


def make_batch(
    network: NetworkConfig,
    *,
    samples: Mapping[str, Sample],
    labels: Mapping[str, np.ndarray],
    weights: Mapping[str, np.ndarray] | None = None,
    utterance: Mapping[str, np.ndarray] | None = None,
) -> Batch:
    """A batch of arrays of one's own; every row is read once for each task that has labels.

    Args:
      network: tasks and data sets.
      samples: by data set, features float[B, T_m, d_m], masks bool[B, T_m] and offsets int[B, T_m]
        by modality; their `task` is not looked at.
      labels: by task id float[B] (regression), int[B] (classification) or float[B, C] in {0, 1}
        (multilabel), in the rows of its data set.
      weights: by task id float[B], not negative; 1 where a task is not named.
      utterance: by data set int[B], as in `Batch`; by default all rows differ.

    Returns:
      The batch; with K tasks on a data set of B rows it has K B rows of it.

    Raises:
      InputError: a name is unknown, a shape does not fit, or a label that weighs something is none
        of its task.
    """
    weights, utterance = dict(weights or {}), dict(utterance or {})
    _check_names(network, samples, labels, weights, utterance)
    batch: dict[str, dict] = {name: {} for name in ("samples", "labels", "weights", "place")}
    numbers, first = {}, 0
    for dataset, rows in samples.items():
        count = _check_samples(network, dataset, rows)
        tasks = [task_id for task_id in network.tasks_of(dataset) if task_id in labels]
        for place, task_id in enumerate(tasks):
            task = network.tasks[task_id]
            given = weights.get(task_id, np.ones(count))
            weight = values.array_of_numbers(given, repr(task_id), "weights").astype(np.float32)
            label = values.array_of_numbers(labels[task_id], repr(task_id), "labels")
            _check_labels(task_id, task, label, weight, count)
            alone = np.arange(len(tasks)) == place
            batch["weights"][task_id] = jnp.asarray(np.concatenate(alone[:, None] * weight))
            batch["labels"][task_id] = jnp.concatenate([jnp.asarray(label)] * len(tasks))
        task_indices = np.repeat([network.task_index(task_id) for task_id in tasks], count)
        copies = [jax.tree.map(jnp.asarray, rows.replace(task=None))] * len(tasks)
        every = jax.tree.map(lambda *x: jnp.concatenate(x), *copies)
        batch["samples"][dataset] = every.replace(task=jnp.asarray(task_indices, jnp.int32))
        batch["place"][dataset] = first + jnp.arange(len(task_indices))
        same = np.asarray(utterance.get(dataset, np.arange(count)))
        numbers[dataset] = jnp.asarray(np.tile(same, len(tasks)), jnp.int32)
        first += len(task_indices)
    return Batch(**batch, utterance=numbers)


def _check_names(network: NetworkConfig, samples, labels, weights, utterance) -> None:
    for what, names in (("samples", samples), ("utterance", utterance)):
        for dataset in names:
            if dataset not in network.widths:
                raise InputError(
                    f"{what} of {dataset!r}: the network's data sets are "
                    f"{', '.join(network.widths)}"
                )
    for what, names in (("labels", labels), ("weights", weights)):
        for task_id in names:
            if task_id not in network.tasks or dataset_of(task_id) not in samples:
                raise InputError(
                    f"{what} of {task_id!r}: expected a task of the network on a data set with "
                    f"samples; the tasks are {', '.join(network.tasks)}, samples are of "
                    f"{', '.join(samples)}"
                )
    for dataset in samples:
        if not any(task_id in labels for task_id in network.tasks_of(dataset)):
            raise InputError(
                f"samples of {dataset!r} without labels: give those of at least one of "
                f"{', '.join(network.tasks_of(dataset))}"
            )


def _check_samples(network: NetworkConfig, dataset: str, rows: Sample) -> int:
    """How many there are."""
    count = len(next(iter(rows.masks.values()))) if rows.masks else 0
    for modality, width in network.widths[dataset].items():
        arrays: list[Any] = [x.get(modality) for x in (rows.features, rows.masks, rows.offsets)]
        shapes = [np.shape(array) for array in arrays]
        tokens = shapes[1][-1] if len(shapes[1]) == 2 else 0
        wanted = [(count, tokens, width), (count, tokens), (count, tokens)]
        if shapes != wanted or not count:
            raise InputError(
                f"samples of {dataset!r}: {modality} has features, mask and offsets of shapes "
                f"{', '.join(map(str, shapes))}; expected (B, T, {width}), (B, T) and (B, T) with "
                "the same B of all modalities"
            )
        if np.asarray(arrays[1]).dtype != bool:
            raise InputError(
                f"samples of {dataset!r}: the mask of {modality} has type {arrays[1].dtype}; "
                "expected bool, as .astype(bool) makes it"
            )
    return count


def _check_labels(
    task_id: str, task: TaskSpec, label: np.ndarray, weight: np.ndarray, count: int
) -> None:
    expected = (count, *task.label_shape)
    if label.shape != expected or weight.shape != (count,):
        raise InputError(
            f"labels of {task_id!r} have shape {label.shape}, weights {weight.shape}; expected "
            f"{expected} and ({count},)"
        )
    if not (np.isfinite(weight).all() and (weight >= 0).all()):
        raise InputError(f"weights of {task_id!r} must be finite and not negative")
    valid, rule = kind_of(task.kind).valid_batch_labels(task, label[weight > 0])
    if not valid.all():
        raise InputError(
            f"labels of {task_id!r} must be {rule} wherever their weight is above 0; set the "
            "weight to 0 where there is no label"
        )
