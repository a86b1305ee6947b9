"""Between levels 2 and 3: what modalities share, what is specific to each, and what can be guessed.

Summaries and their parts are float[..., U, D] over the U modalities that are built; presence is
bool[..., U]. The idea of the two parts is that of domain separation (Bousmalis et al. 2016, arXiv
1608.06019) and MISA (Hazarika et al. 2020, arXiv 2005.03545).
"""

import flax.linen as nn
import jax.numpy as jnp

from haemsa_jax.config import NetworkConfig
from haemsa_jax.models.layers import Array, Dense, masked_softmax, places, spread


class TwoParts(nn.Module):
    """A shared part by one matrix for all modalities, a specific part by one for each."""

    config: NetworkConfig

    @nn.compact
    def __call__(self, summaries: Array, presence: Array) -> tuple[Array, Array]:
        """Both parts, zeros where a modality is absent or its part is not built."""
        width, names = self.config.width, self.config.built_modalities
        shared = Dense(width, name="shared")(summaries)
        own = [
            Dense(width, name=m)(summaries[..., place, :])
            if m in self.config.built.specific
            else jnp.zeros_like(summaries[..., place, :])
            for place, m in enumerate(names)
        ]
        there = presence[..., None]
        return jnp.where(there, shared, 0.0), jnp.where(there, jnp.stack(own, axis=-2), 0.0)


class Imputer(nn.Module):
    """Guesses every modality's shared part from those of the others that are there.

    One perceptron for all targets. A modality is never shown its own part, so that the guess for
    one that is there can be compared with it.
    """

    config: NetworkConfig

    @nn.compact
    def __call__(self, shared: Array, presence: Array) -> Array:
        """float[..., U, D], bool[..., U] -> float[..., U, D], guesses for all of them."""
        width, count = self.config.width, shared.shape[-2]
        others = ~jnp.eye(count, dtype=bool) & presence[..., None, :]  # [..., target, source]
        given = jnp.where(others[..., None], shared[..., None, :, :], 0.0)
        given = given.reshape(*given.shape[:-2], count * width)
        target = jnp.broadcast_to(jnp.eye(count), others.shape)
        view = jnp.concatenate([given, others.astype(given.dtype), target], axis=-1)
        hidden = nn.gelu(Dense(2 * width, name="hidden")(view))
        return Dense(width, name="out")(hidden)


class SpecificPath(nn.Module):
    """What is specific, past the global experts: a gated sum over modalities.

    Of a single one there is no gate.
    """

    config: NetworkConfig

    @nn.compact
    def __call__(
        self, specific: Array, presence: Array, situation: Array, allowed: Array
    ) -> tuple[Array, Array]:
        """The sum and its weights.

        Args:
          specific: float[..., U, D].
          presence: bool[..., U].
          situation: float[..., S].
          allowed: {0, 1}[..., M], of all modalities.

        Returns:
          float[..., D], and float[..., M], zeros for what is absent, shut or not built.
        """
        config = self.config
        there = places(config.built.specific, config.built_modalities)
        open_ = allowed[..., places(config.built.specific, config.modalities)] > 0
        specific, heard = specific[..., there, :], presence[..., there] & open_
        logits = [
            Dense(1, kernel_init=nn.initializers.zeros, name=f"gate_{m}")(
                jnp.concatenate([specific[..., place, :], situation], axis=-1)
            )
            for place, m in enumerate(config.built.specific)
            if len(config.built.specific) > 1
        ]
        scores = jnp.concatenate(logits, axis=-1) if logits else jnp.zeros(heard.shape)
        weights = masked_softmax(scores, heard)
        joined = (weights[..., None] * specific).sum(axis=-2)
        everywhere = places(config.built.specific, config.modalities)
        return joined, spread(weights, everywhere, len(config.modalities))
