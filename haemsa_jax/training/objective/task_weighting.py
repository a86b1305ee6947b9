"""How the losses of several tasks become one."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

Array = jax.Array
UNCERTAINTY = "uncertainty"


def combined(losses: Array, weights: Array, params: Mapping) -> Array:
    """The losses of all tasks as one.

    Args:
      losses, weights: float[K]; the weights' sum is 1, or less where tasks are not in the batch.
      params: with `uncertainty`, float[K], tasks are weighed by how well they can be learnt
        (homoscedastic uncertainty, Kendall et al. 2018, arXiv 1705.07115): the parameter settles at
        the logarithm of the task's loss, and each task then pulls alike.

    Returns:
      float[].
    """
    if UNCERTAINTY in params:
        losses = jnp.exp(-params[UNCERTAINTY]) * losses + params[UNCERTAINTY]
    return (weights * losses).sum()
