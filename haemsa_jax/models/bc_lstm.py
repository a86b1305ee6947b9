"""bc-LSTM: contexts of each modality's utterances, then of all (Poria et al. 2017, ACL P17-1081).

An utterance is the mean of a modality's tokens, x_m. With B an LSTM in each direction over the
dialogue and a dense layer on both:

    v_m = tanh(B_m(x_m))        joined = relu(B([v_text; v_audio; v_vision])) at the target

A modality whose own context is shut goes into the second level as it is (the paper's comparison of
hierarchical and flat networks); one direction alone is its sc-LSTM.

Both levels are the reference's (declare-lab/multimodal-deep-learning, bc-LSTM), to 1e-5. It trains
the first level alone, then the second on its frozen outputs; here both are trained at once, the
first by heads of single modalities, too (`--auxiliary`). Not copied: an utterance whose features
are all zero counts as missing there, and its gates are cut to straight lines (`hard_sigmoid`) by
the defaults of the Keras of its time.
"""

import functools
from dataclasses import dataclass
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp

from haemsa_jax.models.inputs import utterances
from haemsa_jax.models.layers import Dropout
from haemsa_jax.models.model import register
from haemsa_jax.models.recurrences import DIRECTIONS, Bidirectional, Lstm
from haemsa_jax.models.skeleton import Joining, JoiningConfig
from haemsa_jax.structure.axes import each
from haemsa_jax.structure.genes import Gene
from haemsa_jax.structure.interface import interface, modality
from haemsa_jax.structure.parts import Declaration, Part


@dataclass(frozen=True)
class BcLstmConfig(JoiningConfig):
    """Sizes of a bc-LSTM; `width` is that of states in each direction, too."""

    model: ClassVar[str] = "bc_lstm"

    @property
    def directions(self) -> tuple[str, ...]:
        """Ways in which the dialogue is read."""
        return self.labels("directions", DIRECTIONS)

    @property
    def contextual(self) -> tuple[str, ...]:
        """Modalities with an LSTM of their own."""
        return self.labels("contextual", self.built_modalities)


@register
class BcLstm(Joining):
    """LSTMs over each modality's utterances, an LSTM over what they say, a head a task."""

    config: BcLstmConfig

    @staticmethod
    def declare(config: BcLstmConfig) -> Declaration:
        """Which modalities have a context of their own, and the directions, are genes."""
        directions, names = config.directions, config.contextual
        genes = (
            Gene("directions", "recurrence", "mask", "ways the dialogue is read", directions, True),
            Gene("contextual", "recurrence", "mask", "modalities with their own LSTM", names),
        )
        parts = [
            Part(
                name=f"lstm/{x}",
                kind="direction",
                opened=(("directions", x),),
                modules=(("fused", x),),
            )
            for x in directions
        ]
        for m in names:
            own, module = f"contextual/{m}", f"contextual_{m}"
            parts.append(
                Part(
                    name=own,
                    kind="lstm",
                    opened=(("contextual", m),),
                    reads=((modality(m),),),
                    modules=((module,),),
                )
            )
            parts += [
                Part(
                    name=f"{own}/{x}",
                    kind="cell",
                    reads=((own,), (f"lstm/{x}",)),
                    modules=((module, x),),
                )
                for x in directions
            ]
        return interface(config, auxiliary=True) + Declaration(genes, tuple(parts))

    def join(self, inputs, structure, rates, dataset):
        """What the heads read, summaries and gates; see `Joining`."""
        config, built, width = self.config, self.config.built_modalities, self.config.width
        vectors, known = utterances(inputs, config, dataset)
        names = config.directions
        parts = tuple(f"lstm/{x}" for x in names)
        lstms = functools.partial(Bidirectional, width, Lstm, directions=names, parts=parts)
        for place, m in enumerate(config.contextual):
            if m in inputs.tokens:
                lstm = lstms(activation=jnp.tanh, name=f"contextual_{m}")
                hidden = lstm(vectors[m], known[m], structure["directions"])
                hidden = hidden * inputs.presence[..., built.index(m), None, None]
                hidden = Dropout()(hidden, rates.inner)
                vectors[m] = jnp.where(structure["contextual"][place] > 0, hidden, vectors[m])
        rows = each(map(modality, built), width)
        together = jnp.concatenate([vectors[m] for m in built], axis=-1)
        present = jnp.stack([known[m] for m in built]).any(axis=0)
        fused = lstms(activation=nn.relu, rows=rows, name="fused")
        past, _ = config.context_of(dataset)
        joined = fused(together, present, structure["directions"])[..., past, :]
        alone = jnp.stack([vectors[m][..., past, :] for m in built], axis=-2)
        return joined, alone, {}
