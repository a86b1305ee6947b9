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

from haemsa_jax.config.train import RATE_PROTOCOLS, missing_of
from haemsa_jax.data.dataset import Dataset, Split

RATES = {
    protocol: tuple(round(0.1 * n, 1) for n in range(count))
    for protocol, count in zip(RATE_PROTOCOLS, (8, 10), strict=True)
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

    Nobody sees what is lost: neither networks and their normalisation nor baselines. The splits
    validation and test stay whole; where folds judge by samples of `train`, these have lost what
    they have lost.

    Args:
      datasets: by name; without a split `train` nothing is lost.
      train_missing: as in `TrainConfig`.
    """
    losses = missing_of(train_missing)
    if losses is None:
        return dict(datasets)
    protocol, rate, seed = losses
    lossy = {}
    for name, dataset in datasets.items():
        splits = dict(dataset.splits)
        if train := splits.get("train"):
            if protocol == "utterance":
                splits["train"] = drop_utterances(train, rate, seed)
            else:
                splits["train"] = drop_frames(train, rate, seed, _kept_means(train, rate, seed))
        lossy[name] = dataclasses.replace(dataset, splits=splits)
    return lossy


def _kept_means(train: Split, rate: float, seed: int) -> dict[str, np.ndarray]:
    """`column_means` over what is not lost."""
    nothing = {m: np.full(x.shape[-1], np.nan) for m, x in train.features.items()}
    means = {}
    for modality, values in drop_frames(train, rate, seed, nothing).features.items():
        known = train.masks[modality][..., None] & np.isfinite(values)
        total = values.sum(axis=(0, 1), dtype=np.float64, where=known)
        means[modality] = total / np.maximum(1, known.sum(axis=(0, 1)))
    return means


def lost_shares(
    whole: Mapping[str, Dataset], lossy: Mapping[str, Dataset]
) -> dict[str, dict[str, float]]:
    """By data set and modality the share of training values that were lost.

    Args:
      whole: the data sets.
      lossy: the same, as `incomplete` leaves them.
    """
    return {
        name: {
            m: _lost_share(dataset.splits["train"], lossy[name].splits["train"], m)
            for m in dataset.splits["train"].masks
        }
        for name, dataset in whole.items()
    }


def _lost_share(before: Split, after: Split, modality: str) -> float:
    there, kept = before.masks[modality], after.masks[modality]
    if there.shape[1] > 1:
        return 1.0 - float(kept.sum()) / max(1, there.sum())
    # Of single vectors columns may be lost, which then hold their mean.
    values = after.features[modality]
    same = kept[..., None] & (values == before.features[modality])
    return 1.0 - float(same.sum()) / max(1, there.sum() * values.shape[-1])


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
