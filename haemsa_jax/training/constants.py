"""Constants: what the network takes from the training split alone and carries in its checkpoint.

Feature means and deviations for the stems, label means and deviations or class log-odds for the
heads. The tree is that of the network's `constants` collection.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from haemsa_jax.config import NetworkConfig, TaskSpec, dataset_of, head_name, stem_name
from haemsa_jax.data.dataset import Dataset, Split
from haemsa_jax.models.encoder import split_adapters
from haemsa_jax.models.haemsa import ENCODER


def begin_with(
    network: NetworkConfig, datasets: dict[str, Dataset], given: Mapping[str, Any]
) -> tuple[dict, dict]:
    """First weights as those that are trained and those that stay.

    Args:
      network: the network.
      datasets: that it is trained on.
      given: first weights, among them a pretrained `encoder` where one is within the network.

    Returns:
      Of the weights that were given those that are trained, and the constants; of an adapted
      encoder its own weights are constants.
    """
    constants, given = make_constants(network, datasets), dict(given)
    if network.adapts:
        adapters, constants[ENCODER] = split_adapters(given.pop(ENCODER))
        given |= {ENCODER: adapters} if adapters else {}
    return given, constants


def make_constants(network: NetworkConfig, datasets: dict[str, Dataset]) -> dict:
    """Constants of a network from the training splits of its data sets."""
    constants = {}
    for name in network.widths:
        split = datasets[name].splits["train"]
        for modality in network.stems_of(name):
            if modality == "text" and network.encodes(name):
                found = _plain(network.text.shapes.width)
            else:
                found = _feature_constants(split, modality)
            constants[stem_name(name, modality)] = found
    for task_id, task in network.tasks.items():
        split = datasets[dataset_of(task_id)].splits["train"]
        head = _label_constants(task, split)
        constants[head_name(task_id)] = head
        for modality in network.built.modalities[task_id]:
            constants[head_name(task_id, modality)] = head
    return constants


def _feature_constants(split: Split, modality: str) -> dict[str, np.ndarray]:
    """Mean and standard deviation of each feature over the training tokens that are there."""
    tokens = split.features[modality][split.masks[modality]].astype(np.float64)
    if not len(tokens):
        return _plain(split.features[modality].shape[-1])
    std = tokens.std(axis=0)
    # A feature that never varies carries nothing: dividing by 1 leaves it at exactly zero.
    std = np.where(std > 1e-8 * np.maximum(1.0, np.abs(tokens).max(axis=0)), std, 1.0)
    return {"mean": tokens.mean(axis=0).astype(np.float32), "std": std.astype(np.float32)}


def _plain(width: int) -> dict[str, np.ndarray]:
    """Constants that change nothing."""
    return {"mean": np.zeros(width, np.float32), "std": np.ones(width, np.float32)}


def _label_constants(task: TaskSpec, split: Split) -> dict[str, np.ndarray]:
    """Offset and scale of a head, from the labelled training samples."""
    labels = split.labels[task.name][split.labelled[task.name]]
    scale = np.ones(task.outputs, np.float32)
    if task.kind == "regression":
        labels = labels.astype(np.float64)
        spread = labels.std()
        scale[:] = spread if spread > 0 else 1.0
        return {"offset": np.full(1, labels.mean(), np.float32), "scale": scale}
    # One more of each class: an unseen class must not have infinite log-odds.
    if task.kind == "classification":
        counts = np.bincount(labels, minlength=task.outputs) + 1.0
        return {"offset": np.log(counts / counts.sum()).astype(np.float32), "scale": scale}
    share = (labels.sum(axis=0) + 1.0) / (len(labels) + 2.0)
    return {"offset": np.log(share / (1.0 - share)).astype(np.float32), "scale": scale}
