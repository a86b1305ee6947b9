"""Validation: metrics and one score of every member on a split, as the training loop asks."""

from collections.abc import Callable, Mapping

import jax
import numpy as np

from haemsa_jax.config import NetworkConfig, dataset_of
from haemsa_jax.data.dataset import Dataset, splits_of
from haemsa_jax.tasks import kind_of
from haemsa_jax.training.engine.streaming import RESIDENT, host_splits, on_split
from haemsa_jax.training.measurement.prediction import EVALUATION_BATCH, make_predict
from haemsa_jax.training.measurement.scoring import label_reference, measure, probabilities


def make_validate(
    network: NetworkConfig,
    datasets: Mapping[str, Dataset],
    split: str,
    devices: list[jax.Device],
    resident: int = RESIDENT,
) -> Callable[..., tuple[dict[str, list[float]], list[float]]]:
    """validate(params, constants, structures) -> metrics by `task/metric`, and scores, by seed.

    A score is the mean over tasks of `TaskKind.score`; 1 is perfect.
    """
    splits = splits_of(datasets, split)
    everywhere = make_predict(network, EVALUATION_BATCH, devices)
    predict = {
        name: on_split(everywhere, network, rows, name, devices, resident)
        for name, rows in host_splits(network, splits).items()
    }
    references = {task_id: label_reference(network, datasets, task_id) for task_id in network.tasks}

    def validate(params, constants, structures):
        measured, scores = {}, []
        for task_id, task in network.tasks.items():
            dataset = dataset_of(task_id)
            rows = np.flatnonzero(splits[dataset].labelled[task.name])
            outputs = predict[dataset](params, constants, structures, task_id, rows)["prediction"]
            truth = splits[dataset].labels[task.name][rows]
            values = [measure(task, probabilities(task, member), truth) for member in outputs]
            for name in task.metrics:
                measured[f"{task_id}/{name}"] = [member[name] for member in values]
            score = kind_of(task.kind).score
            scores.append([score(task, member, references[task_id]) for member in values])
        return measured, np.mean(scores, axis=0).tolist()

    return validate
