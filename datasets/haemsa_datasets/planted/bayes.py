"""The best scores that any predictor can reach on planted data, by numerical integration.

Once text is there, u is known exactly, and with audio v is. Vision says nothing, or, where it
echoes, as much of either as its correlation. So a presence pattern matters only by the share of the
variance of u and of v that is known. Given what is known, sentiment is a clipped normal:
`clip(m + s Z)`, with m the known part, itself normal over samples, and s the scale of the rest. Its
median `clip(m)` is best for MAE, its mean for Corr (whose best value is the standard deviation of
the predicted mean over that of the label). The likelier class is best for agreement.
"""

import itertools
from collections.abc import Mapping
from statistics import NormalDist

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


def best_scores(
    patterns: Mapping[Pattern, float], echo: float = 0.0
) -> dict[str, dict[str, float]]:
    """Population scores of the Bayes predictors, task -> metric -> value.

    Ties of `agreement` are broken by a coin, which treats both classes alike: then weighted F1 has
    the value of the accuracy.

    Args:
      patterns: presence pattern to its share of the samples; the shares add up to 1.
      echo: correlation of what vision carries with u and v.
    """
    error, explained, total, accuracy = np.zeros(4)
    for (text, audio, vision), share in patterns.items():
        heard = echo**2 if vision else 0.0
        of_u, of_v = 1.0 if text else heard, 1.0 if audio else heard
        pattern_error, pattern_explained, pattern_total = _sentiment_moments(of_u, of_v)
        error += share * pattern_error
        explained += share * pattern_explained
        total += share * pattern_total
        accuracy += share * _agreement_accuracy(of_u, of_v)
    return {
        "sentiment": {"mae": float(error), "corr": float(np.sqrt(explained / total))},
        "agreement": {"accuracy": float(accuracy), "f1_weighted": float(accuracy)},
    }


def _sentiment_moments(of_u: float, of_v: float) -> tuple[float, float, float]:
    """(E|y - median|, E[mean^2], E[y^2]) where these shares of the variance of u and v are known.

    Median and mean are those of y given what is known; E[y] is 0 by symmetry.
    """
    known = of_u + of_v * AUDIO_WEIGHT**2
    unknown = LABEL_NOISE**2 + (1 - of_u) + (1 - of_v) * AUDIO_WEIGHT**2
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


def _agreement_accuracy(of_u: float, of_v: float) -> float:
    """E max(p, 1 - p), with p the chance that u and v agree given what is known of them."""

    def above_zero(share):
        """Chances that a value is positive, over what is known of it."""
        if share in (0.0, 1.0):
            return np.full(2, 0.5) if share == 0.0 else np.array([0.0, 1.0]), np.full(2, 0.5)
        nodes, weights = _standard_normal()
        return np.array(
            [NormalDist().cdf(x * np.sqrt(share / (1 - share))) for x in nodes]
        ), weights

    (u, u_weights), (v, v_weights) = above_zero(of_u), above_zero(of_v)
    agree = np.outer(u, v) + np.outer(1 - u, 1 - v)
    sure = u_weights @ np.maximum(agree, 1 - agree) @ v_weights
    return float((1 - FLIPPED) * sure + FLIPPED * (1 - sure))


def _standard_normal(limit: float = 8.0, count: int = 2001) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights that integrate a function against the standard normal density."""
    nodes = np.linspace(-limit, limit, count)
    density = np.exp(-(nodes**2) / 2)
    return nodes, density / density.sum()


def details(echo: float = 0.0) -> dict[str, dict]:
    """What a prepared data set says of its best scores: naturally, and by presence pattern."""
    patterns = natural_presence()
    by_presence = {
        "+".join(
            name for name, present in zip(WIDTHS, pattern, strict=True) if present
        ): best_scores({pattern: 1.0}, echo)
        for pattern in patterns
    }
    return {"bayes": best_scores(patterns, echo), "bayes_by_presence": by_presence}
