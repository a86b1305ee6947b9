"""Losses on the shared and specific parts of modalities, and what only they need of a network.

All are pure functions of a batch: parts are float[B, M, D], presence is bool[B, M]. Absent
modalities take no part; a batch in which nothing can be compared costs nothing.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from haemsa_jax.config import SHARING_LOSSES, NetworkConfig, TrainConfig
from haemsa_jax.models import Outputs
from haemsa_jax.models.discrepancy import discrepancy, over_pairs
from haemsa_jax.models.layers import Array, Dense

FUNCTIONS = 8  # of each side of a maximal correlation
TEMPERATURE = 0.1  # of the contrast
SMALL = 1e-6
COMPANION = "companion"


class Companion(nn.Module):
    """What only the losses read: decoders of summaries, and functions whose correlation is maximal.

    Its parameters are trained beside those of the network, under the name `COMPANION`.
    """

    network: NetworkConfig

    def setup(self):
        width, names = self.network.width, self.network.modalities
        self.decoders = {m: Dense(width, name=f"decode_{m}") for m in names}
        self.own = {m: Dense(FUNCTIONS, name=f"own_{m}") for m in names}
        self.hidden = {m: Dense(2 * width, name=f"hidden_{m}") for m in names}
        self.others = {m: Dense(FUNCTIONS, name=f"others_{m}") for m in names}

    def decode(self, parts: Array) -> Array:
        """Sums of both parts float[B, M, D] to summaries float[B, M, D]."""
        names = self.network.modalities
        decoded = [self.decoders[m](nn.gelu(parts[:, k])) for k, m in enumerate(names)]
        return jnp.stack(decoded, axis=1)

    def functions(self, shared: Array, presence: Array) -> tuple[Array, Array]:
        """Of each modality and of all others together, float[B, M, FUNCTIONS] twice."""
        shared = jnp.where(presence[..., None], shared, 0.0)
        own, others = [], []
        for k, m in enumerate(self.network.modalities):
            rest = shared.at[:, k].set(0.0).reshape(len(shared), -1)
            own.append(self.own[m](shared[:, k]))
            others.append(self.others[m](nn.gelu(self.hidden[m](rest))))
        return jnp.stack(own, axis=1), jnp.stack(others, axis=1)


def init_companion(network: NetworkConfig, config: TrainConfig, key: Array) -> dict:
    """The parameters that losses need which are on, as leaves of the network's tree."""
    count, companion = len(network.modalities), Companion(network)
    parts, present = jnp.zeros((1, count, network.width)), jnp.ones((1, count), bool)
    params: dict[str, Any] = {}
    if config.reconstruction:
        params |= companion.init(key, parts, method="decode")["params"]
    if config.correlation:
        params |= companion.init(key, parts, present, method="functions")["params"]
    return {COMPANION: params} if params else {}


def make_representation_losses(network: NetworkConfig, config: TrainConfig) -> Callable[..., Array]:
    """Weighed sum of those losses that are on.

    Returns:
      losses(params, settings, outputs, utterance) -> float[], of a batch of `Outputs` of one data
      set and the numbers of its utterances, int[B].
    """
    on = [name for name in SHARING_LOSSES if getattr(config, name)]
    companion = Companion(network)

    def losses(params, settings, outputs: Outputs, utterance: Array) -> Array:
        parts, presence = outputs.representations, outputs.presence
        shared, specific = parts["shared"], parts["specific"]

        def of_companion(method: str, *arguments: Array) -> Any:
            return companion.apply({"params": params[COMPANION]}, *arguments, method=method)

        def correlation() -> Array:
            own, others = of_companion("functions", shared, presence)
            return lack_of_correlation(own, others, presence)

        by_name = {
            "moments": lambda: moment_discrepancy(shared, presence),
            "contrast": lambda: contrast(shared, presence, utterance),
            "correlation": correlation,
            "orthogonality": lambda: overlap(shared, specific, presence),
            "reconstruction": lambda: relative_error(
                of_companion("decode", shared + specific), parts["summaries"], presence
            ),
            "imputation": lambda: relative_error(
                parts["imputed"], shared, presence & (presence.sum(-1, keepdims=True) > 1)
            ),
        }
        return sum(getattr(settings, name) * by_name[name]() for name in on)

    return losses


def moment_discrepancy(shared: Array, presence: Array) -> Array:
    """That of tanh of the parts, float[B, M, D], which lies in [-1, 1]; presence is bool[B, M]."""
    return discrepancy(jnp.tanh(shared), presence, 2.0)


