"""EMT-DLFR: tokens of the whole, trained to bear lost frames (Sun et al. 2023, arXiv 2208.07589).

An LSTM makes tokens x_m and a last state u_m of each modality;
the whole is G = [u_m]. A layer promotes both: x_m by what it reads of G, G by what it reads of each
x_m, and G is the sum over m of what came of it, weighed by softmax(w tanh(W G)). A promotion is
attention to the other, to itself, and a gated perceptron, each behind a norm and added.
joined = relu(W2 relu(W1 [u; G])). Training sees samples whole and with some of them hidden (by the
options `frame_dropout`, `modality_dropout`, `utterance_dropout`) and minimises, beside the losses
of both, `attraction` times 1 - cosine between a projection of one view and what the other predicts
of it (SimSiam, Chen and He 2020, arXiv 2011.10566), of each u_m and of G, and `recovery` times the
error of the whole view's tokens, as the hidden view's x_m tell them, where the views differ.

Held against sunlicai/EMT-DLFR, predictions and told tokens, where it shares no weights between
layers and modalities. Not copied: batch normalisation in projections, by which a sample's loss
depends on its batch-mates (norms of each here), and hidden frames that are still attended to, as
zeros, and counted. Ours: tokens are told as their stem makes them, not raw; weights are not shared.
"""

from dataclasses import dataclass
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Bool, Float

from haemsa_jax.config.checks import require, require_counts, require_each
from haemsa_jax.models.layers import (
    Array,
    Attention,
    Dense,
    Dropout,
    Scalar,
    masked_softmax,
    places,
    spread,
)
from haemsa_jax.models.model import Outputs, Truth, register
from haemsa_jax.models.recurrences import Lstm
from haemsa_jax.models.skeleton import Joined, Joining, JoiningConfig, by_modality
from haemsa_jax.models.stems import position_codes
from haemsa_jax.structure.genes import Gene
from haemsa_jax.structure.interface import interface, modality
from haemsa_jax.structure.parts import Declaration, Part

KINDS = ("projected", "predicted")


@dataclass(frozen=True)
class EmtConfig(JoiningConfig):
    """Its sizes and the weights of its losses, beside those of every model.

    Attributes:
      heads: attention heads; divides `width`.
      layers: layers of mutual promotion between the whole and modalities, at most.
      attraction: weight of the loss that draws complete and incomplete views of a sample together.
      recovery: weight of the error in reconstructing hidden tokens.
    """

    heads: int = 4
    layers: int = 2
    attraction: float = 1.0
    recovery: float = 1.0

    model: ClassVar[str] = "emt"
    compares_views: ClassVar[bool] = True

    def __post_init__(self):
        super().__post_init__()
        require_counts(self, ("heads", "layers"))
        weights = ("attraction", "recovery")
        require_each(self, "network", weights, lambda x: x >= 0, "must not be negative")
        wrong = f"network: width={self.width} must be a multiple of heads={self.heads}"
        require(self.width % self.heads == 0, wrong)

    @property
    def representations(self) -> tuple[str, ...]:
        """Names of what `Outputs.representations` offers."""
        return ("summaries", *KINDS)

    @property
    def counts(self) -> tuple[str, ...]:
        """How many layers there can be."""
        return self.labels("layers", tuple(str(n + 1) for n in range(self.layers)))


class Promotion(nn.Module):
    """Tokens by what they read of a source, and of themselves."""

    width: int
    heads: int

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "*batch targets width"],
        mask: Bool[Array, "*batch targets"],
        source: Float[Array, "*batch sources width"],
        source_mask: Bool[Array, "*batch sources"],
        rate: Scalar,
    ) -> Float[Array, "*batch targets width"]:
        """float[..., T, D], bool[..., T], float[..., S, D], bool[..., S] -> float[..., T, D]."""
        drop = Dropout(shared_axes=(-2,))

        def norm(name, x):
            return nn.LayerNorm(1e-5, name=f"norm_{name}")(x)

        def attend(name, x, source, mask):
            attention = Attention(self.width, self.width, self.heads, biased=True, name=name)
            return drop(attention(x, source, mask), rate)

        x = x + attend("cross", norm("cross", x), norm("source", source), source_mask)
        own = norm("own", x)
        x = x + attend("own", own, own, mask)
        value, gate = jnp.split(Dense(8 * self.width, name="hidden")(norm("hidden", x)), 2, axis=-1)
        hidden = value * nn.gelu(gate, approximate=False)
        return x + drop(Dense(self.width, name="out")(hidden), rate)


