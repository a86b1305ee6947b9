"""A BERT-family text encoder: BERT and MiniLM, RoBERTa, MPNet in one module.

They differ in where positions start to count, in MPNet's relative position buckets, and in names;
`haemsa_jax.text.pretrained` maps published weights onto the parameters here. Layers are stacked
and scanned, so that twelve compile as fast as one.
"""

import math
from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp

from haemsa_jax.errors import InputError
from haemsa_jax.models.layers import Array, Dropout, masked_softmax

ACTIVATIONS = {
    "gelu": lambda x: nn.gelu(x, approximate=False),
    "gelu_new": nn.gelu,
    "relu": nn.relu,
}
FARTHEST = 128  # tokens, beyond which relative positions share a bucket (MPNet)


@dataclass(frozen=True)
class EncoderConfig:
    """Shapes of an encoder.

    Attributes:
      vocabulary: tokens it knows.
      positions: rows of the position table.
      first_position: row of the first token; RoBERTa and MPNet count from behind the padding's.
      width: D, of every token.
      layers: L.
      heads: attention heads; divides `width`.
      hidden: width inside a layer's perceptron.
      activation: one of `ACTIVATIONS`.
      epsilon: of the layer norms.
      buckets: relative position buckets, 0 for none.
    """

    vocabulary: int
    positions: int
    first_position: int
    width: int
    layers: int
    heads: int
    hidden: int
    activation: str = "gelu"
    epsilon: float = 1e-12
    buckets: int = 0

    def __post_init__(self):
        if self.width % self.heads:
            raise InputError(
                f"encoder: width={self.width} must be a multiple of heads={self.heads}"
            )
        if self.activation not in ACTIVATIONS:
            raise InputError(
                f"encoder: activation {self.activation!r} is unknown; choose from "
                f"{', '.join(ACTIVATIONS)}"
            )

    @property
    def max_tokens(self) -> int:
        """The longest text it has positions for."""
        return self.positions - self.first_position


class Encoder(nn.Module):
    """Token numbers to contextual vectors (Devlin et al. 2019; MPNet: Song et al. 2020)."""

    config: EncoderConfig

    @nn.compact
    def __call__(self, ids: Array, mask: Array, dropout: Array | float = 0.0) -> Array:
        """int[..., T], bool[..., T] -> float[..., T, D], zeros outside the mask.

        Padding may lie in front or behind; which ids it has does not matter.
        """
        config = self.config
        small = nn.initializers.normal(0.02)
        words = self.param("words", small, (config.vocabulary, config.width))
        positions = self.param("positions", small, (config.positions, config.width))
        place = config.first_position + jnp.maximum(jnp.cumsum(mask, axis=-1) - 1, 0)
        x = jnp.asarray(words)[jnp.where(mask, ids, 0)] + jnp.asarray(positions)[place]
        x = Dropout()(nn.LayerNorm(epsilon=config.epsilon, name="norm")(x), dropout)
        bias = jnp.zeros(())
        if config.buckets:
            table = self.param("relative", small, (config.buckets, config.heads))
            bucket = relative_bucket(place[..., None, :] - place[..., :, None], config.buckets)
            bias = jnp.moveaxis(jnp.asarray(table)[bucket], -1, -3)
        stack = nn.scan(
            _Layer, variable_axes={"params": 0}, split_rngs={"params": True, "dropout": True},
            in_axes=nn.broadcast, length=config.layers,
        )  # fmt: skip
        x, _ = stack(config, name="layers")(x, mask, bias, dropout)
        return jnp.where(mask[..., None], x, 0.0)


class _Layer(nn.Module):
    """Attention and perceptron, each added and then normalised."""

    config: EncoderConfig

    @nn.compact
    def __call__(self, x: Array, mask: Array, bias: Array, dropout: Array | float):
        config = self.config

        def heads(name):
            y = nn.Dense(config.width, name=name)(x)
            return y.reshape(*y.shape[:-1], config.heads, -1)

        query, key, value = heads("query"), heads("key"), heads("value")
        logits = jnp.einsum("...qhd,...thd->...hqt", query, key) / math.sqrt(query.shape[-1])
        weights = masked_softmax(logits + bias, mask[..., None, None, :])
        mixed = jnp.einsum("...hqt,...thd->...qhd", weights, value)
        mixed = nn.Dense(config.width, name="out")(mixed.reshape(x.shape))
        x = nn.LayerNorm(epsilon=config.epsilon, name="attention_norm")(
            x + Dropout(name="attention_dropout")(mixed, dropout)
        )
        inner = ACTIVATIONS[config.activation](nn.Dense(config.hidden, name="wide")(x))
        added = Dropout(name="dropout")(nn.Dense(config.width, name="narrow")(inner), dropout)
        return nn.LayerNorm(epsilon=config.epsilon, name="norm")(x + added), None


def relative_bucket(distance: Array, buckets: int) -> Array:
    """Bucket of the distance from query to key, int[...] -> int[...].

    Half of the buckets are for keys after the query; of each half, one half are exact
    distances and the rest grow logarithmically up to `FARTHEST` (T5, Raffel et al. 2020).
    """
    half = buckets // 2
    exact = half // 2
    away = jnp.abs(distance)
    far = jnp.log(jnp.maximum(away, 1) / exact) / math.log(FARTHEST / exact) * (half - exact)
    far = jnp.minimum(exact + far.astype(jnp.int32), half - 1)
    return jnp.where(distance > 0, half, 0) + jnp.where(away < exact, away, far)
