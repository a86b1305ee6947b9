"""What each part of a genome is worth, estimated from all genomes that were ever measured.

One measurement says little about one genome: the chance of which weights it began with and of who
judges it is as large as what it is worth. Hundreds of genomes together say much about each of their
numbers, as every genome has all of them. Fitness is a sum of small effects here, estimated by ridge
regression whose strength the data choose by their marginal likelihood: breeders of animals select
so (Meuwissen, Hayes and Goddard 2001, "Prediction of total genetic value using genome-wide dense
marker maps"; MacKay 1992, "Bayesian interpolation").
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

Array = jax.Array
STRENGTHS = np.logspace(-2, 3, 21, dtype=np.float32)  # of the ridge, in mean squares of features
OUTLIER = 4.0  # median deviations beyond which a fitness counts as that much: some learn nothing


@struct.dataclass
class Effects:
    """A normal distribution over effects.

    Attributes:
      mean: float[F], what one unit of each feature adds to fitness.
      root: float[F, F], of the covariance, symmetric.
    """

    mean: Array
    root: Array

    @property
    def errors(self) -> Array:
        """float[F], standard deviations."""
        return jnp.sqrt((self.root**2).sum(axis=1))

    def draw(self, key: Array, count: int) -> Array:
        """float[count, F], effects as they may be."""
        return self.mean + jax.random.normal(key, (count, len(self.mean))) @ self.root


def estimate(features: Array, fitness: Array, groups: Array, known: Array) -> Effects:
    """Effects of features on fitness, compared within groups of rows.

    Args:
      features: float[R, F].
      fitness: float[R], lower is better.
      groups: int[R], rows that were measured alike, numbered from 0 to less than R; only
        differences within them count.
      known: bool[R], rows that are filled.
    """
    # A genome that was measured often counts as one: its weights' luck comes again each time.
    same = (features[:, None] == features[None]).all(-1) & known[None]
    weight = known / jnp.maximum(1, same.sum(axis=1))
    y = _centred(fitness[:, None], groups, weight)[:, 0]
    spread = jnp.sum(weight * jnp.abs(y)) / jnp.maximum(weight.sum(), 1e-9)
    y = _centred(jnp.clip(y, -OUTLIER * spread, OUTLIER * spread)[:, None], groups, weight)[:, 0]
    x = _centred(features, groups, weight)
    half = jnp.sqrt(weight)
    x, y = x * half[:, None], y * half
    squares, axes = jnp.linalg.eigh(x.T @ x)
    squares = jnp.maximum(squares, 0.0)
    along = axes.T @ (x.T @ y)
    compared = jnp.zeros(len(groups)).at[groups].add(weight) > 0
    count = jnp.maximum(1.0, weight.sum() - compared.sum())
    scale = jnp.maximum(squares.mean(), 1e-9)

    def likelihood(strength):
        """Its logarithm, and the variance of what effects leave open."""
        ridge = strength * scale
        left = jnp.maximum(y @ y - jnp.sum(along**2 / (squares + ridge)), 1e-20)
        return -0.5 * (count * jnp.log(left) + jnp.sum(jnp.log1p(squares / ridge))), left / count

    likelihoods, variances = jax.vmap(likelihood)(jnp.asarray(STRENGTHS))
    best = jnp.argmax(likelihoods)
    ridge = jnp.asarray(STRENGTHS)[best] * scale
    mean = axes @ (along / (squares + ridge))
    # The symmetric root: single axes turn with every rounding where squares are alike.
    root = (axes * jnp.sqrt(variances[best] / (squares + ridge))) @ axes.T
    return Effects(mean, root)


def _centred(x: Array, groups: Array, weight: Array) -> Array:
    """float[R, F], less the weighted mean of each row's group; 0 where a row weighs nothing."""
    total = jnp.zeros_like(x).at[groups].add(x * weight[:, None])
    count = jnp.zeros(len(x)).at[groups].add(weight)
    mean = total / jnp.maximum(count, 1e-9)[:, None]
    return jnp.where(weight[:, None] > 0, x - mean[groups], 0.0)
