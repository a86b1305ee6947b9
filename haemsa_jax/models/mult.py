"""MulT: every modality reads every other, token by token (Tsai et al. 2019, arXiv 1906.00295).

With tokens X_m of width D and PE the sinusoidal codes of their
places 1, 2, ...: Z_m = sqrt(D) X_m + PE. From Y = Z_t, the transformer from s to t repeats
Y = Y + attend(norm(Y), norm(Z_s)), Y = Y + W2 relu(W1 norm(Y)). What all sources say of t lies side
by side and goes through a transformer of its own, whose last token h_t stands for t; with h = [h_t]
over all t, joined = W (h + W2 relu(W1 h)).

Held against yaohungt/Multimodal-Transformer. Not copied: padding is attended to, and a token whose
first entry is 0 has no place; rates of dropout for audio and vision do not reach their last
transformers; a mask over the future, which the paper does not have, counts tokens across modalities
of different lengths. Ours: masks; a source that is absent or shut leaves the target's tokens as
they are; the last token is the target utterance's; a summary is the mean of a modality's tokens.
"""

from dataclasses import dataclass
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Bool, Float

from haemsa_jax.config.checks import require, require_counts
from haemsa_jax.models.layers import (
    Array,
    Attention,
    Dense,
    Dropout,
    Scalar,
    last_token,
    masked_mean,
)
from haemsa_jax.models.model import register
from haemsa_jax.models.skeleton import Joined, Joining, JoiningConfig, by_modality
from haemsa_jax.structure.genes import Gene
from haemsa_jax.structure.interface import interface, modality
from haemsa_jax.structure.parts import Declaration, Part


@dataclass(frozen=True)
class MultConfig(JoiningConfig):
    """Its sizes, beside those of every model.

    Attributes:
      heads: attention heads; divides `width`.
      layers: layers of each transformer between two modalities, at most.
      memory: layers of each modality's own transformer, at most.
    """

    heads: int = 4
    layers: int = 2
    memory: int = 2

    model: ClassVar[str] = "mult"

    def __post_init__(self):
        super().__post_init__()
        require_counts(self, ("heads", "layers", "memory"))
        wrong = f"network: width={self.width} must be a multiple of heads={self.heads}"
        require(self.width % self.heads == 0, wrong)

    @property
    def links(self) -> tuple[str, ...]:
        """Pairs `source>target` that are built."""
        names = self.built_modalities
        return self.labels("links", tuple(f"{s}>{t}" for t in names for s in names if s != t))

    def counts(self, gene: str) -> tuple[str, ...]:
        """How many layers transformers can have."""
        return self.labels(gene, tuple(str(n + 1) for n in range(getattr(self, gene))))


class Layer(nn.Module):
    """One layer of a transformer, normalised before attention and perceptron."""

    width: int
    heads: int

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "*batch targets width"],
        source: Float[Array, "*batch sources width"],
        mask: Bool[Array, "*batch sources"],
        rate: Scalar,
    ) -> Float[Array, "*batch targets width"]:
        """float[..., T, D], float[..., S, D], bool[..., S] -> float[..., T, D]."""
        drop, norm = Dropout(shared_axes=(-2,)), nn.LayerNorm(1e-5, name="norm")
        attend = Attention(self.width, self.width, self.heads, biased=True, name="attend")
        x = x + drop(attend(norm(x), norm(source), mask), rate)
        hidden = nn.LayerNorm(1e-5, name="norm_hidden")(x)
        hidden = drop(nn.relu(Dense(4 * self.width, name="hidden")(hidden)), rate)
        return x + drop(Dense(self.width, name="out")(hidden), rate)


class Transformer(nn.Module):
    """Layers over tokens that read a source, or themselves where there is none."""

    width: int
    heads: int
    layers: int

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "*batch targets width"],
        mask: Bool[Array, "*batch targets"],
        source: Float[Array, "*batch sources width"] | None,
        source_mask: Bool[Array, "*batch sources"] | None,
        used: Float[Array, ""],
        rate: Scalar,
    ) -> Float[Array, "*batch targets width"]:
        """float[..., T, D]; `used` is how many of the layers count."""
        x = placed(x, mask)
        given = None
        if source is not None and source_mask is not None:
            given = placed(source, source_mask), source_mask
        for n in range(self.layers):
            layer = Layer(self.width, self.heads, name=f"layer_{n}")
            x = jnp.where(used > n, layer(x, *(given or (x, mask)), rate), x)
        return nn.LayerNorm(1e-5, name="norm")(x)


