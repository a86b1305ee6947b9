"""The best scores that any predictor can reach on planted data, by numerical integration.

Once text is there, u is known exactly, and with audio v is; vision says nothing. So a presence
pattern matters only by which of the two is known. Given what is known, sentiment is a clipped
normal: `clip(m + s Z)`, with m the known part, itself normal over samples, and s the scale of the
rest. Its median `clip(m)` is best for MAE, its mean for Corr (whose best value is the standard
deviation of the predicted mean over that of the label). Agreement is known, but for the flipped
labels, if both are known; if not, both classes are equally likely.
"""

import itertools
from collections.abc import Mapping

import numpy as np

from haemsa_datasets.planted.generator import (
    ABSENT,
    AUDIO_WEIGHT,
    FLIPPED,
    LABEL_NOISE,
    RANGE,
    WIDTHS,
)

Pattern = tuple[bool, bool, bool]  # text, audio, vision


def natural_presence() -> dict[Pattern, float]:
    """How often each presence pattern occurs: independent bits, given that one is set."""
    patterns = list(itertools.product((False, True), repeat=len(WIDTHS)))[1:]
    chances = [
        ABSENT ** pattern.count(False) * (1 - ABSENT) ** sum(pattern) for pattern in patterns
    ]
    return {
        pattern: chance / sum(chances) for pattern, chance in zip(patterns, chances, strict=True)
    }


def best_scores(patterns: Mapping[Pattern, float]) -> dict[str, dict[str, float]]:
    """Population scores of the Bayes predictors, task -> metric -> value.

    Ties of `agreement` are broken by a coin, which treats both classes alike: then weighted F1 has
    the value of the accuracy.

    Args:
      patterns: presence pattern to its share of the samples; the shares add up to 1.
    """
    error, explained, total, accuracy = np.zeros(4)
    for (text, audio, _), share in patterns.items():
        pattern_error, pattern_explained, pattern_total = _sentiment_moments(text, audio)
        error += share * pattern_error
        explained += share * pattern_explained
        total += share * pattern_total
        accuracy += share * (1 - FLIPPED if text and audio else 0.5)
    return {
        "sentiment": {"mae": float(error), "corr": float(np.sqrt(explained / total))},
        "agreement": {"accuracy": float(accuracy), "f1_weighted": float(accuracy)},
    }


def _sentiment_moments(text: bool, audio: bool) -> tuple[float, float, float]:
    """(E|y - median|, E[mean^2], E[y^2]) where text or audio or both are there.

    Median and mean are those of y given what is known; E[y] is 0 by symmetry.
    """
    known = text + audio * AUDIO_WEIGHT**2
    unknown = LABEL_NOISE**2 + (not text) + (not audio) * AUDIO_WEIGHT**2
    nodes, weights = _standard_normal()
    median = np.sqrt(known) * nodes[:, None]
    labels = np.clip(median + np.sqrt(unknown) * nodes[None, :], *RANGE)
    mean = labels @ weights
    error = np.abs(labels - np.clip(median, *RANGE))
    return (
        float(weights @ error @ weights),
        float(weights @ mean**2),
        float(weights @ labels**2 @ weights),
    )


def _standard_normal(limit: float = 8.0, count: int = 2001) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights that integrate a function against the standard normal density."""
    nodes = np.linspace(-limit, limit, count)
    density = np.exp(-(nodes**2) / 2)
    return nodes, density / density.sum()