class Projection(nn.Module):
    """What views are compared by, and what one of them predicts of the other."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "*batch features"]
    ) -> tuple[Float[Array, "*batch features"], Float[Array, "*batch features"]]:
        """float[..., E] -> float[..., E] twice."""
        size = x.shape[-1]
        projected = nn.LayerNorm(use_bias=False, use_scale=False)(Dense(size, name="project")(x))
        hidden = Dense(max(1, size // 2), use_bias=False, name="hidden")(projected)
        hidden = nn.relu(nn.LayerNorm(name="norm")(hidden))
        return projected, Dense(size, name="predict")(hidden)


@register
class Emt(Joining):
    """An LSTM a modality, promotions between them and the whole, and two layers."""

    config: EmtConfig

    @staticmethod
    def declare(config: EmtConfig) -> Declaration:
        """The number of layers is a choice."""
        counts, parts = config.counts, []
        for m in config.built_modalities:
            own = tuple((f"{name}_{m}",) for name in ("lstm", "projection", "recover"))
            parts.append(Part(name=f"lstm/{m}", kind="lstm", reads=((modality(m),),), modules=own))
        for n in range(int(counts[-1])):
            opened = (("layers", next(count for count in counts if int(count) > n)),)
            parts.append(
                Part(name=f"whole/{n}", kind="layer", opened=opened, modules=((f"pool_{n}",),))
            )
            for m in config.built_modalities:
                own = ((f"promote_{m}_{n}",), (f"promote_by_{m}_{n}",))
                reads = ((f"whole/{n}",), (f"lstm/{m}",))
                parts.append(Part(name=f"promotion/{m}/{n}", kind="link", reads=reads, modules=own))
        gene = Gene("layers", "layers", "choice", "layers of promotion", counts)
        return interface(config, auxiliary=True) + Declaration((gene,), tuple(parts))

    def join(self, inputs, structure, rates, dataset):
        """What it makes of its inputs; see `Joining`."""
        config, width, rate = self.config, self.config.width, rates.inner
        names, built = config.modalities, config.built_modalities
        nothing = jnp.zeros((*inputs.presence.shape[:-1], width))
        lasts, local = dict.fromkeys(names, nothing), {}
        alone: dict[str, dict[str, Array]] = {kind: {} for kind in KINDS}
        for m, tokens in inputs.tokens.items():
            mask = inputs.masks[m]
            states = Lstm(width, name=f"lstm_{m}")(tokens, mask, False)[..., :width]
            lasts[m] = states[..., -1, :]
            local[m] = states + position_codes(mask, width)
            of_last = Projection(name=f"projection_{m}")(lasts[m])
            for kind, x in zip(KINDS, of_last, strict=True):
                alone[kind][m] = x
        present = spread(inputs.presence, places(built, names), len(names))
        whole = first = jnp.stack([lasts[m] for m in names], axis=-2)
        used = jnp.asarray([float(n) for n in config.counts])[structure["layers"]]
        for n in range(int(config.counts[-1])):
            came, changed = dict.fromkeys(names, jnp.zeros_like(whole)), {}
            for m, x in local.items():
                promote = Promotion(width, config.heads, name=f"promote_{m}_{n}")
                changed[m] = promote(x, inputs.masks[m], whole, present, rate)
                promote = Promotion(width, config.heads, name=f"promote_by_{m}_{n}")
                came[m] = promote(whole, present, x, inputs.masks[m], rate)
            pooled = Pool(name=f"pool_{n}")(jnp.stack([came[m] for m in names], axis=-3), present)
            whole = jnp.where(used > n, jnp.where(present[..., None], pooled, 0.0), whole)
            local = {m: jnp.where(used > n, changed[m], x) for m, x in local.items()}
        flat = jnp.concatenate([first, whole], axis=-2).reshape(*nothing.shape[:-1], -1)
        hidden = nn.relu(Dense(width, name="joint")(Dropout()(flat, rate)))
        joined = nn.relu(Dense(width, name="joint_out")(hidden))
        of_whole = Projection(name="projection")(whole.reshape(*nothing.shape[:-1], -1))
        more = {
            f"whole_{kind}": x.reshape(whole.shape) for kind, x in zip(KINDS, of_whole, strict=True)
        }
        for m, x in local.items():
            more[f"tokens_{m}"] = inputs.tokens[m]
            more[f"recovered_{m}"] = Dense(width, name=f"recover_{m}")(x)
        alike = {kind: by_modality(inputs, config, of) for kind, of in alone.items()}
        return Joined(joined, by_modality(inputs, config, lasts), alike=alike, others=more)

    @staticmethod
    def losses(config: EmtConfig, views: list[Outputs], truth: Truth) -> dict[str, Array]:
        """Of views that are told from each other, and of tokens that one of them does not have."""
        parts, others = views[0].representations, views[-1].representations
        both = views[0].presence & views[-1].presence
        rows = views[-1].presence.any(axis=-1)

        def apart(prefix, flat, counts):
            mean = jnp.zeros(())
            for one, other in ((parts, others), (others, parts)):
                left = flat(one[f"{prefix}predicted"])
                right = jax.lax.stop_gradient(flat(other[f"{prefix}projected"]))
                cosine = optax.cosine_similarity(left, right, epsilon=1e-6)
                mean += (
                    0.5 * jnp.where(counts, 1.0 - cosine, 0.0).sum() / jnp.maximum(counts.sum(), 1)
                )
            return mean

        attraction = apart("", lambda x: x, both)
        attraction += apart("whole_", lambda x: x.reshape(len(x), -1), rows)
        recovery = jnp.zeros(())
        for name in [name for name in parts if name.startswith("tokens_")]:
            told, target = parts[name.replace("tokens", "recovered")], others[name]
            # More than rounding, which differs by the number of rows of a device.
            lost = (jnp.abs(target - parts[name]) > 1e-5).any(axis=-1) & (target != 0).any(axis=-1)
            lost = lost & rows[:, None]
            error = optax.huber_loss(told, jax.lax.stop_gradient(target)).mean(axis=-1)
            recovery += jnp.where(lost, error, 0.0).sum() / jnp.maximum(lost.sum(), 1)
        return {
            "attraction": config.attraction * attraction,
            "recovery": config.recovery * recovery,
        }


class Pool(nn.Module):
    """One whole of those that came of reading each modality."""

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "*batch modalities modalities width"],
        present: Bool[Array, "*batch modalities"],
    ) -> Float[Array, "*batch modalities width"]:
        """float[..., M, M, D], bool[..., M] over the first of both -> float[..., M, D]."""
        flat = x.reshape(*x.shape[:-2], -1)
        hidden = jnp.tanh(Dense(flat.shape[-1], name="hidden")(flat))
        scores = Dense(1, use_bias=False, name="score")(hidden)[..., 0]
        weights = masked_softmax(scores, present)
        return jnp.sum(weights[..., None, None] * x, axis=-3)
