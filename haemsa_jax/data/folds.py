"""Folds: shares of the groups of a data set, each held out from one network.

All groups (people, videos, dialogues) that are not test are divided into K shares of about as many
samples. K networks are trained, each without one share, and each is judged on the share that it has
not seen; together every group judges, and the K networks are one predictor, a bag.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from haemsa_jax.config import NetworkConfig
from haemsa_jax.data.batches import DeviceSplit, device_split
from haemsa_jax.data.dataset import Dataset, Split, splits_of
from haemsa_jax.data.missing import incomplete, lost_shares
from haemsa_jax.errors import InputError


@dataclass(frozen=True)
class Partition:
    """Which samples of the data sets train, and which judge, for each of K networks.

    Attributes:
      folds: K; 0 where one network trains on the split `train` and `validation` judges.
      training: by data set the rows from which networks train.
      held_out: by data set the rows that judge; with folds the same as `training`.
      fold: by data set int[N], the network that does not train on a row of `training`, but is
        judged by it; empty without folds.
      lost: by data set and modality the share of training values that `train_missing` took away.
    """

    folds: int
    training: Mapping[str, Split]
    held_out: Mapping[str, Split]
    fold: Mapping[str, np.ndarray]
    lost: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def networks(self) -> int:
        """How many networks there are, max(1, K)."""
        return max(1, self.folds)

    def trains(self, dataset: str, network: int) -> np.ndarray:
        """bool[N], the rows of `training` that one of the networks trains on."""
        if not self.folds:
            return np.ones(len(self.training[dataset]), bool)
        return self.fold[dataset] != network

    def judges(self, dataset: str, network: int) -> np.ndarray:
        """bool[N], the rows of `held_out` on which one of the networks is judged."""
        if not self.folds:
            return np.ones(len(self.held_out[dataset]), bool)
        return self.fold[dataset] == network

    def device_splits(
        self, network: NetworkConfig
    ) -> tuple[dict[str, DeviceSplit], dict[str, DeviceSplit]]:
        """`training` and `held_out` as arrays on the host, `of_fold` of which is a network's own.

        Args:
          network: tasks, context and what its encoders within read.
        """
        training, held_out = {}, {}
        for name in network.widths:
            window, encoded = network.context_of(name), network.encoded(name)
            if not self.folds:
                training[name] = device_split(self.training[name], window, encoded)
                held_out[name] = device_split(self.held_out[name], window, encoded)
                continue
            whole = device_split(self.training[name], window, encoded)
            training[name] = _by_fold(whole, [self.trains(name, k) for k in range(self.folds)])
            held_out[name] = _by_fold(whole, [self.judges(name, k) for k in range(self.folds)])
        return training, held_out


def make_partition(
    datasets: Mapping[str, Dataset], folds: int = 0, train_missing: str = ""
) -> Partition:
    """The partition of data sets with the splits `train` and `validation`.

    The folds depend on the data and K alone, so that runs are compared on the same ones.

    Args:
      datasets: by name.
      folds: K; 0 keeps the two splits as they are.
      train_missing: what the split `train` loses before, as in `TrainConfig`.

    Raises:
      InputError: a data set has fewer groups than folds, or a task no label to train on, or to be
        judged by, in one of them.
    """
    whole, datasets = datasets, incomplete(datasets, train_missing)
    lost = lost_shares(whole, datasets) if train_missing else {}
    training, validation = splits_of(datasets, "train"), splits_of(datasets, "validation")
    if not folds:
        return Partition(0, training, validation, {}, lost)
    if folds < 2:
        raise InputError(f"folds={folds}: give 2 or more, or 0 for the splits as they are")
    development = {name: joined(training[name], validation[name]) for name in datasets}
    fold = {name: assign(name, split, folds) for name, split in development.items()}
    for name, split in development.items():
        for task, labelled in split.labelled.items():
            for number in range(folds):
                for held in (True, False):
                    if not (labelled & ((fold[name] == number) == held)).any():
                        raise InputError(
                            f"folds={folds}: {name} has no label for task {task!r} "
                            f"{'in' if held else 'outside of'} fold {number + 1}; use fewer folds"
                        )
    return Partition(folds, development, development, fold, lost)


def assign(name: str, split: Split, folds: int) -> np.ndarray:
    """int[N]: the fold of every row, whole groups together, about as many samples in each.

    Raises:
      InputError: there are fewer groups than folds.
    """
    labelled = np.any([rows for rows in split.labelled.values()], axis=0)
    groups, place = np.unique(split.group, return_inverse=True)
    if len(groups) < folds:
        raise InputError(
            f"folds={folds}: {name} has {len(groups)} groups (people, videos, dialogues) outside "
            f"the test split; use at most {len(groups)} folds, or 0 for none"
        )
    sizes = np.bincount(place, weights=labelled)
    # The largest first, each to the fold with the fewest samples so far; equals in random order.
    shuffled = np.random.default_rng(0).permutation(len(groups))
    filled, chosen = np.zeros(folds), np.zeros(len(groups), np.int32)
    count = np.zeros(folds, int)
    for group in shuffled[np.argsort(-sizes[shuffled], kind="stable")]:
        fold = min(range(folds), key=lambda k: (filled[k], count[k]))
        chosen[group] = fold
        filled[fold] += sizes[group]
        count[fold] += 1
    return chosen[place]


def joined(first: Split, second: Split) -> Split:
    """The rows of two splits of one data set; groups of the second are others than the first's."""
    lengths = {m: max(first.masks[m].shape[1], second.masks[m].shape[1]) for m in first.masks}

    def both(of: str, modality: str) -> np.ndarray:
        arrays = [getattr(split, of)[modality] for split in (first, second)]
        return np.concatenate([_longer(array, lengths[modality]) for array in arrays])

    groups = [np.unique(split.group, return_inverse=True)[1] for split in (first, second)]
    return Split(
        features={m: both("features", m) for m in lengths},
        masks={m: both("masks", m) for m in lengths},
        labels={n: np.concatenate([x, second.labels[n]]) for n, x in first.labels.items()},
        labelled={n: np.concatenate([x, second.labelled[n]]) for n, x in first.labelled.items()},
        group=np.concatenate([groups[0], groups[0].max() + 1 + groups[1]]).astype(np.int32),
        ids=(*first.ids, *second.ids),
        words=_texts(first, second, "words"),
        speakers=_texts(first, second, "speakers"),
    )


