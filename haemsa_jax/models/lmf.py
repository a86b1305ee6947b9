"""Low-rank Multimodal Fusion: the tensor of `tfn` in factors (Liu et al. 2018, arXiv 1806.00064).

With z_m a perceptron on modality m, joined = b + sum_r w_r * prod_m (W_m,r [1; z_m]): an outer
product and a dense layer whose weights have rank R, at a cost that grows with the modalities and
not by their powers. A modality that is absent, or shut, leaves the product as it is.

Of the reference (thuiar/MMSA, after Justin1904/Low-rank-Multimodal-Fusion) perceptrons and fusion
are the same, to 1e-5; the fusion's output has width D and is read by our heads. The text's LSTM is
not: tokens are pooled as in `late_fusion`. Factors begin near 1 here. Not copied: MMSA hands its
optimiser all parameters but the fourth and fifth, which are w and b, so that these are never
trained; batch normalisation, by which training predictions depend on batch-mates; a dropout that is
made and not used.
"""

from dataclasses import dataclass
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float

from haemsa_jax.config.checks import require_each
from haemsa_jax.models.layers import Array, Dense, places
from haemsa_jax.models.model import register
from haemsa_jax.models.skeleton import Joining, JoiningConfig, powers_of_two
from haemsa_jax.models.subnets import subnet_parts, subnets
from haemsa_jax.structure.axes import Axis, each
from haemsa_jax.structure.genes import Gene
from haemsa_jax.structure.interface import interface
from haemsa_jax.structure.parts import Declaration, Part


@dataclass(frozen=True)
class LmfConfig(JoiningConfig):
    """Sizes of a low-rank fusion network, besides those of every model.

    Attributes:
      rank: rank R of the fusion, at most.
    """

    rank: int = 4

    model: ClassVar[str] = "lmf"

    def __post_init__(self):
        super().__post_init__()
        require_each(self, "network", ("rank",), lambda x: x > 0, "must be positive")

    @property
    def ranks(self) -> tuple[str, ...]:
        """Ranks that can be chosen: powers of two, and all."""
        return self.labels("rank", powers_of_two(self.rank))

    @property
    def factors(self) -> tuple[str, ...]:
        """Modalities with a factor."""
        return self.labels("factors", self.built_modalities)


class LowRank(nn.Module):
    """The product of all modalities' factors, summed over ranks."""

    config: LmfConfig

    @property
    def rank_parts(self) -> tuple[str, ...]:
        """Names of the parts that ranks are."""
        return tuple(f"rank/{n}" for n in range(int(self.config.ranks[-1])))

    def param_axes(self) -> dict[str, tuple[Axis, ...]]:
        """Segments of the weights of ranks."""
        return {"weights": (each(self.rank_parts),)}

    @nn.compact
    def __call__(
        self,
        vectors: dict[str, Float[Array, "*batch width"]],
        allowed: Float[Array, "*batch factors"],
        ranks: Float[Array, " ranks"],
    ) -> Float[Array, "*batch width"]:
        """z by modality float[..., D], {0, 1}[..., factors], {0, 1}[R] -> float[..., D]."""
        width, count = self.config.width, len(self.rank_parts)
        columns, product = each(self.rank_parts, width), jnp.ones((*allowed.shape[:-1], 1))
        for place, m in enumerate(self.config.factors):
            if m in vectors:
                # Near 1, so that a product of many neither vanishes nor explodes at the start.
                near = nn.initializers.ones
                dense = Dense(count * width, columns=columns, bias_init=near, name=f"factor_{m}")
                product = product * jnp.where(allowed[..., place, None] > 0, dense(vectors[m]), 1.0)
        even = nn.initializers.constant(count**-0.5)
        weights = self.param("weights", even, (count,)) * ranks
        bias = self.param("bias", nn.initializers.zeros, (width,))
        product = jnp.broadcast_to(product, (*product.shape[:-1], count * width))
        product = product.reshape(*product.shape[:-1], count, width)
        return bias + jnp.sum(weights[:, None] * product, axis=-2)


@register
class Lmf(Joining):
    """A perceptron a modality, their low-rank product, a head a task."""

    config: LmfConfig

    @staticmethod
    def declare(config: LmfConfig) -> Declaration:
        """Modalities' factors and ranks are parts; which factors, and how many ranks, are genes."""
        ranks, meaning = config.ranks, "modalities in the product"
        genes = (
            Gene("factors", "factors", "mask", meaning, config.factors, True),
            Gene("rank", "factors", "choice", "rank of the product", ranks),
        )
        parts = [
            *subnet_parts(config),
            *(
                Part(
                    name=f"factor/{m}",
                    kind="factor",
                    opened=(("factors", m),),
                    reads=((f"subnet/{m}",),),
                    modules=(("fusion", f"factor_{m}"),),
                )
                for m in config.factors
            ),
        ]
        for n in range(int(ranks[-1])):
            needed = next(rank for rank in ranks if int(rank) > n)
            parts.append(Part(name=f"rank/{n}", kind="rank", opened=(("rank", needed),)))
        return interface(config, auxiliary=True) + Declaration(genes, tuple(parts))

    def join(self, inputs, structure, rates, dataset):
        """What the heads read, summaries and gates; see `Joining`."""
        config, built = self.config, self.config.built_modalities
        z, summaries = subnets(inputs, config, config.width, rates.inner)
        numbers = jnp.asarray([float(rank) for rank in config.ranks])
        ranks = 1.0 * (jnp.arange(int(config.ranks[-1])) < numbers[structure["rank"]])
        allowed = 1.0 * inputs.presence[..., places(config.factors, built)]
        if config.factors:
            allowed = allowed * structure["factors"]
        read = {m: z[m] for m in inputs.tokens}
        joined = LowRank(config, name="fusion")(read, allowed, ranks)
        return joined, summaries, {}
