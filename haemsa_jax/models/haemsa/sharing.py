"""Between levels 2 and 3: what modalities share, what is specific to each, and what is imputed.

Summaries and their parts are float[..., U, D] over the U modalities that are built; presence is
bool[..., U]. The idea of the two parts is that of domain separation (Bousmalis et al. 2016, arXiv
1608.06019) and MISA (Hazarika et al. 2020, arXiv 2005.03545).
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Bool, Float

from haemsa_jax.models.haemsa.config import HaemsaConfig
from haemsa_jax.models.haemsa.declaration import situation_axis
from haemsa_jax.models.layers import Array, Dense, masked_softmax, places
from haemsa_jax.structure.axes import each, plain
from haemsa_jax.structure.interface import modality


class TwoParts(nn.Module):
    """A shared part by one matrix for all modalities, a specific part by one for each."""

    config: HaemsaConfig

    @nn.compact
    def __call__(
        self,
        summaries: Float[Array, "*batch modalities width"],
        presence: Bool[Array, "*batch modalities"],
    ) -> tuple[Float[Array, "*batch modalities width"], Float[Array, "*batch modalities width"]]:
        """Both parts, zeros where a modality is absent or its part is not built."""
        width, names = self.config.width, self.config.built_modalities
        over = each(map(modality, names))
        shared = Dense(width, over=over, name="shared")(summaries)
        own = [
            Dense(width, name=m)(summaries[..., place, :])
            if m in self.config.built_specific
            else jnp.zeros_like(summaries[..., place, :])
            for place, m in enumerate(names)
        ]
        present = presence[..., None]
        specific = jnp.stack(own, axis=-2)
        return jnp.where(present, shared, 0.0), jnp.where(present, specific, 0.0)


class Imputer(nn.Module):
    """Imputes every modality's shared part from those of the others that are there.

    One perceptron for all targets. A modality is never shown its own part, so that what is imputed
    for one that is there can be compared with it.
    """

    config: HaemsaConfig

    @nn.compact
    def __call__(
        self,
        shared: Float[Array, "*batch modalities width"],
        presence: Bool[Array, "*batch modalities"],
    ) -> Float[Array, "*batch modalities width"]:
        """float[..., U, D], bool[..., U] -> float[..., U, D], imputed for all of them."""
        width, count = self.config.width, shared.shape[-2]
        names = tuple(map(modality, self.config.built_modalities))
        others = ~jnp.eye(count, dtype=bool) & presence[..., None, :]  # [..., target, source]
        given = jnp.where(others[..., None], shared[..., None, :, :], 0.0)
        given = given.reshape(*given.shape[:-2], count * width)
        target = jnp.broadcast_to(jnp.eye(count), others.shape)
        view = jnp.concatenate([given, others.astype(given.dtype), target], axis=-1)
        rows = (*each(names, width), *each(names), *each(names))
        hidden = Dense(2 * width, rows=rows, over=each(names), name="hidden")(view)
        return Dense(width, over=each(names), name="out")(nn.gelu(hidden))


class SpecificPath(nn.Module):
    """What is specific, past the global experts: a gated sum over modalities.

    Of a single one there is no gate.
    """

    config: HaemsaConfig

    @nn.compact
    def __call__(
        self,
        specific: Float[Array, "*batch modalities width"],
        presence: Bool[Array, "*batch modalities"],
        situation: Float[Array, "*batch situation"],
        allowed: Float[Array, "*batch parts"],
    ) -> tuple[Float[Array, "*batch width"], Float[Array, "*batch parts"]]:
        """The sum and its weights.

        Args:
          specific: float[..., U, D].
          presence: bool[..., U].
          situation: float[..., S].
          allowed: {0, 1}[..., P], of the specific parts that are built.

        Returns:
          float[..., D], and float[..., P], zeros for what is absent or shut.
        """
        config, names = self.config, self.config.built_specific
        where = places(names, config.built_modalities)
        specific, usable = specific[..., where, :], presence[..., where] & (allowed > 0)
        rows = (*plain(config.width), *situation_axis(config))
        logits = [
            Dense(1, kernel_init=nn.initializers.zeros, rows=rows, name=f"gate_{m}")(
                jnp.concatenate([specific[..., place, :], situation], axis=-1)
            )
            for place, m in enumerate(names)
            if len(names) > 1
        ]
        scores = jnp.concatenate(logits, axis=-1) if logits else jnp.zeros(usable.shape)
        weights = masked_softmax(scores, usable)
        return (weights[..., None] * specific).sum(axis=-2), weights
