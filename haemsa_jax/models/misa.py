"""MISA: what modalities share and what is each one's own (Hazarika et al. 2020, arXiv 2005.03545).

Two LSTMs both ways read a modality's tokens; their last
states become u_m = norm(relu(W_m s)). The shared part c_m = sigmoid(W u_m) has the weights of all
modalities, the specific one p_m = sigmoid(V_m u_m) its own. One layer of a transformer over all
parts, side by side W2 relu(W1 [.]), is read by the heads. Beside the tasks' losses training
minimises `similarity` times the discrepancy of the moments of shared parts, `difference` times how
much a specific part says of the shared and of other specific ones, mean of (P'C)^2 with rows
centred and of length 1, and `decoding` times the squared error of u_m decoded from c_m + p_m.

Held against declare-lab/MISA, losses too. Not copied: hidden layers of 2048 in the transformer
whatever its width, LSTMs as wide as the features, a discriminator that nothing reads. As there, the
difference grows with the batch. Ours: an absent modality has no parts and no losses.
"""

import itertools
from dataclasses import dataclass
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from haemsa_jax.config.checks import require, require_each
from haemsa_jax.models.discrepancy import discrepancy
from haemsa_jax.models.layers import Array, Attention, Dense, Dropout, Scalar, places, spread
from haemsa_jax.models.model import Outputs, Truth, register
from haemsa_jax.models.recurrences import DIRECTIONS, Lstm
from haemsa_jax.models.skeleton import Joined, Joining, JoiningConfig, by_modality
from haemsa_jax.structure.genes import Gene
from haemsa_jax.structure.interface import interface, modality
from haemsa_jax.structure.parts import Declaration, Part

KINDS = ("specific", "shared")


@dataclass(frozen=True)
class MisaConfig(JoiningConfig):
    """Its sizes and the weights of its losses, beside those of every model.

    Attributes:
      heads: attention heads, over parts; divides `width`.
      similarity: weight of the similarity loss, the discrepancy of shared parts' moments (CMD).
      difference: weight of the difference loss, the overlap of shared and specific parts.
      decoding: weight of the reconstruction loss, of a modality from both of its parts.
    """

    heads: int = 2
    similarity: float = 1.0
    difference: float = 0.3
    decoding: float = 1.0

    model: ClassVar[str] = "misa"

    def __post_init__(self):
        super().__post_init__()
        require_each(self, "network", ("heads",), lambda x: x > 0, "must be positive")
        weights = ("similarity", "difference", "decoding")
        require_each(self, "network", weights, lambda x: x >= 0, "must not be negative")
        wrong = f"network: width={self.width} must be a multiple of heads={self.heads}"
        require(self.width % self.heads == 0, wrong)

    @property
    def representations(self) -> tuple[str, ...]:
        """Names of what `Outputs.representations` offers."""
        return ("summaries", "shared", "specific", "decoded")


class Encoder(nn.Module):
    """Two LSTMs both ways, one on the other, and a dense layer on the last states of both."""

    width: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "*batch tokens width"], mask: Bool[Array, "*batch tokens"]
    ) -> Float[Array, "*batch width"]:
        """float[..., T, D], bool[..., T] -> float[..., D]."""
        ends: dict[str, list[Array]] = {name: [] for name in DIRECTIONS}
        for layer in range(2):
            states = []
            for name, last in zip(DIRECTIONS, (-1, 0), strict=True):
                lstm = Lstm(self.width, name=f"{name}_{layer}")
                states.append(lstm(x, mask, last == 0)[..., : self.width])
                ends[name].append(states[-1][..., last, :])
            x = jnp.concatenate(states, axis=-1)
            if not layer:
                x = nn.LayerNorm(1e-5, name="norm")(x)
        whole = jnp.concatenate([x for name in DIRECTIONS for x in ends[name]], axis=-1)
        return nn.LayerNorm(1e-5, name="norm_out")(nn.relu(Dense(self.width, name="out")(whole)))


class PartsLayer(nn.Module):
    """A layer of a transformer over parts, normalised behind attention and perceptron."""

    width: int
    heads: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "*batch parts width"], mask: Bool[Array, "*batch parts"], rate: Scalar
    ) -> Float[Array, "*batch parts width"]:
        """float[..., P, D], bool[..., P] -> float[..., P, D]."""
        attend = Attention(self.width, self.width, self.heads, biased=True, name="attend")
        x = nn.LayerNorm(1e-5, name="norm")(x + Dropout()(attend(x, x, mask), rate))
        hidden = Dropout()(nn.relu(Dense(4 * self.width, name="hidden")(x)), rate)
        out = Dropout()(Dense(self.width, name="out")(hidden), rate)
        return nn.LayerNorm(1e-5, name="norm_out")(x + out)


