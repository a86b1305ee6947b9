"""Gated cross-attention between modalities (Kumar and Vepa 2020, arXiv 2003.01043).

With H_m the contextual utterances of modality m (a GRU both ways over the dialogue, a dense layer)
and P the target's utterance in H_t, for each pair of a source s and a target t:

    Q = softmax(P W H_s^T) H_s              what s says, seen from t
    k = [P; Q; P - Q; P * Q]
    X = g * tanh(W_f k) + (1 - g) * P,      g = sigmoid(W_g k)
    joined = relu(W [H_t for all t; X for all pairs])

A pair of which one is absent, or that is shut, says nothing.

The authors published no code that we know of, and of the paper its abstract and first equations
were at hand: recurrence, bilinear scores and that cross-attention is gated are its, the form of the
gate is ours. Left out is its self-attention over fused utterances, of which it reports the smaller
gain. What comes before the gate is held to the code of its forerunner (Ghosal et al. 2018,
D18-1382; declare-lab/multimodal-deep-learning, contextual-multimodal-fusion), to 1e-5, with W the
identity. Not copied of that: padding takes part in attention, epochs are chosen on the test set.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Bool, Float

from haemsa_jax.models.inputs import utterances
from haemsa_jax.models.layers import Array, Dense, Dropout, masked_softmax
from haemsa_jax.models.model import register
from haemsa_jax.models.recurrences import Bidirectional, Gru
from haemsa_jax.models.skeleton import Joining, JoiningConfig
from haemsa_jax.structure.axes import each
from haemsa_jax.structure.genes import Gene
from haemsa_jax.structure.interface import interface, modality
from haemsa_jax.structure.parts import Declaration, Gating, Part


@dataclass(frozen=True)
class GatedAttentionConfig(JoiningConfig):
    """Sizes of a network of gated links; `width` is that of states in each direction, too."""

    model: ClassVar[str] = "gated_attention"

    @property
    def links(self) -> tuple[str, ...]:
        """Pairs of modalities that are built, source>target."""
        names = self.built_modalities
        return self.labels("links", tuple(f"{s}>{t}" for t in names for s in names if s != t))


class GatedLink(nn.Module):
    """What one modality's utterances say to another's, and a gate a channel."""

    width: int

    def products(
        self,
        target: Float[Array, "*batch width"],
        source: Float[Array, "*batch utterances width"],
        known: Bool[Array, "*batch utterances"],
    ) -> int:
        """Operations of the attention's products."""
        return 4 * math.prod(source.shape)

    @nn.compact
    def __call__(
        self,
        target: Float[Array, "*batch width"],
        source: Float[Array, "*batch utterances width"],
        known: Bool[Array, "*batch utterances"],
    ) -> tuple[Float[Array, "*batch width"], Float[Array, "*batch width"]]:
        """P float[..., D], H_s float[..., U, D], bool[..., U] -> X and g, float[..., D] each."""
        query = Dense(self.width, use_bias=False, name="query")(target)
        scores = jnp.einsum("...d,...ud->...u", query, source)
        attended = jnp.einsum("...u,...ud->...d", masked_softmax(scores, known), source)
        view = jnp.concatenate([target, attended, target - attended, target * attended], axis=-1)
        gate = nn.sigmoid(Dense(self.width, name="gate")(view))
        fused = jnp.tanh(Dense(self.width, name="fused")(view))
        return gate * fused + (1.0 - gate) * target, gate


@register
class GatedAttention(Joining):
    """Contextual utterances of each modality, gated links between them, a head a task."""

    config: GatedAttentionConfig

    @staticmethod
    def declare(config: GatedAttentionConfig) -> Declaration:
        """Links are parts, which of them are used is a gene, a gate weighs each."""
        parts = [
            Part(name=f"gru/{m}", kind="gru", reads=((modality(m),),), modules=((f"gru_{m}",),))
            for m in config.built_modalities
        ]
        for label in config.links:
            source, target = label.split(">")
            parts.append(
                Part(
                    name=f"links/{label}",
                    kind="link",
                    opened=(("links", label),),
                    reads=((f"gru/{source}",), (f"gru/{target}",)),
                    modules=((f"link_{source}_to_{target}",),),
                )
            )
        gene = Gene("links", "links", "mask", "cross-modal links, source>target", config.links)
        names = tuple(f"links/{label}" for label in config.links)
        gate = Gating("links", "links", names, config.links)
        return interface(config, auxiliary=True) + Declaration((gene,), tuple(parts), (gate,))

    def join(self, inputs, structure, rates, dataset):
        """What the heads read, summaries and gates; see `Joining`."""
        config, built, width = self.config, self.config.built_modalities, self.config.width
        vectors, known = utterances(inputs, config, dataset)
        past, _ = config.context_of(dataset)
        presence = {m: inputs.presence[..., place] for place, m in enumerate(built)}
        for m in inputs.tokens:
            hidden = Bidirectional(width, Gru, jnp.tanh, name=f"gru_{m}")(vectors[m], known[m])
            vectors[m] = Dropout()(hidden * presence[m][..., None, None], rates.inner)
        rows, weights = each(map(modality, built), width), []
        read = [vectors[m][..., past, :] for m in built]
        alone = jnp.stack(read, axis=-2)
        for place, label in enumerate(config.links):
            source, target = label.split(">")
            gate = fused = jnp.zeros_like(alone[..., 0, :])
            if source in inputs.tokens and target in inputs.tokens:
                link = GatedLink(width, name=f"link_{source}_to_{target}")
                fused, gate = link(vectors[target][..., past, :], vectors[source], known[source])
                open_ = structure["links"][place] * presence[source] * presence[target]
                fused, gate = (x * open_[..., None] for x in (fused, gate))
            read.append(fused)
            weights.append(gate.mean(axis=-1))
        rows += each((f"links/{label}" for label in config.links), width)
        joined = nn.relu(Dense(width, rows=rows, name="joint")(jnp.concatenate(read, axis=-1)))
        gates = {"links": jnp.stack(weights, axis=-1)} if weights else {}
        return joined, alone, gates