def placed(
    x: Float[Array, "*batch tokens width"], mask: Bool[Array, "*batch tokens"]
) -> Float[Array, "*batch tokens width"]:
    """Tokens times the root of their width, and where each stands among the real ones, from 1."""
    half = x.shape[-1] // 2
    frequency = jnp.exp(-jnp.log(10_000.0) * jnp.arange(half) / max(half - 1, 1))
    angle = jnp.cumsum(mask, axis=-1)[..., None] * frequency
    codes = jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)
    codes = jnp.pad(codes, [(0, 0)] * (x.ndim - 1) + [(0, x.shape[-1] % 2)])
    return jnp.sqrt(float(x.shape[-1])) * x + jnp.where(mask[..., None], codes, 0.0)


@register
class Mult(Joining):
    """Links between all pairs of modalities, a transformer each, and one layer over all."""

    config: MultConfig

    @staticmethod
    def declare(config: MultConfig) -> Declaration:
        """Links are a mask, depths are choices."""
        genes = [Gene("links", "links", "mask", "who reads whom", config.links)]
        parts: list[Part] = []
        for name in config.links:
            ends = tuple((modality(m),) for m in name.split(">"))
            module = _link(name)
            parts.append(
                Part(
                    name=f"links/{name}",
                    kind="link",
                    opened=(("links", name),),
                    reads=ends,
                    modules=((module,),),
                )
            )
            parts += _layers(config, "layers", f"links/{name}", module)
        for m in config.built_modalities:
            name, module = f"memory/{m}", f"memory_{m}"
            reads = ((modality(m),),)
            parts.append(Part(name=name, kind="block", reads=reads, modules=((module,),)))
            parts += _layers(config, "memory", name, module)
        for gene in ("layers", "memory"):
            if gene == "memory" or config.links:
                counts = config.counts(gene)
                genes.append(Gene(gene, gene, "choice", "layers of its transformers", counts))
        return interface(config, auxiliary=True) + Declaration(tuple(genes), tuple(parts))

    def join(self, inputs, structure, rates, dataset):
        """What it makes of its inputs; see `Joining`."""
        config, width, rate = self.config, self.config.width, rates.inner
        leading = inputs.presence.shape[:-1]
        slots = max(1, len(config.modalities) - 1)
        lasts = {m: jnp.zeros((*leading, slots * width)) for m in config.modalities}
        means = {}

        def transformer(gene, name, x, mask, source=None, source_mask=None):
            counts = config.counts(gene)
            used = jnp.asarray([float(n) for n in counts])[structure[gene]]
            size = width if gene == "layers" else slots * width
            layers = int(counts[-1])
            transform = Transformer(size, config.heads, layers, name=name)
            return transform(x, mask, source, source_mask, used, rate)

        for target, own in inputs.tokens.items():
            mask, streams = inputs.masks[target], []
            for source in [m for m in config.modalities if m != target]:
                name, attended = f"{source}>{target}", own
                if name in config.links and source in inputs.tokens:
                    given = inputs.tokens[source], inputs.masks[source]
                    read = transformer("layers", _link(name), own, mask, *given)
                    attended = structure["links"][config.links.index(name)] * given[1].any(axis=-1)
                    attended = jnp.where(attended[..., None, None] > 0, read, own)
                streams.append(attended)
            beside = jnp.concatenate(streams or [own], axis=-1)
            x = transformer("memory", f"memory_{target}", beside, mask)
            lasts[target] = last_token(x, mask, inputs.offsets[target])
            means[target] = masked_mean(own, mask)
        h = jnp.concatenate([lasts[m] for m in config.modalities], axis=-1)
        hidden = Dropout()(nn.relu(Dense(h.shape[-1], name="joint")(h)), rate)
        h = h + Dense(h.shape[-1], name="joint_out")(hidden)
        return Joined(Dense(width, name="out")(h), by_modality(inputs, config, means))


def _link(name: str) -> str:
    """Module of a pair `source>target`."""
    return "link_" + name.replace(">", "_to_")


def _layers(config: MultConfig, gene: str, name: str, module: str) -> list[Part]:
    """Parts of a transformer's layers."""
    counts, parts = config.counts(gene), []
    for n in range(int(counts[-1])):
        needed = next(count for count in counts if int(count) > n)
        parts.append(
            Part(
                name=f"{name}/{n}",
                kind="layer",
                opened=((gene, needed),),
                reads=((name,),),
                modules=((module, f"layer_{n}"),),
            )
        )
    return parts
