"""Level 0: from raw features to tokens of width D, one stem a (data set, modality)."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from haemsa_jax.config import NetworkConfig
from haemsa_jax.models.layers import Array, Dense, Dropout, Scalar


def position_codes(
    mask: Bool[Array, "*batch tokens"], width: int
) -> Float[Array, "*batch tokens width"]:
    """Sinusoidal codes (Vaswani et al. 2017) of each token's place among the real tokens.

    Places are counted on the mask, so front- and back-padded arrays give the same codes.

    Args:
      mask: bool[..., T].
      width: D.

    Returns:
      float[..., T, D].
    """
    place = jnp.maximum(jnp.cumsum(mask, axis=-1) - 1, 0).astype(jnp.float32)
    half = (width + 1) // 2
    frequency = jnp.exp(-jnp.log(10_000.0) * jnp.arange(half) / half)
    angle = place[..., None] * frequency
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)[..., :width]


class Stem(nn.Module):
    """Standardise, clip, project, and say where each token stands.

    The collection `constants` holds `mean` and `std`, float[d], from the training split; they are
    data, not parameters, and travel with the checkpoint.
    """

    config: NetworkConfig

    @nn.compact
    def __call__(
        self,
        features: Float[Array, "*batch tokens features"],
        mask: Bool[Array, "*batch tokens"],
        offset: Int[Array, "*batch tokens"],
        dropout: Scalar,
        speaker: Int[Array, "*batch tokens"] | None = None,
    ) -> Float[Array, "*batch tokens width"]:
        """Raw features to tokens.

        Args:
          features: float[..., T, d]; what the mask leaves out is never read, not even NaN, and a
            NaN elsewhere is a value that was lost: it reads as the training mean.
          mask: bool[..., T].
          offset: int[..., T], utterance of each token relative to the target's.
          dropout: rate on the standardised features.
          speaker: int[..., T], who speaks, as in a sample; None of a stem that is never told.

        Returns:
          float[..., T, D], zeros outside the mask.
        """
        config, size = self.config, features.shape[-1]
        mean = self.variable("constants", "mean", jnp.zeros, size).value
        std = self.variable("constants", "std", jnp.ones, size).value
        # Masked before any arithmetic: a NaN must not reach even a product with zero.
        valid = mask[..., None] & ~jnp.isnan(features)
        x = (jnp.where(valid, features, mean) - mean) / std
        x = Dropout(shared_axes=(-2,))(jnp.clip(x, -config.clip, config.clip), dropout)
        x = Dense(config.width, name="project")(x)
        reach = config.max_offset
        offsets = self.param("offsets", nn.initializers.normal(0.02), (2 * reach + 1, config.width))
        x = x + jnp.asarray(offsets)[jnp.clip(offset, -reach, reach) + reach]
        scale = self.param("position_scale", nn.initializers.constant(0.1), ())
        x = x + scale * position_codes(mask, config.width)
        if speaker is not None:
            told = self.param("speakers", nn.initializers.normal(0.02), (2, config.width))
            x = x + jnp.concatenate([jnp.zeros((1, config.width)), told])[speaker]
        # Not normalised: the length of a feature vector says how sure whoever made it was.
        return x * mask[..., None]