def _longer(array: np.ndarray, tokens: int) -> np.ndarray:
    return np.pad(array, [(0, 0), (0, tokens - array.shape[1]), *[(0, 0)] * (array.ndim - 2)])


def _texts(first: Split, second: Split, name: str) -> tuple[str, ...]:
    known = [getattr(split, name) or [""] * len(split) for split in (first, second)]
    return (*known[0], *known[1]) if any(getattr(s, name) for s in (first, second)) else ()


def _by_fold(split: DeviceSplit, keep: Sequence[np.ndarray]) -> DeviceSplit:
    """Of each task's rows those kept, int[K, n]; what is short of n repeats its first row."""
    rows: dict[str, np.ndarray] = {}
    counts: dict[str, np.ndarray] = {}
    lengths: dict[str, np.ndarray] = {}
    for name, every in split.rows.items():
        chosen = [np.flatnonzero(kept[every]) for kept in keep]
        counts[name] = np.array([len(places) for places in chosen], np.int32)
        full = max(map(len, chosen))
        every = np.asarray(every)
        places = np.stack([np.pad(x, (0, full - len(x)), constant_values=x[0]) for x in chosen])
        rows[name] = every[places]
        if name in split.lengths:
            lengths[name] = np.asarray(split.lengths[name])[places]
    return dataclasses.replace(split, rows=rows, counts=counts, lengths=lengths)
