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
    ) -> Float[Array, "*batch width"]:
        """float[..., E] -> float[..., sizes[-1]]; `rate` of dropout before the first layer."""
        x = Dropout()(x, rate)
        for place, size in enumerate(self.sizes):
            x = nn.relu(Dense(size, name=f"layer_{place}")(x))
        return x


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
) -> dict[str, Float[Array, "*batch size"]]:
    """By modality that is built what its perceptron says, float[..., size]; zeros where absent.

    To be called by a model, whose modules the perceptrons become.
    """
    sizes, said = (config.width, config.width, size), {}
    for place, m in enumerate(config.built_modalities):
        said[m] = jnp.zeros((*inputs.presence.shape[:-1], size))
        if m in inputs.tokens:
            z = Perceptron(sizes, name=f"subnet_{m}")(pooled(inputs, m), rate)
            said[m] = jnp.where(inputs.presence[..., place, None], z, 0.0)
    return said
