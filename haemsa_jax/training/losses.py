"""Losses of one sample, by the kind of its task, and how tasks are weighed. All are pure."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax

from haemsa_jax.config import IMBALANCE, TaskSpec, TrainConfig
from haemsa_jax.training.state import UNCERTAINTY, Hyper

Array = jax.Array
SURE = 1e-6  # the gradient of a power below one has no bound at zero


def task_loss(
    task: TaskSpec, config: TrainConfig, hyper: Hyper, constants: Mapping[str, Array],
    prediction: Array, label: Array,
) -> Array:  # fmt: skip
    """Loss of one prediction.

    Args:
      task: whose label it is.
      config: `regression_loss` is `l1`, `l2` or `huber` (Huber 1964, threshold 1 standard
        deviation); it says which losses for rare classes are on.
      hyper: how strong those are.
      constants: of the task's head: `scale`, the standard deviation of a regression's labels, and
        `offset`, the log-odds of classes and labels in training.
      prediction: float[C], label units for a regression, logits otherwise.
      label: float[], int[] or float[C].

    Returns:
      float[]: regressions in units of the label's standard deviation, classes in nats.
    """
    if task.kind == "regression":
        residual = (prediction[0] - label) / constants["scale"][0]
        if config.regression_loss == "l1":
            return jnp.abs(residual)
        if config.regression_loss == "l2":
            return 0.5 * residual**2
        return optax.huber_loss(residual)
    if any(getattr(config, name) for name in IMBALANCE):
        return _rare(task, hyper, jnp.asarray(constants["offset"]), prediction, label)
    if task.kind == "classification":
        return optax.softmax_cross_entropy_with_integer_labels(prediction, label)
    return optax.sigmoid_binary_cross_entropy(prediction, label).mean()


def _rare(task: TaskSpec, hyper: Hyper, odds: Array, prediction: Array, label: Array) -> Array:
    """Cross-entropy in favour of rare classes; of labels, each is a choice of two.

    Logits are adjusted by the log-odds (Menon et al. 2021, arXiv 2007.07314), what is sure already
    weighs less (focal loss, Lin et al. 2017, arXiv 1708.02002), and a class weighs a power of its
    frequency, the weights having mean 1 over the training samples (the limit of many samples of Cui
    et al. 2019, arXiv 1901.05555, is the power -1).
    """
    logits = prediction + hyper.logit_adjustment * odds
    if task.kind == "classification":
        log_shares, said = jax.nn.log_softmax(odds), jax.nn.log_softmax(logits)
        said, log_share = said[label], log_shares[label]
        log_shares = log_shares[None]
    else:
        log_shares = jnp.stack([jax.nn.log_sigmoid(odds), jax.nn.log_sigmoid(-odds)], axis=-1)
        on = label > 0.5
        said = jnp.where(on, jax.nn.log_sigmoid(logits), jax.nn.log_sigmoid(-logits))
        log_share = jnp.where(on, log_shares[:, 0], log_shares[:, 1])
    weights = jnp.exp(-hyper.class_balance * log_share)
    weights /= jnp.exp((1.0 - hyper.class_balance) * log_shares).sum(axis=-1)
    unsure = jnp.maximum(-jnp.expm1(said), SURE) ** hyper.focal
    return -(weights * unsure * said).mean()


def teaching_loss(
    task: TaskSpec, constants: Mapping[str, Array], said: Array, taught: Array
) -> Array:
    """How far what is said with modalities hidden is from what is said without, which teaches.

    Args:
      task: whose predictions they are.
      constants: of its head.
      said: float[C], label units for a regression, logits otherwise.
      taught: float[C]; nothing is learnt from it (Hinton et al. 2015, arXiv 1503.02531).

    Returns:
      float[], 0 where both agree: half the squared difference in standard deviations of a
      regression's labels; the divergence of the probabilities otherwise, of labels their mean.
    """
    taught = jax.lax.stop_gradient(taught)
    if task.kind == "regression":
        return 0.5 * ((said[0] - taught[0]) / constants["scale"][0]) ** 2
    if task.kind == "classification":
        return optax.kl_divergence(jax.nn.log_softmax(said), jax.nn.softmax(taught))
    chance = jax.nn.sigmoid(taught)
    cross = optax.sigmoid_binary_cross_entropy(said, chance)
    return (cross - optax.sigmoid_binary_cross_entropy(taught, chance)).mean()


def combined(losses: Array, weights: Array, params: Mapping) -> Array:
    """The losses of all tasks as one.

    Args:
      losses, weights: float[K]; the weights' sum is 1.
      params: with `uncertainty`, float[K], tasks are weighed by how well they can be learnt
        (homoscedastic uncertainty, Kendall et al. 2018, arXiv 1705.07115): the parameter settles at
        the logarithm of the task's loss, and each task then pulls alike.

    Returns:
      float[].
    """
    if UNCERTAINTY in params:
        losses = jnp.exp(-params[UNCERTAINTY]) * losses + params[UNCERTAINTY]
    return (weights * losses).sum()
