"""Losses of one sample, by the kind of its task. All are pure and give float[]."""

import jax
import jax.numpy as jnp
import optax

from haemsa_jax.config import TaskSpec

Array = jax.Array


def task_loss(
    task: TaskSpec, regression_loss: str, prediction: Array, label: Array, scale: Array
) -> Array:
    """Loss of one prediction.

    Args:
      task: whose label it is.
      regression_loss: `l1`, `l2` or `huber` (Huber 1964, threshold 1 standard deviation).
      prediction: float[C], label units for a regression, logits otherwise.
      label: float[], int[] or float[C].
      scale: float[C], standard deviation of a regression's labels.

    Returns:
      float[]: regressions in units of the label's standard deviation, classes in nats.
    """
    if task.kind == "classification":
        return optax.softmax_cross_entropy_with_integer_labels(prediction, label)
    if task.kind == "multilabel":
        return optax.sigmoid_binary_cross_entropy(prediction, label).mean()
    residual = (prediction[0] - label) / scale[0]
    if regression_loss == "l1":
        return jnp.abs(residual)
    if regression_loss == "l2":
        return 0.5 * residual**2
    return optax.huber_loss(residual)
