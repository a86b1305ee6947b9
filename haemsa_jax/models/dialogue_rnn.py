"""DialogueRNN: states of dialogue, speaker and emotion (Majumder et al. 2019, arXiv 1811.00405).

With u_t an utterance, its modalities side by side:
c_t = sum of attention(u_t, g_1..g_t-1) g, q_t = GRU([u_t; c_t], q_t-1), g_t = GRU([u_t; q_t-1],
g_t-1), e_t = GRU(q_t, e_t-1), in both directions; the target reads all e by attention and
joined = relu(W h).

Held against declare-lab/conv-emotion for one party, which is what can be known here: samples do not
say who speaks, so that q is the state of whoever does. Not copied: the epoch is chosen by the test
split there. A missing utterance leaves all states as they are.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from haemsa_jax.models.inputs import utterances
from haemsa_jax.models.layers import Array, Dense, Dropout, masked_softmax
from haemsa_jax.models.model import register
from haemsa_jax.models.recurrences import DIRECTIONS
from haemsa_jax.models.skeleton import Joined, Joining, JoiningConfig
from haemsa_jax.structure.axes import each
from haemsa_jax.structure.genes import Gene
from haemsa_jax.structure.interface import interface, modality
from haemsa_jax.structure.parts import Declaration, Part

# The matrices of the three GRUs that read states, and the biases behind their resets.
KERNELS = ("party_to_global", "global", "global_to_party", "party", "party_to_emotion", "emotion")
BIASES = ("global_bias", "party_bias", "emotion_bias")


@dataclass(frozen=True)
class DialogueRnnConfig(JoiningConfig):
    """Its size is `width`, that of every state in each direction."""

    model: ClassVar[str] = "dialogue_rnn"

    @property
    def directions(self) -> tuple[str, ...]:
        """Ways in which the dialogue is read."""
        return self.labels("directions", DIRECTIONS)

    @property
    def attends(self) -> tuple[str, ...]:
        """Whether the target reads the emotions of other utterances."""
        return self.labels("emotions", ("target", "dialogue"))


class Direction(nn.Module):
    """The three states after every utterance, of which those that are missing change nothing."""

    width: int

    def products(
        self,
        x: Float[Array, "*batch utterances width"],
        present: Bool[Array, "*batch utterances"],
        reverse: bool,
    ) -> int:
        """Operations of products with states: six matrices, and attention over the history."""
        count = math.prod(x.shape[:-1])
        return count * (36 * self.width**2 + 4 * self.width * x.shape[-2])

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "*batch utterances width"],
        present: Bool[Array, "*batch utterances"],
        reverse: bool,
    ) -> Float[Array, "*batch utterances width"]:
        """float[..., U, D], bool[..., U] -> emotions float[..., U, D]."""
        width, start = self.width, Dense.kernel_init
        kernel = {name: self.param(name, start, (width, 3 * width)) for name in KERNELS}
        zeros = nn.initializers.zeros
        bias = {name: self.param(name, zeros, (width,)) for name in BIASES}
        of_party = self.param("emotion_input_bias", zeros, (3 * width,))
        given = Dense(6 * width, name="input")(x), Dense(width, use_bias=False, name="attend")(x)

        def gru(given, state, name):
            old = state @ kernel[name]
            update, reset = jnp.split(nn.sigmoid((given + old)[..., : 2 * width]), 2, axis=-1)
            new = old[..., 2 * width :] + bias[f"{name}_bias"]
            new = jnp.tanh(given[..., 2 * width :] + reset * new)
            return update * state + (1.0 - update) * new

        def step(carry, now):
            (history, known, states), (given, query, present, place) = carry, now
            to_global, to_party = jnp.split(given, 2, axis=-1)
            weights = masked_softmax(jnp.einsum("...ud,...d->...u", history, query), known)
            context = jnp.einsum("...u,...ud->...d", weights, history)
            whole, party, emotion = states
            whole = gru(to_global + party @ kernel["party_to_global"], whole, "global")
            party = gru(to_party + context @ kernel["global_to_party"], party, "party")
            emotion = gru(of_party + party @ kernel["party_to_emotion"], emotion, "emotion")
            after = jax.tree.map(
                lambda new, old: jnp.where(present[..., None], new, old),
                (whole, party, emotion),
                states,
            )
            history = history.at[..., place, :].set(after[0])
            return (history, known.at[..., place].set(present), after), after[2]

        nothing = jnp.zeros_like(x[..., 0, :])
        first = jnp.zeros_like(x), jnp.zeros_like(present), (nothing,) * 3
        steps = *(jnp.moveaxis(of, -2, 0) for of in given), jnp.moveaxis(present, -1, 0)
        places = jnp.arange(x.shape[-2])
        emotions = jax.lax.scan(step, first, (*steps, places), reverse=reverse)[1]
        return jnp.moveaxis(emotions, 0, -2)


class Matching(nn.Module):
    """What one utterance reads of all."""

    parts: tuple[str, ...]
    width: int

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "*batch utterances features"],
        query: Float[Array, "*batch features"],
        present: Bool[Array, "*batch utterances"],
    ) -> Float[Array, "*batch features"]:
        """float[..., U, E], float[..., E], bool[..., U] -> float[..., E]."""
        axis = each(self.parts, self.width)
        query = Dense(query.shape[-1], rows=axis, columns=axis, name="query")(query)
        # Written as sums, of which no operations are counted: few beside those of the states.
        weights = masked_softmax((x * query[..., None, :]).sum(axis=-1), present)
        return (weights[..., None] * x).sum(axis=-2)


@register
class DialogueRnn(Joining):
    """Utterances side by side in their modalities, states in each direction, a head a task."""

    config: DialogueRnnConfig

    @staticmethod
    def declare(config: DialogueRnnConfig) -> Declaration:
        """Each direction is a part, and so is the attention over all emotions."""
        names = config.directions
        genes = (
            Gene("directions", "recurrence", "mask", "ways the dialogue is read", names, True),
            Gene("emotions", "emotions", "choice", "whose emotions are read", config.attends),
        )
        parts = [
            Part(name=f"states/{x}", kind="direction", opened=(("directions", x),), modules=((x,),))
            for x in names
        ]
        if "dialogue" in config.attends:
            opened = (("emotions", "dialogue"),)
            parts.append(
                Part(name="matching", kind="block", opened=opened, modules=(("matching",),))
            )
        return interface(config, auxiliary=True) + Declaration(genes, tuple(parts))

    def join(self, inputs, structure, rates, dataset):
        """What it makes of its inputs; see `Joining`."""
        config, built, width = self.config, self.config.built_modalities, self.config.width
        vectors, known = utterances(inputs, config, dataset)
        present = jnp.stack([known[m] for m in built]).any(axis=0)
        past, _ = config.context_of(dataset)
        together = jnp.concatenate([vectors[m] for m in built], axis=-1)
        rows = each(map(modality, built), width)
        x = Dropout()(Dense(width, rows=rows, name="utterance")(together), rates.inner)
        names = config.directions
        emotions = jnp.concatenate(
            [
                structure["directions"][place]
                * Direction(width, name=name)(x, present, name == DIRECTIONS[1])
                for place, name in enumerate(names)
            ],
            axis=-1,
        )
        emotions = Dropout()(emotions, rates.inner)
        read = emotions[..., past, :]
        parts = tuple(f"states/{name}" for name in names)
        if "dialogue" in config.attends:
            matched = Matching(parts, width, name="matching")(emotions, read, present)
            chosen = structure["emotions"] == config.attends.index("dialogue")
            read = jnp.where(chosen, matched, read)
        joined = nn.relu(Dense(width, rows=each(parts, width), name="joint")(read))
        alone = jnp.stack([vectors[m][..., past, :] for m in built], axis=-2)
        return Joined(joined, alone)
