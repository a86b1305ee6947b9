"""Balance between modalities: the one that is ahead learns slower, or is hidden more often.

How far a modality is ahead is read off its own heads, as in on-the-fly modulation of gradients
(OGM, Peng et al. 2022, arXiv 2203.15332) and of predictions (OPM, Wei et al. 2024, arXiv
2410.11582). Of their noise added to gradients nothing is here.
"""

import jax
import jax.numpy as jnp

from haemsa_jax.config import NetworkConfig
from haemsa_jax.structure.parts import declare
from haemsa_jax.structure.usage import modalities_of

Array = jax.Array
MEMORY = 0.9  # of the running ratio, a step


def discrepancy(rightness_sums: Array, counts: Array) -> Array:
    """Each modality's mean rightness over that of the others.

    Args:
      rightness_sums, counts: float[M], over the samples that have the modality; of several devices
        their mean, so that a count may be below 1.

    Returns:
      float[M]; above 1 for a modality that is ahead, 1 where there is nothing to compare.
    """
    present = counts > 0
    mean = jnp.where(present, rightness_sums / jnp.where(present, counts, 1.0), 0.0)
    others = jnp.maximum(present.sum() - 1, 1)
    rest = (mean.sum() - mean) / others
    return jnp.where(present & (rest > 0), mean / jnp.where(rest > 0, rest, 1.0), 1.0)


def paces(ratio: Array, strength: Array) -> Array:
    """How fast each modality learns, float[M]: 1 - tanh(strength ratio) for what is ahead (OGM)."""
    return jnp.where(ratio > 1.0, 1.0 - jnp.tanh(strength * ratio), 1.0)


def slowed(network: NetworkConfig, updates: dict, pace: Array) -> dict:
    """Updates with those of each modality's own modules times its pace, float[M].

    Its own are the top modules of parts that read nothing else, but for its heads: stems and what
    stands between them and the first part that reads two modalities.
    """
    declaration, paced = declare(network), dict(updates)
    for part in declaration.parts:
        read = modalities_of(declaration, part.name)
        if len(read) != 1 or part.kind in ("auxiliary", "encoder"):
            continue
        place = network.modalities.index(next(iter(read)))
        for name in [path[0] for path in part.modules if len(path) == 1 and path[0] in updates]:
            paced[name] = jax.tree.map(lambda u, k=place: pace[k] * u, updates[name])
    return paced


def hiding_rates(rate: Array, ratio: Array, strength: Array) -> Array:
    """Probabilities of hiding each modality, float[M]: higher for what is ahead (OPM), below 1."""
    more = 1.0 + strength * jnp.tanh(jnp.maximum(ratio - 1.0, 0.0))
    return jnp.minimum(rate * more, 0.95)
