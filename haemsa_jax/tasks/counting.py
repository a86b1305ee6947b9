"""Counting over masked samples, for metrics: in NumPy, or in JAX inside `jit`."""

from typing import Any

Array = Any  # numpy.ndarray or jax.Array


def divide(xp, numerator, denominator, otherwise):
    """`numerator / denominator`, and `otherwise` where the denominator is 0; never warns."""
    holds = denominator != 0
    return xp.where(holds, numerator / xp.where(holds, denominator, 1), otherwise)


def mean_where(xp: Any, values: Array, mask: Array) -> Array:
    """Mean of the values that a mask of their shape counts, in the namespace `xp`; NaN of none."""
    return divide(xp, xp.sum(xp.where(mask, values, 0)), xp.sum(mask), xp.nan)


def f1_by_class(xp, predicted, actual, mask, classes):
    """F1 of every class.

    Args:
      predicted: class numbers (or booleans) [N, ...].
      actual: the same of the truth.
      mask: bool[N].

    Returns:
      F1, number of true samples, number of predicted samples, each [..., classes].
    """
    mask = mask.reshape(mask.shape + (1,) * predicted.ndim)
    predicted = mask & (predicted[..., None] == xp.arange(classes))
    actual = mask & (actual[..., None] == xp.arange(classes))
    counted = predicted & actual, actual, predicted
    hits, supports, predictions = (xp.sum(x, axis=0) for x in counted)
    return divide(xp, 2 * hits, supports + predictions, 0), supports, predictions


def f1_by_support(xp, predicted, actual, mask, classes):
    """Class F1 averaged by the number of true samples: [...]."""
    f1, supports, _ = f1_by_class(xp, predicted, actual, mask, classes)
    return divide(xp, xp.sum(f1 * supports, axis=-1), xp.sum(supports, axis=-1), xp.nan)
