"""How far the vectors of modalities are apart as distributions."""

import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp

Array = jax.Array
MOMENTS = 5
SMALL = 1e-6


def discrepancy(bounded: Array, presence: Array, span: float) -> Array:
    """Central moment discrepancy (Zellinger et al. 2017, arXiv 1702.08811), mean over pairs.

    The norm of the difference of means over the width of the interval in which vectors lie, plus
    those of the central moments up to the fifth over its powers.

    Args:
      bounded: float[B, M, D].
      presence: bool[B, M]; of each modality the samples are taken that have it.
      span: the width of the interval.

    Returns:
      float[].
    """
    weight = presence.astype(bounded.dtype)
    count = jnp.maximum(weight.sum(axis=0), 1.0)[:, None]
    mean = (bounded * weight[..., None]).sum(axis=0) / count
    away = (bounded - mean) * weight[..., None]
    moments = [mean] + [(away**k).sum(axis=0) / count for k in range(2, MOMENTS + 1)]
    present = presence.any(axis=0)

    def between(a: int, b: int) -> Array:
        distances = [
            jnp.sqrt(((m[a] - m[b]) ** 2).sum() + SMALL**2) / span ** (k + 1)
            for k, m in enumerate(moments)
        ]
        return jnp.where(present[a] & present[b], sum(distances), 0.0)

    return over_pairs(between, present[:, None] & present[None])


def over_pairs(between: Callable[[int, int], Array], valid: Array) -> Array:
    """Mean of a loss over the pairs of modalities that are `valid`, bool[M, M]."""
    pairs = list(itertools.combinations(range(len(valid)), 2))
    if not pairs:
        return jnp.zeros(())
    total = jnp.stack([between(a, b) for a, b in pairs]).sum()
    return total / jnp.maximum(jnp.stack([valid[a, b] for a, b in pairs]).sum(), 1)
