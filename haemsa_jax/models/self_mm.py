"""Self-MM: every modality learns a label of its own (Yu et al. 2021, arXiv 2102.04830).

An LSTM reads a modality's tokens; of its last state u_m = W h. Of
u_m, and of all of them side by side, f = relu(W1 u), and heads read relu(W2 f). With d+ and d- the
distances of f to the means of f over positive and negative samples, a = (d- - d+) / d+ says how
positive a sample is, to modality m (a_m) and to all together (a). Of the label y and
y_m = y a_m / (2 a) + (y + a_m - a) / 2, within the range of labels, modality m learns
tanh |y_m - y| |prediction - y_m|, summed over modalities and weighed by `generated`.

Held against thuiar/Self-MM, labels too. Not copied: labels, features and means are kept there by a
sample's number in the training split, so that what a step learns depends on all before it; here the
batch is what means are taken over and nothing is kept, nor are labels averaged over epochs. Labels
are in standard deviations of the training labels, positive above their mean. A modality alone
learns the true label, too, by the weight `auxiliary` of the training, 0 as published; other kinds
of tasks than regressions have no other label.
"""

from dataclasses import dataclass
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from haemsa_jax.config.checks import require_each
from haemsa_jax.models.layers import Array, Dense, Dropout, Scalar, masked_mean
from haemsa_jax.models.model import Outputs, Truth, register
from haemsa_jax.models.recurrences import Lstm
from haemsa_jax.models.skeleton import Joined, Joining, JoiningConfig, by_modality
from haemsa_jax.structure.axes import each
from haemsa_jax.structure.genes import Gene
from haemsa_jax.structure.interface import interface, modality
from haemsa_jax.structure.parts import Declaration, Part

SMALL = 1e-8


@dataclass(frozen=True)
class SelfMmConfig(JoiningConfig):
    """The weight of its loss, beside what every model has.

    Attributes:
      generated: weight of the losses of single modalities on their generated labels.
    """

    generated: float = 1.0

    model: ClassVar[str] = "self_mm"

    def __post_init__(self):
        super().__post_init__()
        require_each(self, "network", ("generated",), lambda x: x >= 0, "must not be negative")

    @property
    def representations(self) -> tuple[str, ...]:
        """Names of what `Outputs.representations` offers."""
        return ("summaries", "features")

    @property
    def sequences(self) -> tuple[str, ...]:
        """Modalities that an LSTM can read, and not the mean of their tokens."""
        return self.labels("sequences", self.built_modalities)


class Classifier(nn.Module):
    """Two layers; labels are made of the first, heads read the second."""

    width: int
    rows: tuple = ()

    @nn.compact
    def __call__(
        self, x: Float[Array, "*batch features"], rate: Scalar
    ) -> tuple[Float[Array, "*batch width"], Float[Array, "*batch width"]]:
        """float[..., E] -> float[..., D] twice."""
        x = Dropout()(x, rate)
        features = nn.relu(Dense(self.width, rows=self.rows, name="layer_0")(x))
        return features, nn.relu(Dense(self.width, name="layer_1")(features))


