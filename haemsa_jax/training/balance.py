"""Balance between modalities: the one that is ahead learns slower, or is hidden more often.

How far a modality is ahead is read off its own heads, as in on-the-fly modulation of gradients
(OGM, Peng et al. 2022, arXiv 2203.15332) and of predictions (OPM, Wei et al. 2024, arXiv
2410.11582). Of their noise added to gradients nothing is here.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from haemsa_jax.config import NetworkConfig, TaskSpec, stem_name

Array = jax.Array
MEMORY = 0.9  # of the running ratio, a step


def rightness(task: TaskSpec, constants: Mapping[str, Array], said: Array, label: Array) -> Array:
    """How right a prediction is, from 0 to 1.

    Args:
      task: whose label it is.
      constants: of its head: `scale`, the standard deviation of a regression's labels.
      said: float[C], label units for a regression, logits otherwise.
      label: float[], int[] or float[C].

    Returns:
      float[]: the probability of the true class or, mean over labels, of what is true of it; for a
      regression exp(-|error|) in standard deviations, since those papers are about classes alone.
    """
    if task.kind == "regression":
        return jnp.exp(-jnp.abs(said[0] - label) / constants["scale"][0])
    if task.kind == "classification":
        return jax.nn.softmax(said)[label]
    return jax.nn.sigmoid(jnp.where(label > 0.5, said, -said)).mean()


def discrepancy(rightness_sums: Array, counts: Array) -> Array:
    """Each modality's mean rightness over that of the others.

    Args:
      rightness_sums, counts: float[M], over the samples that have the modality; of several devices
        their mean, so that a count may be below 1.

    Returns:
      float[M]; above 1 for a modality that is ahead, 1 where there is nothing to compare.
    """
    there = counts > 0
    mean = jnp.where(there, rightness_sums / jnp.where(there, counts, 1.0), 0.0)
    others = jnp.maximum(there.sum() - 1, 1)
    rest = (mean.sum() - mean) / others
    return jnp.where(there & (rest > 0), mean / jnp.where(rest > 0, rest, 1.0), 1.0)


def paces(ratio: Array, strength: Array) -> Array:
    """How fast each modality learns, float[M]: 1 - tanh(strength ratio) for what is ahead (OGM)."""
    return jnp.where(ratio > 1.0, 1.0 - jnp.tanh(strength * ratio), 1.0)


def slowed(network: NetworkConfig, grads: dict, pace: Array) -> dict:
    """Gradients with those of each modality's own modules times its pace, float[M].

    Its own are those below the links: stems, banks and summary.
    """
    paced = dict(grads)
    for place, modality in enumerate(network.modalities):
        own = {stem_name(dataset, modality) for dataset in network.widths}
        own |= {f"local_{modality}_{layer}" for layer in range(network.depth)}
        for name in grads.keys() & {*own, f"summary_{modality}"}:
            paced[name] = jax.tree.map(lambda g, k=place: pace[k] * g, grads[name])
    return paced


def hiding_rates(rate: Array, ratio: Array, strength: Array) -> Array:
    """Probabilities of hiding each modality, float[M]: higher for what is ahead (OPM), below 1."""
    more = 1.0 + strength * jnp.tanh(jnp.maximum(ratio - 1.0, 0.0))
    return jnp.minimum(rate * more, 0.95)
