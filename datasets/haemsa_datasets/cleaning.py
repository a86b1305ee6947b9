"""Values that no network should read: counted, and replaced.

Feature values that are no numbers become what training data suggest; control characters of words
become blanks, or what they were before they were read in the wrong encoding.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from haemsa_datasets.samples import Sample
from haemsa_jax.data.values import printable


def replace_nonfinite(
    splits: Mapping[str, Sequence[Sample]],
) -> tuple[dict[str, list[Sample]], dict[str, dict[str, int]]]:
    """Replaces NaN and infinite feature values by the training split's mean of their column.

    The mean is over the finite values of all training tokens; a column without any becomes 0.

    Returns:
      the splits without such values, and per modality the number of `values` that were replaced
      and of `samples` that had some.
    """
    everything = [sample for samples in splits.values() for sample in samples]
    counts, means = {}, {}
    for modality in everything[0].features:
        bad = [int(np.sum(~np.isfinite(sample.features[modality]))) for sample in everything]
        counts[modality] = {"values": sum(bad), "samples": int(np.count_nonzero(bad))}
        if sum(bad):
            means[modality] = _finite_mean([s.features[modality] for s in splits["train"]])
    cleaned = {
        name: [_replace(sample, means) for sample in samples] for name, samples in splits.items()
    }
    return cleaned, counts


def replace_controls(
    splits: Mapping[str, Sequence[Sample]],
) -> tuple[dict[str, list[Sample]], dict[str, int]]:
    """Words without control characters, which tokenisers drop so that words grow together.

    Returns:
      the splits, and the number of `characters` that were replaced and of `samples` with some.
    """
    counts = {"characters": 0, "samples": 0}
    cleaned: dict[str, list[Sample]] = {}
    for name, samples in splits.items():
        cleaned[name] = []
        for sample in samples:
            words, count = printable(sample.words)
            counts["characters"] += count
            counts["samples"] += count > 0
            cleaned[name].append(dataclasses.replace(sample, words=words) if count else sample)
    return cleaned, counts


def _finite_mean(features: Sequence[np.ndarray]) -> np.ndarray:
    tokens = np.concatenate(features)
    finite = np.isfinite(tokens)
    total = np.sum(tokens, axis=0, where=finite, dtype=np.float64)
    return (total / np.maximum(finite.sum(axis=0), 1)).astype(np.float32)


def _replace(sample: Sample, means: Mapping[str, np.ndarray]) -> Sample:
    """The sample with the modalities named in `means` made finite."""
    finite = {
        modality: np.where(np.isfinite(sample.features[modality]), sample.features[modality], mean)
        for modality, mean in means.items()
    }
    return dataclasses.replace(sample, features={**sample.features, **finite})