@register
class SelfMm(Joining):
    """A recurrent network a modality, and layers of each and of all together."""

    config: SelfMmConfig

    @staticmethod
    def declare(config: SelfMmConfig) -> Declaration:
        """Which modalities are read in turn is a mask."""
        meaning = "modalities that are read token by token"
        gene = Gene("sequences", "sequences", "mask", meaning, config.sequences)
        parts = []
        for m in config.built_modalities:
            own, modules = ((modality(m),),), ((f"encode_{m}",), (f"alone_{m}",))
            parts.append(Part(name=f"alone/{m}", kind="subnet", reads=own, modules=modules))
        for m in config.sequences:
            part = Part(
                name=f"lstm/{m}",
                kind="lstm",
                opened=(("sequences", m),),
                reads=((modality(m),),),
                modules=((f"lstm_{m}",),),
            )
            parts.append(part)
        return interface(config, auxiliary=True) + Declaration((gene,), tuple(parts))

    def join(self, inputs, structure, rates, dataset):
        """What it makes of its inputs; see `Joining`."""
        config, width, rate = self.config, self.config.width, rates.inner
        nothing = jnp.zeros((*inputs.presence.shape[:-1], width))
        features, summaries, together = {}, {}, dict.fromkeys(config.built_modalities, nothing)
        for m, tokens in inputs.tokens.items():
            mask = inputs.masks[m]
            x = masked_mean(tokens, mask)
            if m in config.sequences:
                last = Lstm(width, name=f"lstm_{m}")(tokens, mask, False)[..., -1, :width]
                in_turn = structure["sequences"][config.sequences.index(m)] > 0
                x = jnp.where(in_turn, last, x)
            x = Dense(width, name=f"encode_{m}")(Dropout()(x, rate))
            together[m] = jnp.where(mask.any(axis=-1, keepdims=True), x, 0.0)
            features[m], summaries[m] = Classifier(width, name=f"alone_{m}")(x, rate)
        fusion = Classifier(width, each(map(modality, together), width), name="fusion")
        fused, joined = fusion(jnp.concatenate([*together.values()], axis=-1), rate)
        alike = {"features": by_modality(inputs, config, features)}
        alone = by_modality(inputs, config, summaries)
        return Joined(joined, alone, alike=alike, others={"fused": fused})

    @staticmethod
    def losses(config: SelfMmConfig, views: list[Outputs], truth: Truth) -> dict[str, Array]:
        """Of single modalities on labels of their own, summed over them, mean over tasks."""
        out, total = views[-1], jnp.zeros(())
        for task_id, label in truth.labels.items():
            task, head, weight = config.tasks[task_id], truth.heads[task_id], truth.weights[task_id]
            if task.range is None:
                continue
            label, low, high = ((x - head["offset"]) / head["scale"] for x in (label, *task.range))
            alone = (out.auxiliary[task_id][..., 0] - head["offset"]) / head["scale"]
            present = out.presence & (weight > 0)[:, None]
            features = jax.lax.stop_gradient(out.representations["features"])
            fused = jax.lax.stop_gradient(out.representations["fused"])[:, None]
            counts = (weight > 0)[:, None]
            own = generated(label, features, present, fused, counts, low, high)
            error = jnp.tanh(jnp.abs(own - label[:, None])) * jnp.abs(alone - own)
            share = weight / jnp.where(weight.sum() > 0, weight.sum(), 1.0)
            total += (share @ jnp.where(present, error, 0.0)).sum()
        return {"generated": config.generated * total / max(len(truth.labels), 1)}


def generated(
    label: Array,
    features: Array,
    present: Array,
    fused: Array,
    counts: Array,
    low: Array,
    high: Array,
) -> Array:
    """Labels of single modalities; that of all where a batch has samples of one sign alone.

    Args:
      label: float[B], positive and negative.
      features, fused: float[B, M, D] and float[B, 1, D].
      there, counts: bool[B, M] and bool[B, 1].
      low, high: float[], ends of labels.

    Returns:
      float[B, M].
    """
    positive = (label >= 0)[:, None]

    def relative(x, present):
        def distance(taken):
            weight = taken[..., None].astype(x.dtype)
            mean = (x * weight).sum(axis=0) / jnp.maximum(weight.sum(axis=0), 1.0)
            return jnp.linalg.norm(x - mean, axis=-1)

        near, far = distance(present & positive), distance(present & ~positive)
        both = (present & positive).any(axis=0) & (present & ~positive).any(axis=0)
        return (far - near) / (near + SMALL), both

    (alone, enough), (whole, enough_whole) = relative(features, present), relative(fused, counts)
    label = label[:, None]
    own = 0.5 * alone / (whole + SMALL) * label + 0.5 * (label + alone - whole)
    return jnp.where(enough & enough_whole, jnp.clip(own, low, high), label)
