"""Tensor Fusion Network: products of modalities' entries (Zadeh et al. 2017, arXiv 1707.07250).

With z_m a perceptron on modality m, two joint layers read the outer product of all [1; z_m]: every
entry, every product of two modalities' entries, of three and so on. Here it lies sorted by the
modalities that a product is of, so that sets of them can be shut, as in the paper's ablation; an
absent modality's z is zero, and so are all of its products.

Of the reference (thuiar/MMSA) the perceptrons, the tensor and the first two joint layers are the
same, to 1e-5; heads are ours. The text's LSTM is not: tokens are pooled as in `late_fusion`. Not
copied: batch normalisation, by which training predictions depend on batch-mates (features are
standardised once), and a sigmoid onto -3 to 3, whatever the range of the labels.
"""

import functools
import itertools
from dataclasses import dataclass
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float

from haemsa_jax.config.checks import require, require_each
from haemsa_jax.models.layers import Array, Dense, Dropout, Scalar
from haemsa_jax.models.model import register
from haemsa_jax.models.skeleton import Joining, JoiningConfig
from haemsa_jax.models.subnets import subnet_parts, subnets
from haemsa_jax.structure.axes import Segment, each
from haemsa_jax.structure.genes import Gene
from haemsa_jax.structure.interface import interface, modality
from haemsa_jax.structure.parts import Declaration, Part

LARGEST = 2**20  # entries of a tensor


@dataclass(frozen=True)
class TfnConfig(JoiningConfig):
    """Sizes of a tensor fusion network, besides those of every model.

    Attributes:
      factor: entries of each modality in the tensor; its size is (factor + 1) ^ modalities.
    """

    factor: int = 16

    model: ClassVar[str] = "tfn"

    def __post_init__(self):
        super().__post_init__()
        require_each(self, "network", ("factor",), lambda x: x > 0, "must be positive")
        size, count = (self.factor + 1) ** len(self.modalities), len(self.modalities)
        require(
            size <= LARGEST,
            f"network: factor={self.factor} makes a tensor of {size:,} entries of {count} "
            f"modalities, above {LARGEST:,}; lower --factor",
        )

    @property
    def products(self) -> tuple[str, ...]:
        """Sets of modalities that are multiplied, such as `text+audio`."""
        built = self.built_modalities
        sets = [s for n in range(2, len(built) + 1) for s in itertools.combinations(built, n)]
        return self.labels("products", tuple(map("+".join, sets)))


class Tensor(nn.Module):
    """The tensor, and two joint layers."""

    config: TfnConfig

    @nn.compact
    def __call__(
        self,
        vectors: dict[str, Float[Array, "*batch factor"]],
        used: Float[Array, " products"],
        rate: Scalar = 0.0,
    ) -> Float[Array, "*batch width"]:
        """By modality float[..., R], {0, 1}[products] -> float[..., D]."""
        config, size = self.config, self.config.factor
        entries, rows = list(vectors.values()), each(map(modality, vectors), size)
        for place, label in enumerate(config.products):
            factors = [vectors[m] for m in label.split("+")]
            # The first modality slowest; no matrix product, but each entry by each.
            product = functools.reduce(
                lambda x, y: (x[..., :, None] * y[..., None, :]).reshape(*x.shape[:-1], -1), factors
            )
            entries.append(used[place] * product)
            rows += (Segment((f"product/{label}",), size ** len(factors)),)
        x = Dropout()(jnp.concatenate(entries, axis=-1), rate)
        x = nn.relu(Dense(config.width, rows=rows, name="layer_0")(x))
        return nn.relu(Dense(config.width, name="layer_1")(x))


@register
class Tfn(Joining):
    """A perceptron a modality, their tensor, two joint layers, a head a task."""

    config: TfnConfig

    @staticmethod
    def declare(config: TfnConfig) -> Declaration:
        """Products of each set of modalities are a part, which of them are used is a gene."""
        meaning = "sets of modalities that are multiplied"
        gene = Gene("products", "products", "mask", meaning, config.products)
        products = [
            Part(
                name=f"product/{label}",
                kind="product",
                opened=(("products", label),),
                reads=tuple((f"subnet/{m}",) for m in label.split("+")),
            )
            for label in config.products
        ]
        return interface(config, auxiliary=True) + Declaration(
            (gene,), (*subnet_parts(config), *products)
        )

    def join(self, inputs, structure, rates, dataset):
        """What the heads read, summaries and gates; see `Joining`."""
        vectors, summaries = subnets(inputs, self.config, self.config.factor, rates.inner)
        joined = Tensor(self.config, name="tensor")(
            vectors, structure.get("products", jnp.zeros(0)), rates.inner
        )
        return joined, summaries, {}
