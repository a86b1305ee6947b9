"""Partial modality: what of a split gets lost, by one of three protocols of the field.

- `patterns`: of all samples everything but some modalities.
- `utterance`: each modality of each utterance with a rate, one always staying (GCNet, Lian et al.
  2023, arXiv 2203.02177).
- `frame`: each token with a rate, one always staying (TFR-Net, Yuan et al. 2021; LNLN, Zhang et al.
  2024, arXiv 2409.20012). Where a modality has one vector an utterance, groups of its columns are
  lost instead, and read as their training mean.

All work on a split before anybody reads it, so that networks and yardsticks meet the same losses;
what is lost at a rate is lost at every higher one.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from haemsa_jax.config.train import missing_of
from haemsa_jax.data.dataset import Dataset, Split

RATES = {
    "utterance": tuple(round(0.1 * n, 1) for n in range(8)),
    "frame": tuple(round(0.1 * n, 1) for n in range(10)),
}
PROTOCOLS = ("patterns", *RATES)
GROUPS = 16  # of columns


def subsets(modalities: Sequence[str]) -> list[tuple[str, ...]]:
    """All presence patterns but the empty one: all of `modalities` first, each alone last."""
    sizes = range(len(modalities), 0, -1)
    return [p for size in sizes for p in itertools.combinations(modalities, size)]


def keep_modalities(split: Split, pattern: Sequence[str]) -> Split:
    """The split with only the modalities of a pattern."""
    masks = {m: mask & (m in pattern) for m, mask in split.masks.items()}
    return dataclasses.replace(split, masks=masks)


def drop_utterances(split: Split, rate: float, seed: int) -> Split:
    """Each present modality of each utterance is lost with a probability; one stays.

    Args:
      split: N utterances.
      rate: the probability.
      seed: of the draw, in which nothing else takes part.
    """
    names = list(split.masks)
    present = np.stack([split.presence[m] for m in names], axis=1)
    draw = np.random.default_rng(seed).random(present.shape)
    draw[~present] = -1.0
    stays = (draw >= rate) | (np.arange(len(names)) == draw.argmax(axis=1)[:, None])
    masks = {m: split.masks[m] & stays[:, k, None] for k, m in enumerate(names)}
    return dataclasses.replace(split, masks=masks)


def drop_frames(split: Split, rate: float, seed: int, means: Mapping[str, np.ndarray]) -> Split:
    """Each token is lost with a probability, of modalities with one token its groups of columns.

    Args:
      split: N utterances. At least one token of each stays.
      rate: the probability.
      seed: of the draw.
      means: per modality float[d], what lost columns are read as (`column_means`).
    """
    draws = {
        m: np.where(mask, np.random.default_rng([seed, k]).random(mask.shape), -1.0)
        for k, (m, mask) in enumerate(split.masks.items())
    }
    frames = {m: mask.shape[1] > 1 for m, mask in split.masks.items()}
    highest = np.max([draw.max(axis=1) for draw in draws.values()], axis=0)[:, None]
    masks, features = dict(split.masks), dict(split.features)
    for place, (modality, draw) in enumerate(draws.items()):
        if frames[modality]:
            masks[modality] = split.masks[modality] & ((draw >= rate) | (draw == highest))
            continue
        values = features[modality]
        groups = np.arange(values.shape[-1]) * GROUPS // values.shape[-1]
        lost = np.random.default_rng([seed, place, 1]).random((len(split), GROUPS)) < rate
        mean = means[modality].astype(values.dtype)
        features[modality] = np.where(lost[:, None, groups], mean, values)
    return dataclasses.replace(split, masks=masks, features=features)


def incomplete(datasets: Mapping[str, Dataset], train_missing: str) -> dict[str, Dataset]:
    """Data sets whose split `train` has lost modalities for good.

    Nobody sees what is lost: neither networks and their normalisation nor baselines. Splits that
    judge stay whole.

    Args:
      datasets: by name; without a split `train` nothing is lost.
      train_missing: as in `TrainConfig`.
    """
    asked = missing_of(train_missing)
    if asked is None:
        return dict(datasets)
    protocol, rate, seed = asked
    lossy = {}
    for name, dataset in datasets.items():
        splits = dict(dataset.splits)
        if train := splits.get("train"):
            if protocol == "utterance":
                splits["train"] = drop_utterances(train, rate, seed)
            else:
                splits["train"] = drop_frames(train, rate, seed, column_means(train))
        lossy[name] = dataclasses.replace(dataset, splits=splits)
    return lossy


def lost_tokens(
    whole: Mapping[str, Dataset], lossy: Mapping[str, Dataset]
) -> dict[str, dict[str, float]]:
    """By data set and modality the share of training tokens that were lost.

    Args:
      whole: the data sets.
      lossy: the same, as `incomplete` leaves them.
    """
    shares: dict[str, dict[str, float]] = {}
    for name, dataset in whole.items():
        after = lossy[name].splits["train"]
        shares[name] = {
            m: 1.0 - float(after.masks[m].sum()) / max(1, mask.sum())
            for m, mask in dataset.splits["train"].masks.items()
        }
    return shares


def column_means(train: Split) -> dict[str, np.ndarray]:
    """Per modality float64[d], the mean over the training tokens that are there."""
    return {
        m: np.asarray(values.mean(axis=(0, 1), dtype=np.float64, where=train.masks[m][..., None]))
        if train.masks[m].any()
        else np.zeros(values.shape[-1])
        for m, values in train.features.items()
    }


def area_under_rates(rates: Sequence[float], values: Sequence[float]) -> float:
    """AUILC: the integral of a metric over the missing rate, by trapezoids.

    With rates from 0 to 1 in steps of .1 it is the sum of (m_i + m_i+1) / 2 * .1 of TFR-Net.
    """
    return float(np.trapezoid(values, rates))
