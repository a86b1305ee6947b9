"""A late-fusion network: a perceptron a modality, joined once at the end.

What the field compares with first (LF-DNN of thuiar/MMSA; Cambria et al. 2017): no modality sees
another before the last layers.
"""

from dataclasses import dataclass
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp

from haemsa_jax.config.checks import require_counts
from haemsa_jax.models.inputs import pooled
from haemsa_jax.models.layers import Dense, Dropout
from haemsa_jax.models.model import register
from haemsa_jax.models.skeleton import Joining, JoiningConfig
from haemsa_jax.structure.axes import each
from haemsa_jax.structure.genes import Gene
from haemsa_jax.structure.interface import interface, modality
from haemsa_jax.structure.parts import Declaration, Part


@dataclass(frozen=True)
class LateFusionConfig(JoiningConfig):
    """Sizes of a late-fusion network, besides those of every model.

    Attributes:
      layers: hidden layers of each modality's perceptron, at most.
    """

    layers: int = 3

    model: ClassVar[str] = "late_fusion"

    def __post_init__(self):
        super().__post_init__()
        require_counts(self, ("layers",))

    def counts(self, m: str) -> tuple[str, ...]:
        """How many layers a modality's perceptron can have."""
        return self.labels(f"layers/{m}", tuple(str(n + 1) for n in range(self.layers)))


@register
class LateFusion(Joining):
    """Mean tokens of the target and of its context, a perceptron a modality, one joint layer."""

    config: LateFusionConfig

    @staticmethod
    def declare(config: LateFusionConfig) -> Declaration:
        """Its layers are parts, how many of them are used is a gene a modality."""
        genes, parts = [], []
        for m in config.built_modalities:
            counts, below = config.counts(m), modality(m)
            genes.append(Gene(f"layers/{m}", "layers", "choice", "hidden layers", counts))
            for n in range(int(counts[-1])):
                needed = next(count for count in counts if int(count) > n)
                opened = ((f"layers/{m}", needed),)
                name, module = f"layers/{m}/{n}", ((f"layer_{m}_{n}",),)
                parts.append(
                    Part(name=name, kind="layer", opened=opened, reads=((below,),), modules=module)
                )
                below = name
        return interface(config, auxiliary=True) + Declaration(tuple(genes), tuple(parts))

    def join(self, inputs, structure, rates, dataset):
        """What the heads read, summaries and gates; see `Joining`."""
        config, built = self.config, self.config.built_modalities
        empty = jnp.zeros((*inputs.presence.shape[:-1], config.width))
        summaries = {m: empty for m in built}
        for m in inputs.tokens:
            x = pooled(inputs, m)
            used = jnp.asarray([float(n) for n in config.counts(m)])[structure[f"layers/{m}"]]
            for n in range(int(config.counts(m)[-1])):
                hidden = nn.gelu(Dense(config.width, name=f"layer_{m}_{n}")(x))
                x = jnp.where(used > n, Dropout()(hidden, rates.inner), x)
            summaries[m] = jnp.where(inputs.masks[m].any(axis=-1, keepdims=True), x, 0.0)
        together = jnp.concatenate([summaries[m] for m in built], axis=-1)
        rows = each(map(modality, built), config.width)
        joined = nn.gelu(Dense(config.width, rows=rows, name="joint")(together))
        alone = jnp.stack([summaries[m] for m in built], axis=-2)
        return joined, alone, {}
