"""A recurrent network over the dialogue: one vector an utterance, a GRU both ways, a head.

The context model of the field since bc-LSTM (Poria et al. 2017): an utterance is the mean of each
modality's tokens, side by side; the state at the target predicts.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp

from haemsa_jax.models.inputs import utterances
from haemsa_jax.models.layers import Dense, Dropout
from haemsa_jax.models.model import register
from haemsa_jax.models.recurrences import DIRECTIONS, Gru
from haemsa_jax.models.skeleton import Joining, JoiningConfig
from haemsa_jax.structure.axes import each
from haemsa_jax.structure.genes import Gene
from haemsa_jax.structure.interface import interface, modality
from haemsa_jax.structure.parts import Declaration, Part


@dataclass(frozen=True)
class RecurrentConfig(JoiningConfig):
    """Sizes of a recurrent network; `width` is that of the state in each direction."""

    model: ClassVar[str] = "recurrent"

    @property
    def directions(self) -> tuple[str, ...]:
        """Ways in which the dialogue is read."""
        return self.labels("directions", DIRECTIONS)


@register
class Recurrent(Joining):
    """Utterances side by side in their modalities, a GRU in each direction, a head a task."""

    config: RecurrentConfig

    @staticmethod
    def declare(config: RecurrentConfig) -> Declaration:
        """Each direction is a part, which of them are used is a gene."""
        names = config.directions
        gene = Gene("directions", "recurrence", "mask", "ways the dialogue is read", names, True)
        parts = tuple(
            Part(name=f"gru/{x}", kind="direction", opened=(("directions", x),), modules=((x,),))
            for x in names
        )
        return interface(config, auxiliary=True) + Declaration((gene,), parts)

    def join(self, inputs, structure, rates, dataset):
        """What the heads read, summaries and gates; see `Joining`."""
        config, built = self.config, self.config.built_modalities
        vectors, known = utterances(inputs, config, dataset)
        present = jnp.stack([known[m] for m in built]).any(axis=0)
        past, _ = config.context_of(dataset)
        together = jnp.concatenate([vectors[m] for m in built], axis=-1)
        rows = each(map(modality, built), config.width)
        x = Dropout()(Dense(config.width, rows=rows, name="joint")(together), rates.inner)
        joined = jnp.zeros((*inputs.presence.shape[:-1], config.width))
        for place, name in enumerate(config.directions):
            states = Gru(config.width, name=name)(x, present, name == "backward")
            joined = joined + structure["directions"][place] * states[..., past, :]
        alone = jnp.stack([vectors[m][..., past, :] for m in built], axis=-2)
        return joined, alone, {}