@register
class Misa(Joining):
    """Encoders, shared and specific parts, a transformer over them, and decoders."""

    config: MisaConfig

    @staticmethod
    def declare(config: MisaConfig) -> Declaration:
        """Which modalities' parts of both kinds are read are masks."""
        genes, parts = [], []
        for m in config.built_modalities:
            for kind, modules in (("lstm", (f"lstm_{m}",)), ("decoder", (f"decode_{m}",))):
                part = Part(
                    name=f"{kind}/{m}", kind=kind, reads=((modality(m),),), modules=(modules,)
                )
                parts.append(part)
        for kind in KINDS:
            names = config.labels(kind, config.built_modalities)
            meaning = f"modalities whose {kind} part is read"
            genes.append(Gene(kind, kind, "mask", meaning, names, kind == "shared"))
            for m in names:
                own = ((f"specific_{m}",),) if kind == "specific" else ()
                part = Part(
                    name=f"{kind}/{m}",
                    kind=kind,
                    opened=((kind, m),),
                    reads=((modality(m),),),
                    modules=own,
                )
                parts.append(part)
        return interface(config, auxiliary=True) + Declaration(tuple(genes), tuple(parts))

    def join(self, inputs, structure, rates, dataset):
        """What it makes of its inputs; see `Joining`."""
        config, width, rate = self.config, self.config.width, rates.inner
        built = config.built_modalities
        alone: dict[str, dict[str, Array]] = {name: {} for name in config.representations}
        nothing = jnp.zeros((*inputs.presence.shape[:-1], width))
        for m, tokens in inputs.tokens.items():
            alone["summaries"][m] = Encoder(width, name=f"lstm_{m}")(tokens, inputs.masks[m])
        # Over all modalities, built or not, so that places and sizes are those of the whole.
        whole = jnp.stack([alone["summaries"].get(m, nothing) for m in config.modalities], axis=-2)
        shared = nn.sigmoid(Dense(width, name="shared")(whole))
        for m, x in alone["summaries"].items():
            alone["shared"][m] = shared[..., config.modalities.index(m), :]
            if m in config.labels("specific", built):
                alone["specific"][m] = nn.sigmoid(Dense(width, name=f"specific_{m}")(x))
            both = alone["shared"][m] + alone["specific"].get(m, 0.0)
            alone["decoded"][m] = Dense(width, name=f"decode_{m}")(both)
        everywhere, count = places(built, config.modalities), len(config.modalities)
        stacked, opened = [], []
        for kind in KINDS:
            names = config.labels(kind, built)
            is_open = spread(structure[kind], places(names, built), len(built)) if names else 0.0
            stacked += [alone[kind].get(m, nothing) for m in config.modalities]
            opened.append(spread(inputs.presence * is_open > 0, everywhere, count))
        x, mask = jnp.stack(stacked, axis=-2), jnp.concatenate(opened, axis=-1)
        x = PartsLayer(width, config.heads, name="parts")(x, mask, rate)
        x = jnp.where(mask[..., None], x, 0.0).reshape(*nothing.shape[:-1], -1)
        x = nn.relu(Dropout()(Dense(3 * width, name="joint")(x), rate))
        alike = {name: by_modality(inputs, config, of) for name, of in alone.items()}
        return Joined(Dense(width, name="joint_out")(x), alike.pop("summaries"), alike=alike)

    @staticmethod
    def losses(config: MisaConfig, views: list[Outputs], truth: Truth) -> dict[str, Array]:
        """Of shared parts alike, of parts that differ, and of what they say together."""
        parts, presence = views[-1].representations, views[-1].presence
        shared, specific, count = parts["shared"], parts["specific"], presence.shape[-1]
        error = (parts["decoded"] - parts["summaries"]) ** 2
        each = (error.mean(axis=-1) * presence).sum(axis=0) / jnp.maximum(presence.sum(axis=0), 1)
        pairs = [(specific[:, k], shared[:, k], presence[:, k]) for k in range(count)]
        for a, b in itertools.combinations(range(count), 2):
            pairs.append((specific[:, a], specific[:, b], presence[:, a] & presence[:, b]))
        twice = [_redundancy(*pair) for pair in pairs]
        return {
            "similarity": config.similarity * discrepancy(shared, presence, 1.0),
            "difference": config.difference * jnp.stack(twice).sum(),
            "decoding": config.decoding * each.sum() / jnp.maximum(presence.any(axis=0).sum(), 1),
        }


def _redundancy(left: Array, right: Array, presence: Array) -> Array:
    """Mean square of what float[B, D] twice have in common, over the samples bool[B]."""
    weight = presence[:, None].astype(left.dtype)

    def ready(x):
        x = (x - (x * weight).sum(axis=0) / jnp.maximum(weight.sum(), 1.0)) * weight
        length = jnp.linalg.norm(jax.lax.stop_gradient(x), axis=-1, keepdims=True)
        return x / (length + 1e-6)

    return ((ready(left).T @ ready(right)) ** 2).mean()
