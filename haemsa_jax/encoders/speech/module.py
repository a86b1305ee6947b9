"""The encoder of Whisper (Radford et al. 2022, 2212.04356): convolutions, then a transformer."""

import math
from dataclasses import dataclass
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Bool, Float

from haemsa_jax.config.checks import require, require_each, require_numbers
from haemsa_jax.encoders.text.module import gelu
from haemsa_jax.models.layers import Array

FAMILY, MODALITY = "whisper", "audio"
FRAMES = 2  # of the spectrogram, 10 ms each, make a token


@dataclass(frozen=True)
class WhisperConfig:
    """Shapes of an encoder.

    Attributes:
      bands: of the mel spectrogram.
      positions: tokens of 20 ms that it reads, always so many.
      width: D, of every token.
      layers: L.
      heads: attention heads; divides `width`.
    """

    bands: int
    positions: int
    width: int
    layers: int
    heads: int

    marks: ClassVar[bool] = False

    def __post_init__(self):
        require_numbers(self, "encoder")
        sizes = "bands", "positions", "width", "layers", "heads"
        require_each(self, "encoder", sizes, lambda x: x > 0, "must be at least 1")
        require(
            self.width % self.heads == 0,
            f"encoder: width={self.width} must be a multiple of heads={self.heads}",
        )


class Whisper(nn.Module):
    """A spectrogram to vectors; what is not there is heard as silence, as Whisper was trained."""

    config: WhisperConfig

    @nn.compact
    def __call__(
        self, frames: Float[Array, "tokens channels"], mask: Bool[Array, " tokens"]
    ) -> Float[Array, "tokens width"]:
        """float[T, 2 bands], bool[T] -> float[T, D], zeros outside; real tokens come first."""
        config, given = self.config, len(mask)
        # Whisper cuts a spectrogram off 8 below its loudest, on a scale on which that is 2.
        loudest = jnp.where(mask[:, None], frames, -jnp.inf).max(initial=-1e3)
        frames = jnp.where(mask[:, None], frames, loudest - 2.0)
        missing = ((0, config.positions - given), (0, 0))
        x = jnp.pad(frames, missing, constant_values=loudest - 2.0).reshape(-1, config.bands)
        x = gelu(nn.Conv(config.width, (3,), padding=1, name="conv1")(x))
        x = gelu(nn.Conv(config.width, (3,), strides=FRAMES, padding=1, name="conv2")(x))
        shape = config.positions, config.width
        x = x + self.param("positions", nn.initializers.normal(0.02), shape)
        stack = nn.scan(
            _Layer,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            length=config.layers,
        )
        x, _ = stack(config, name="layers")(x, None)
        x = nn.LayerNorm(epsilon=1e-5, name="norm")(x)[:given]
        return jnp.where(mask[:, None], x, 0.0)


class _Layer(nn.Module):
    """Attention and perceptron, of what is normalised, each added."""

    config: WhisperConfig

    @nn.compact
    def __call__(
        self, x: Float[Array, "tokens width"], _: None
    ) -> tuple[Float[Array, "tokens width"], None]:
        config = self.config
        y = nn.LayerNorm(epsilon=1e-5, name="attention_norm")(x)

        def heads(name):
            return nn.Dense(config.width, name=name)(y).reshape(len(y), config.heads, -1)

        query, key, value = heads("query"), heads("key"), heads("value")
        logits = jnp.einsum("qhd,thd->hqt", query, key) / math.sqrt(query.shape[-1])
        mixed = jnp.einsum("hqt,thd->qhd", nn.softmax(logits), value).reshape(x.shape)
        x = x + nn.Dense(config.width, name="out")(mixed)
        y = nn.LayerNorm(epsilon=1e-5, name="perceptron_norm")(x)
        y = gelu(nn.Dense(4 * config.width, name="wide")(y))
        return x + nn.Dense(config.width, name="narrow")(y), None
