"""From raw outputs to what people read, and to metrics."""

from collections.abc import Mapping

import numpy as np

from haemsa_jax.config import NetworkConfig, TaskSpec, dataset_of
from haemsa_jax.data.dataset import Split
from haemsa_jax.tasks import kind_of, metrics


def probabilities(task: TaskSpec, outputs: np.ndarray) -> np.ndarray:
    """Raw outputs float[n, C] as a person reads them, in float64.

    Label units float64[n] for a regression, mostly probabilities float64[n, C] otherwise.
    """
    return kind_of(task.kind).readable(task, outputs.astype(np.float64))


def measure(task: TaskSpec, predictions: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Metrics of what `probabilities` returns, in float64."""
    values = metrics.compute(task, predictions, labels, np.ones(len(labels), bool))
    return {name: float(value) for name, value in values.items()}


def label_reference(network: NetworkConfig, splits: Mapping[str, Split], task_id: str) -> float:
    """`TaskKind.reference` on the labels of what is trained on, by data set."""
    task = network.tasks[task_id]
    split = splits[dataset_of(task_id)]
    labels = split.labels[task.name][split.labelled[task.name]]
    return kind_of(task.kind).reference(task, labels)


def score_in_words(network: NetworkConfig) -> str:
    """What the score is that selects, and which direction is better."""
    each = []
    for task in network.tasks.values():
        metric = metrics.metric_of(task.primary)
        name, constant = metric.display, kind_of(task.kind).constant_name
        compared = f"1 - {name} / {name} of the {constant} of the training labels"
        each.append(name if metric.higher_is_better else compared)
    mean = "mean over tasks of " if len(each) > 1 else ""
    return f"{mean}{' and '.join(dict.fromkeys(each))}; higher is better, 1 is perfect"
