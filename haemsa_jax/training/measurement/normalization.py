"""Normalization: what the network takes from the training split alone and keeps as constants.

Feature means and deviations for the stems, label means and deviations or class log-odds for the
heads. The tree is that of the network's `constants` collection.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from haemsa_jax.config import NetworkConfig, dataset_of, encoder_name, head_name, stem_name
from haemsa_jax.config.checks import require
from haemsa_jax.data.dataset import Dataset, Split, splits_of
from haemsa_jax.data.folds import Partition
from haemsa_jax.encoders.interface import parted
from haemsa_jax.tasks import kind_of

CHUNK = 1 << 20  # numbers that are copied at a time


def begin_with(
    network: NetworkConfig, partition: Partition, given: Mapping[str, Any]
) -> tuple[dict, dict]:
    """First weights as those that are trained and those that stay.

    Args:
      network: the network.
      partition: what each of K networks is trained on.
      given: first weights, among them those of pretrained encoders within the network, by
        `encoder_name`.

    Returns:
      Of the weights that were given those that are trained, and the constants, with a leading axis
      K; of an adapted encoder its own weights are constants too, once for all networks.
    """
    for modality in network.encoded():
        require(
            not network.adapts(modality) or encoder_name(modality) in given,
            f"the {modality} encoder's weights are missing among the first weights; give them as "
            f"{encoder_name(modality)!r}",
        )
    trained, fixed = parted(network, given)
    each = [
        constants_of(
            network,
            partition.training,
            {name: partition.trains(name, number) for name in network.widths},
        )
        for number in range(partition.networks)
    ]
    return trained, {**jax.tree.map(lambda *x: np.stack(x), *each), **fixed}


def make_constants(network: NetworkConfig, datasets: Mapping[str, Dataset]) -> dict:
    """Constants of a network from the training splits of its data sets."""
    splits = splits_of({name: datasets[name] for name in network.widths}, "train")
    return constants_of(network, splits, {n: np.ones(len(s), bool) for n, s in splits.items()})


def constants_of(
    network: NetworkConfig, splits: Mapping[str, Split], rows: Mapping[str, np.ndarray]
) -> dict:
    """Constants of a network.

    Args:
      network: the network.
      splits: by data set.
      rows: by data set bool[N], those that it is trained on.
    """
    constants = {}
    for name in network.widths:
        split = splits[name]
        for modality in network.stems_of(name):
            if network.encodes(name, modality):
                statistics = _plain(network.width_of(name, modality))
            else:
                statistics = _feature_constants(split, modality, rows[name])
            constants[stem_name(name, modality)] = statistics
    for task_id, task in network.tasks.items():
        split, own = splits[dataset_of(task_id)], rows[dataset_of(task_id)]
        labels = split.labels[task.name][split.labelled[task.name] & own]
        head = kind_of(task.kind).head_statistics(task, labels)
        constants[head_name(task_id)] = head
        for modality in network.reads(task_id):
            constants[head_name(task_id, modality)] = head
    return constants


def _feature_constants(split: Split, modality: str, own: np.ndarray) -> dict[str, np.ndarray]:
    """Mean and standard deviation of each feature over the tokens of its `own` rows, bool[N]."""
    values, masks = split.features[modality], split.masks[modality]
    moments = Moments.of_nothing(values.shape[-1])
    rows = max(1, CHUNK // max(1, values[0].size))
    for start in range(0, len(values), rows):
        piece = slice(start, start + rows)
        kept = masks[piece] & own[piece, None]
        moments = moments.joined(values[piece][kept].astype(np.float64))
    if not moments.count:
        return _plain(values.shape[-1])
    std = np.sqrt(moments.squares / moments.count)
    # A feature that never varies carries nothing: dividing by 1 leaves it at exactly zero.
    std = np.where(std > 1e-8 * np.maximum(1.0, moments.largest), std, 1.0)
    return {"mean": moments.mean.astype(np.float32), "std": std.astype(np.float32)}


@dataclass(frozen=True)
class Moments:
    """Of the tokens seen so far, per feature float64[d].

    Attributes:
      count: tokens.
      mean: of them.
      squares: sum of squared differences from the mean.
      largest: largest absolute value.
    """

    count: int
    mean: np.ndarray
    squares: np.ndarray
    largest: np.ndarray

    @classmethod
    def of_nothing(cls, width: int) -> "Moments":
        """Before any token."""
        return cls(0, np.zeros(width), np.zeros(width), np.zeros(width))

    def joined(self, tokens: np.ndarray) -> "Moments":
        """With more tokens float64[n, d] (Chan, Golub and LeVeque 1983, equations 1.5)."""
        if not len(tokens):
            return self
        count, mean = self.count + len(tokens), tokens.mean(axis=0)
        delta, share = mean - self.mean, len(tokens) / count
        squares = ((tokens - mean) ** 2).sum(axis=0) + delta**2 * self.count * share
        largest = np.maximum(self.largest, np.abs(tokens).max(axis=0))
        return Moments(count, self.mean + delta * share, self.squares + squares, largest)


def _plain(width: int) -> dict[str, np.ndarray]:
    """Constants that change nothing."""
    return {"mean": np.zeros(width, np.float32), "std": np.ones(width, np.float32)}
