"""Evaluation: what selected networks say on a split, read once, and what their gates do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jax
import numpy as np

from haemsa_jax.config import NetworkConfig, TaskSpec, dataset_of
from haemsa_jax.data.batches import device_split
from haemsa_jax.data.dataset import Dataset
from haemsa_jax.errors import InputError
from haemsa_jax.training import parallel
from haemsa_jax.training.checkpoint import Trained
from haemsa_jax.training.loop import EVALUATION_BATCH, measure, probabilities


@dataclass(frozen=True)
class TaskEvaluation:
    """One task on one split, over S seeds.

    Attributes:
      spec: the task.
      ids: names of the N labelled samples.
      truth: labels, [N] or [N, C].
      predictions: float64[S, N] in label units, or [S, N, C] probabilities.
      metrics: per metric one value a seed.
      gates: mean weights over seeds and samples: `local` [M, L, E], `links` [M, M], `fusion` [F].
    """

    spec: TaskSpec
    ids: Sequence[str]
    truth: np.ndarray
    predictions: np.ndarray
    metrics: Mapping[str, list[float]]
    gates: Mapping[str, np.ndarray]


def evaluate(
    trained: Trained,
    datasets: Mapping[str, Dataset],
    split: str = "test",
    devices: list[jax.Device] | None = None,
) -> dict[str, TaskEvaluation]:
    """All tasks of the networks of one run.

    Raises:
      InputError: the data's modalities or tasks are not those the networks were trained on.
    """
    network = trained.experiment.network
    devices = devices or jax.local_devices()
    check_data(network, datasets)
    predict = parallel.make_predict(network, EVALUATION_BATCH, devices)
    splits = {name: dataset.splits[split] for name, dataset in datasets.items()}
    resident = parallel.replicate({n: device_split(s) for n, s in splits.items()}, devices)
    arrays = [trained.params, trained.constants, trained.architectures]
    placed = parallel.replicate(arrays, devices)
    evaluated = {}
    for task_id, task in network.tasks.items():
        name = dataset_of(task_id)
        evaluated[task_id] = _evaluate_task(
            task_id, task, placed, predict, resident[name], splits[name]
        )
    return evaluated


def _evaluate_task(task_id, task, placed, predict, resident, split) -> TaskEvaluation:
    rows = np.flatnonzero(split.labelled[task.name])
    truth = split.labels[task.name][rows]
    said = predict(*placed, resident, task_id, rows)
    measured = [measure(task, outputs, truth) for outputs in said["prediction"]]
    return TaskEvaluation(
        spec=task,
        ids=[split.ids[row] for row in rows],
        truth=truth,
        predictions=np.stack([probabilities(task, outputs) for outputs in said["prediction"]]),
        metrics={name: [values[name] for values in measured] for name in task.metrics},
        gates={level: said[level].mean(axis=(0, 1)) for level in ("local", "links", "fusion")},
    )


def check_data(network: NetworkConfig, datasets: Mapping[str, Dataset]) -> None:
    """A network reads only data of the widths and classes that it was trained on."""
    for name, widths in network.widths.items():
        if dict(datasets[name].widths) != dict(widths):
            raise InputError(
                f"{name}: the features are {dict(datasets[name].widths)} wide, the network was "
                f"trained on {dict(widths)}; prepare the data set it was trained on"
            )
    for task_id, task in network.tasks.items():
        there = datasets[dataset_of(task_id)].tasks.get(task.name)
        if there is None or (there.kind, there.classes) != (task.kind, task.classes):
            raise InputError(
                f"{task_id}: the network was trained on {task}, the data set has {there}; prepare "
                "the data set it was trained on"
            )
