"""A recurrent network over the dialogue: one vector an utterance, a GRU both ways, a head.

The context model of the field since bc-LSTM (Poria et al. 2017): an utterance is the mean of each
modality's tokens, side by side; the state at the target predicts. GRU: Cho et al. 2014, arXiv
1406.1078.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from haemsa_jax.config import NetworkConfig
from haemsa_jax.models.heads import Readout
from haemsa_jax.models.inputs import Inputs
from haemsa_jax.models.layers import Array, Dense, Dropout, masked_mean
from haemsa_jax.models.model import Outputs, Rates, register
from haemsa_jax.sample import Sample
from haemsa_jax.structure.axes import each
from haemsa_jax.structure.genes import Gene
from haemsa_jax.structure.interface import interface, modality
from haemsa_jax.structure.parts import Declaration, Part, Structure

DIRECTIONS = ("forward", "backward")


@dataclass(frozen=True)
class RecurrentConfig(NetworkConfig):
    """Sizes of a recurrent network; `width` is that of the state in each direction."""

    model: ClassVar[str] = "recurrent"

    @property
    def representations(self) -> tuple[str, ...]:
        """Names of what `Outputs.representations` offers."""
        return ("summaries",)

    @property
    def directions(self) -> tuple[str, ...]:
        """Ways in which the dialogue is read."""
        return self.labels("directions", DIRECTIONS)


class Gru(nn.Module):
    """A GRU over utterances, of which those that are missing leave the state as it is."""

    width: int

    def products(
        self,
        x: Float[Array, "*batch utterances features"],
        present: Bool[Array, "*batch utterances"],
        reverse: bool,
    ) -> int:
        """Operations of the recurrent products."""
        return 6 * self.width**2 * math.prod(x.shape[:-1])

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "*batch utterances features"],
        present: Bool[Array, "*batch utterances"],
        reverse: bool,
    ) -> Float[Array, "*batch utterances width"]:
        """float[..., U, D], bool[..., U] -> states float[..., U, width]."""
        given = jnp.moveaxis(Dense(3 * self.width, name="input")(x), -2, 0)
        kernel = self.param("recurrent", nn.initializers.orthogonal(), (self.width, 3 * self.width))
        bias = self.param("bias", nn.initializers.zeros, (self.width,))

        def step(state, now):
            given, present = now
            update, reset, new = jnp.split(given, 3, axis=-1)
            from_update, from_reset, from_new = jnp.split(state @ kernel, 3, axis=-1)
            update, reset = nn.sigmoid(update + from_update), nn.sigmoid(reset + from_reset)
            new = jnp.tanh(new + reset * (from_new + bias))
            state = jnp.where(present[..., None], update * state + (1.0 - update) * new, state)
            return state, state

        start = jnp.zeros((*x.shape[:-2], self.width))
        present = jnp.moveaxis(present, -1, 0)
        return jnp.moveaxis(jax.lax.scan(step, start, (given, present), reverse=reverse)[1], 0, -2)


@register
class Recurrent(nn.Module):
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

    @nn.compact
    def __call__(
        self,
        sample: Sample,
        structure: Structure,
        rates: Rates,
        dataset: str,
        longest: Mapping[str, Int[Array, ""]] | None = None,
    ) -> Outputs:
        """Run one data set's samples, with any leading axes."""
        config, built = self.config, self.config.built_modalities
        structure = jax.tree.map(jnp.asarray, dict(structure))
        reader = Inputs(config, name="inputs")
        nn.share_scope(self, reader)
        inputs = reader(sample, structure, rates, dataset, longest)
        past, future = config.context_of(dataset)
        offsets = np.arange(-past, future + 1)
        leading = inputs.presence.shape[:-1]
        empty = jnp.zeros((*leading, len(offsets), config.width))
        vectors, present = {m: empty for m in built}, jnp.zeros((*leading, len(offsets)), bool)
        for m, tokens in inputs.tokens.items():
            own = inputs.offsets[m][..., None, :] == offsets[:, None]
            own = own & inputs.masks[m][..., None, :]
            vectors[m] = masked_mean(tokens[..., None, :, :], own)
            present = present | own.any(axis=-1)
        together = jnp.concatenate([vectors[m] for m in built], axis=-1)
        rows = each(map(modality, built), config.width)
        x = Dropout()(Dense(config.width, rows=rows, name="joint")(together), rates.inner)
        joined = jnp.zeros((*leading, config.width))
        for place, name in enumerate(config.directions):
            states = Gru(config.width, name=name)(x, present, name == "backward")
            joined = joined + structure["directions"][place] * states[..., past, :]
        joined = Dropout()(joined, rates.inner)
        alone = jnp.stack([vectors[m][..., past, :] for m in built], axis=-2)
        readout = Readout(config, name="readout")
        nn.share_scope(self, readout)
        return readout(joined, {"summaries": alone}, inputs.presence, {}, rates.inner, dataset)
