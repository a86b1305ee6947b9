"""Logits as probabilities, for NumPy and for JAX, and losses in favour of rare classes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from haemsa_jax.config import IMBALANCE, TrainConfig

Array = Any  # numpy.ndarray or jax.Array
SURE = 1e-6  # the gradient of a power below one has no bound at zero


def softmax(logits: Array) -> Array:
    """Probabilities of classes that exclude each other, over the last axis."""
    if isinstance(logits, jax.Array):
        return jax.nn.softmax(logits)
    odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return odds / odds.sum(axis=-1, keepdims=True)


def sigmoid(logits: Array) -> Array:
    """Probabilities of labels that do not depend on each other."""
    if isinstance(logits, jax.Array):
        return jax.nn.sigmoid(logits)
    return 1.0 / (1.0 + np.exp(-logits))


def favours_rare(config: TrainConfig) -> bool:
    """Whether a loss in favour of rare classes is on."""
    return any(getattr(config, name) for name in IMBALANCE)


def rare_class_loss(
    settings: Any, log_probability: jax.Array, log_share: jax.Array, log_shares: jax.Array
) -> jax.Array:
    """Cross-entropy in favour of rare classes.

    What is sure already weighs less (focal loss, Lin et al. 2017, arXiv 1708.02002), and a class
    weighs a power of its frequency, the weights having mean 1 over the training samples (the limit
    of many samples of Cui et al. 2019, arXiv 1901.05555, is the power -1). Of the third, logits
    adjusted by the log-odds (Menon et al. 2021, arXiv 2007.07314), the caller takes care.

    Args:
      settings: `class_balance` and `focal`.
      log_probability: float[...], of the true class.
      log_share: float[...], logarithm of its share of the training samples.
      log_shares: float[..., classes], the same of all classes.

    Returns:
      float[], the mean in nats.
    """
    weights = jnp.exp(-settings.class_balance * log_share)
    weights /= jnp.exp((1.0 - settings.class_balance) * log_shares).sum(axis=-1)
    unsure = jnp.maximum(-jnp.expm1(log_probability), SURE) ** settings.focal
    return -(weights * unsure * log_probability).mean()
