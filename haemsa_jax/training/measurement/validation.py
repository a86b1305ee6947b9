"""Validation: metrics and one score of every seed on what its networks have not seen."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from haemsa_jax.config import NetworkConfig, dataset_of
from haemsa_jax.data.folds import Partition
from haemsa_jax.models import constants_at
from haemsa_jax.tasks import kind_of
from haemsa_jax.training.engine.streaming import RESIDENT, host_splits, on_split
from haemsa_jax.training.measurement.prediction import EVALUATION_BATCH, make_predict
from haemsa_jax.training.measurement.scoring import label_reference, measure, probabilities


def make_validate(
    network: NetworkConfig,
    partition: Partition,
    devices: list[jax.Device],
    resident: int = RESIDENT,
) -> Callable[..., tuple[dict[str, list[float]], list[float]]]:
    """validate(params, constants, structures) -> metrics by `task/metric`, and scores, by seed.

    A score is the mean over tasks of `TaskKind.score`; 1 is perfect. With folds each sample is
    judged as the network of its fold predicts it, and the metrics are of all samples together.
    """
    predict = make_predict_held_out(network, partition, devices, resident)
    references = {t: label_reference(network, partition.training, t) for t in network.tasks}

    def validate(params, constants, structures):
        measured, scores = {}, []
        for task_id, task in network.tasks.items():
            rows, outputs = predict(params, constants, structures, task_id)
            truth = partition.held_out[dataset_of(task_id)].labels[task.name][rows]
            values = [measure(task, probabilities(task, logits), truth) for logits in outputs]
            for name in task.metrics:
                measured[f"{task_id}/{name}"] = [member[name] for member in values]
            score = kind_of(task.kind).score
            scores.append([score(task, member, references[task_id]) for member in values])
        return measured, np.mean(scores, axis=0).tolist()

    return validate


def make_predict_held_out(
    network: NetworkConfig,
    partition: Partition,
    devices: list[jax.Device],
    resident: int = RESIDENT,
) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """Predictions of samples that the predicting network has not seen.

    Returns:
      predict(params, constants, structures, task_id) -> rows int[n] of the data set's `held_out`
      that are labelled, and raw outputs float[S, n, C]. The arguments are of S seeds of K networks,
      with a leading axis S K, the networks of a seed next to each other.
    """
    everywhere = make_predict(network, EVALUATION_BATCH, devices)
    of_dataset = {
        name: on_split(everywhere, network, split, name, devices, resident)
        for name, split in host_splits(network, partition.held_out).items()
    }
    count = partition.networks

    def predict(params, constants, structures, task_id):
        name, task = dataset_of(task_id), network.tasks[task_id].name
        labelled = partition.held_out[name].labelled[task]
        each = [np.flatnonzero(labelled & partition.judges(name, k)) for k in range(count)]
        most, outputs = max(map(len, each)), []
        for fold, rows in enumerate(each):
            own = params, constants, structures
            if count > 1:
                own = _of_fold(own, np.int32(fold), count)
            # As many of every fold, so that one program predicts them all.
            padded = np.pad(rows, (0, most - len(rows)), mode="edge")
            predicted = of_dataset[name](*own, task_id, padded)["prediction"]
            outputs.append(predicted[:, : len(rows)])
        order = np.argsort(np.concatenate(each), kind="stable")
        return np.concatenate(each)[order], np.concatenate(outputs, axis=1)[:, order]

    return predict


@jax.jit(static_argnums=2)
def _of_fold(networks: Any, fold: jax.Array, count: int) -> Any:
    """Of the networks of all seeds, [S K, ...], those of one fold, [S, ...]."""
    params, constants, structures = networks
    seeds = jax.tree.leaves(structures)[0].shape[0] // count
    places = jax.numpy.arange(seeds) * count + fold
    own = jax.tree.map(lambda x: x[places], (params, structures))
    return own[0], constants_at(constants, places), own[1]