def contrast(shared: Array, presence: Array, utterance: Array | None = None) -> Array:
    """Both parts of a sample know each other among those of other samples, mean over pairs.

    Cross-entropy over cosines, both ways (InfoNCE, van den Oord et al. 2018, arXiv 1807.03748; as
    between modalities in CLIP, Radford et al. 2021, arXiv 2103.00020).

    Args:
      shared: float[B, M, D].
      presence: bool[B, M]; a pair of modalities takes the samples that have both.
      utterance: int[B]; rows of the same number are one utterance, drawn more than once, and no
        negatives of each other. By default all differ.

    Returns:
      float[], in nats.
    """
    unit, count = _unit(shared), len(shared)
    repeated = jnp.zeros((count, count), bool)
    if utterance is not None:
        repeated = (utterance[:, None] == utterance[None]) & ~jnp.eye(count, dtype=bool)
    both = presence[:, :, None] & presence[:, None, :]

    def between(a: int, b: int) -> Array:
        present = both[:, a, b]
        logits = unit[:, a] @ unit[:, b].T / TEMPERATURE
        logits = jnp.where(present[:, None] & present[None] & ~repeated, logits, -1e9)
        right = jnp.diagonal(logits)
        lost = [jax.nn.logsumexp(logits, axis=axis) - right for axis in (0, 1)]
        each = jnp.where(present, 0.5 * (lost[0] + lost[1]), 0.0)
        return each.sum() / jnp.maximum(present.sum(), 1)

    return over_pairs(between, both.any(axis=0))


def lack_of_correlation(own: Array, others: Array, presence: Array) -> Array:
    """1 - squared maximal correlation of each modality with all others together, mean over both.

    Functional maximal correlation (Hu and Principe 2022, arXiv 2212.04631) by its trace: with
    second moments R of functions f of one side and g of the other and P across,
    tr(R_f^-1 P R_g^-1 P') is the sum of their squared canonical correlations. That of every
    modality with the rest together sees what no pair shows: where it measures information, the sum
    over modalities is total plus dual total correlation.

    Args:
      own: float[B, M, K], functions of each modality.
      others: float[B, M, K], functions of all others together.
      presence: bool[B, M]; a modality takes the samples that have it and another.

    Returns:
      float[] in [0, 1].
    """
    taken = presence & (presence.sum(axis=-1, keepdims=True) > 1)

    def of(f, g, taken):
        weight = taken[:, None] / jnp.maximum(taken.sum(), 1)
        f, g = (x - (weight * x).sum(axis=0) for x in (f, g))
        size = f.shape[-1]

        def moment(a, b):
            return (weight * a).T @ b

        # As much of the identity as keeps the inverse of a small batch's moments bounded.
        ridge = lambda r: r + (1e-3 * jnp.trace(r) / size + SMALL) * jnp.eye(size)  # noqa: E731
        across = moment(f, g)
        left = jnp.linalg.solve(ridge(moment(f, f)), across)
        right = jnp.linalg.solve(ridge(moment(g, g)), across.T)
        return 1.0 - jnp.trace(left @ right) / size

    enough = taken.sum(axis=0) > 1
    each = jax.vmap(of, (1, 1, 1))(own, others, taken.astype(own.dtype))
    return jnp.where(enough, each, 0.0).sum() / jnp.maximum(enough.sum(), 1)


def overlap(shared: Array, specific: Array, presence: Array) -> Array:
    """How much shared and specific parts say the same, mean over modalities.

    Squared Frobenius norm of the product of both, centred and each sample of length 1 (the
    difference loss of Bousmalis et al. 2016, arXiv 1608.06019), over the number of samples squared.

    Args:
      shared, specific: float[B, M, D].
      presence: bool[B, M].

    Returns:
      float[] in [0, 1].
    """
    weight = presence[..., None].astype(shared.dtype)
    count = jnp.maximum(weight.sum(axis=0), 1.0)

    def ready(parts):
        return _unit(parts - (parts * weight).sum(axis=0) / count) * weight

    product = jnp.einsum("bmd,bme->mde", ready(shared), ready(specific))
    each = (product**2).sum(axis=(1, 2)) / count[:, 0] ** 2
    present = presence.any(axis=0)
    return jnp.where(present, each, 0.0).sum() / jnp.maximum(present.sum(), 1)


def relative_error(estimate: Array, target: Array, wanted: Array) -> Array:
    """Squared error over the target's square; the target itself does not learn from it.

    Args:
      estimate, target: float[B, M, D].
      wanted: bool[B, M].

    Returns:
      float[]; 1 is what zeros would reach.
    """
    target, weight = jax.lax.stop_gradient(target), wanted[..., None].astype(estimate.dtype)
    error = (weight * (estimate - target) ** 2).sum()
    return error / jnp.maximum((weight * target**2).sum(), SMALL)


def _unit(x: Array) -> Array:
    """Vectors of length 1; zeros, and their gradient, stay."""
    return x * jax.lax.rsqrt((x**2).sum(axis=-1, keepdims=True) + SMALL)
