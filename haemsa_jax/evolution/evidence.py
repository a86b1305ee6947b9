"""Whether a difference between members stands out of the chance of which groups judged.

All members are judged on the same groups, so that differences are paired. A metric may be anything
(an F1 is no mean over samples), so its standard error is that of the jackknife with groups left out
in blocks (Efron and Tibshirani 1993, "An introduction to the bootstrap", chapter 11).
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

Array = jax.Array
BLOCKS = 20  # at most; more would say the same


@struct.dataclass
class Evidence:
    """What is known of P members that were judged together.

    Attributes:
      errors: float[P, P], standard errors of their differences in fitness.
      sizes: float[P], active shares.
      costs: float[P], without the price of size; inf for what diverged.
    """

    errors: Array
    sizes: Array
    costs: Array

    @classmethod
    def of_nothing(cls, count: int) -> "Evidence":
        """Before anybody is judged."""
        return cls(jnp.zeros((count, count)), jnp.zeros(count), jnp.full(count, jnp.inf))


def blocks_left_out(group: np.ndarray, blocks: int) -> np.ndarray:
    """bool[J, N], the samples that are kept when each of J blocks of groups is left out.

    Args:
      group: int[N]; where there are fewer than two groups, samples stand for themselves.
      blocks: J, at most; never more than there are groups.
    """
    _, place = np.unique(group, return_inverse=True)
    if place.max(initial=0) < 1:
        place = np.arange(len(group))
    block = place % min(blocks, place.max(initial=0) + 1)
    return block[None] != np.arange(block.max(initial=0) + 1)[:, None]


def standard_errors(replicates: Array) -> Array:
    """float[P, P], of the differences in fitness between members.

    Args:
      replicates: float[P, J], fitness with each block left out.
    """
    count = replicates.shape[1]
    # (d_j - mean d) of a pair is the difference of both members' own deviations.
    own = replicates - replicates.mean(axis=1, keepdims=True)
    square = (own**2).sum(axis=1)
    both = square[:, None] + square[None] - 2.0 * own @ own.T
    return jnp.sqrt(jnp.maximum(both, 0.0) * (count - 1) / count)
