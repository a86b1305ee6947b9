"""A perceptron a modality on its pooled tokens, as networks have it that multiply modalities."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float

from haemsa_jax.config import NetworkConfig
from haemsa_jax.models.inputs import Tokens, pooled
from haemsa_jax.models.layers import Array, Dense, Dropout, Scalar
from haemsa_jax.structure.interface import modality
from haemsa_jax.structure.parts import Part


class Perceptron(nn.Module):
    """Dense layers, each with a ReLU behind it.

    Attributes:
      sizes: of the layers.
    """

    sizes: tuple[int, ...]

    @nn.compact
    def __call__(
        self, x: Float[Array, "*batch features"], rate: Scalar = 0.0
    ) -> tuple[Float[Array, "*batch width"], Float[Array, "*batch hidden"]]:
        """float[..., E] -> what the last layer says, and the one before it.

        `rate` is of dropout before the first layer.
        """
        last = before = Dropout()(x, rate)
        for place, size in enumerate(self.sizes):
            before, last = last, nn.relu(Dense(size, name=f"layer_{place}")(last))
        return last, before


def subnet_parts(config: NetworkConfig) -> tuple[Part, ...]:
    """The parts `subnet/MODALITY`."""
    return tuple(
        Part(
            name=f"subnet/{m}",
            kind="subnet",
            reads=((modality(m),),),
            modules=((f"subnet_{m}",),),
        )
        for m in config.built_modalities
    )


def subnets(
    inputs: Tokens, config: NetworkConfig, size: int, rate: Scalar
) -> tuple[dict[str, Float[Array, "*batch size"]], Float[Array, "*batch modalities width"]]:
    """What perceptrons of three layers say of the modalities that are built; zeros where absent.

    To be called by a model, whose modules the perceptrons become.

    Returns:
      By modality float[..., size], and of the layers before the last float[..., U, D].
    """
    sizes, leading = (config.width, config.width, size), inputs.presence.shape[:-1]
    vectors, summaries = {}, jnp.zeros((*inputs.presence.shape, config.width))
    for place, m in enumerate(config.built_modalities):
        vectors[m] = jnp.zeros((*leading, size))
        if m in inputs.tokens:
            present = inputs.presence[..., place, None]
            z, before = Perceptron(sizes, name=f"subnet_{m}")(pooled(inputs, m), rate)
            vectors[m] = jnp.where(present, z, 0.0)
            summaries = summaries.at[..., place, :].set(jnp.where(present, before, 0.0))
    return vectors, summaries
