"""Level 3: global experts, four ways to join the modalities, and one gate a task over them.

Every operator maps summaries float[..., M, D] (a learned token where a modality is absent) and
presence bool[..., M] to float[..., D]. M are the modalities that are built.
"""

from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from haemsa_jax.models.haemsa.config import HaemsaConfig
from haemsa_jax.models.haemsa.declaration import situation_axis
from haemsa_jax.models.haemsa.gating import TaskGate
from haemsa_jax.models.haemsa.registries import OPERATORS, choices
from haemsa_jax.models.layers import Array, Attention, Dense, masked_softmax
from haemsa_jax.structure.axes import Axis, each, plain
from haemsa_jax.structure.interface import modality, task
from haemsa_jax.structure.parts import Structure


def summary_axis(config: HaemsaConfig, size: int) -> Axis:
    """Segments of the summaries, one after the other or, with size 1, one a modality."""
    return each(map(modality, config.built_modalities), size)


@OPERATORS.register("concat")
class ConcatFusion(nn.Module):
    """A perceptron on the concatenation."""

    config: HaemsaConfig

    @nn.compact
    def __call__(
        self,
        summaries: Float[Array, "*batch modalities width"],
        presence: Bool[Array, "*batch modalities"],
        query: Float[Array, "*batch width"],
    ) -> Float[Array, "*batch width"]:
        width = self.config.width
        flat = summaries.reshape(*summaries.shape[:-2], -1)
        rows = (*summary_axis(self.config, width), *plain(width))
        hidden = Dense(2 * width, rows=rows, name="hidden")(jnp.concatenate([flat, query], axis=-1))
        return Dense(width, name="out")(nn.gelu(hidden))


@OPERATORS.register("tensor")
class TensorFusion(nn.Module):
    """Low-rank tensor fusion, products of all modalities (Liu et al. 2018, arXiv 1806.00064).

    The appended 1 of every factor, here a bias, keeps the lower-order products in the sum.
    """

    config: HaemsaConfig
    FACTORS: ClassVar[bool] = True

    @nn.compact
    def __call__(
        self,
        summaries: Float[Array, "*batch modalities width"],
        presence: Bool[Array, "*batch modalities"],
        query: Float[Array, "*batch width"],
    ) -> Float[Array, "*batch width"]:
        rank, width = self.config.fusion_rank, self.config.width
        product: Any = 1.0
        for index, name in enumerate(self.config.built_modalities):
            # Factors near 1, so that a product of three neither vanishes nor explodes at the start.
            factor = Dense(rank * width, bias_init=nn.initializers.ones, name=f"factor_{name}")
            product = product * factor(summaries[..., index, :])
        product = product.reshape(*product.shape[:-1], rank, width)
        weights = self.param("rank_weights", nn.initializers.constant(rank**-0.5), (rank, 1))
        normed = nn.LayerNorm(name="norm")((product * weights).sum(axis=-2))
        return Dense(width, name="out")(normed)


@OPERATORS.register("attention")
class AttentionFusion(nn.Module):
    """A global query attends over the modalities that are there."""

    config: HaemsaConfig

    @nn.compact
    def __call__(
        self,
        summaries: Float[Array, "*batch modalities width"],
        presence: Bool[Array, "*batch modalities"],
        query: Float[Array, "*batch width"],
    ) -> Float[Array, "*batch width"]:
        width, over = self.config.width, summary_axis(self.config, 1)
        attend = Attention(width, width, self.config.heads, over, name="attend")
        return attend(query[..., None, :], summaries, presence)[..., 0, :]


@OPERATORS.register("gated_sum")
class GatedSumFusion(nn.Module):
    """Each channel is a convex mixture of modalities (Arevalo et al. 2017, arXiv 1702.01992)."""

    config: HaemsaConfig

    @nn.compact
    def __call__(
        self,
        summaries: Float[Array, "*batch modalities width"],
        presence: Bool[Array, "*batch modalities"],
        query: Float[Array, "*batch width"],
    ) -> Float[Array, "*batch width"]:
        config, width, modalities = self.config, self.config.width, summaries.shape[-2]
        values = jnp.tanh(Dense(width, over=summary_axis(config, 1), name="values")(summaries))
        flat = summaries.reshape(*summaries.shape[:-2], -1)
        axis = summary_axis(config, width)
        logits = Dense(modalities * width, rows=axis, columns=axis, name="weights")(flat)
        logits = logits.reshape(*flat.shape[:-1], modalities, width)
        weights = masked_softmax(logits, presence[..., None], axis=-2)
        return Dense(width, name="out")((weights * values).sum(axis=-2))


class Fusion(nn.Module):
    """The bank of global experts, shared by all tasks, each with a gate of its own over it.

    A single operator has no gate: it weighs what the mask says.
    """

    config: HaemsaConfig

    def param_axes(self) -> dict[str, tuple[Axis, ...]]:
        """Segments of the tokens that stand for absent modalities."""
        return {"missing": (summary_axis(self.config, 1),)}

    @nn.compact
    def __call__(
        self,
        summaries: Float[Array, "*batch modalities width"],
        presence: Bool[Array, "*batch modalities"],
        situation: Float[Array, "*batch situation"],
        task_index: Int[Array, "*batch"],
        query: Float[Array, "*batch width"],
        allowed: Float[Array, "*batch operators"],
        structure: Structure,
    ) -> tuple[Float[Array, "*batch width"], Float[Array, "*batch operators"]]:
        """Join the modalities.

        Args:
          summaries: float[..., M, D], anything where a modality is absent.
          presence: bool[..., M].
          situation: float[..., S].
          task_index: int[...], place on the task axis.
          query: float[..., D], the global query of the task.
          allowed: {0, 1}[..., F], of the operators that are built.
          structure: sharpness of the gate, and what operators have to choose.

        Returns:
          float[..., D] and gate weights float[..., F].
        """
        config, names = self.config, self.config.built_operators
        missing = self.param("missing", nn.initializers.normal(0.02), summaries.shape[-2:])
        summaries = jnp.where(presence[..., None], summaries, missing)
        view = jnp.concatenate([summaries.reshape(*summaries.shape[:-2], -1), situation], axis=-1)
        weights = jnp.broadcast_to(1.0 * (allowed > 0), (*presence.shape[:-1], len(names)))
        if len(names) > 1:
            gate = TaskGate(
                tuple(map(task, config.tasks)),
                tuple(f"fusion/{name}" for name in names),
                (*summary_axis(config, config.width), *situation_axis(config)),
                name="gate",
            )
            sharpness = jnp.asarray(structure["sharpness/fusion"])
            weights = gate(view, task_index, allowed, sharpness)
        joined = jnp.zeros_like(query)
        for index, name in enumerate(names):
            operator = OPERATORS[name](config, name=name)
            own = choices(OPERATORS[name], f"fusion/{name}", structure)
            output = operator(summaries, presence, query, **own)
            joined = joined + weights[..., index, None] * output
        return joined, weights


def fold_missing(config: HaemsaConfig, small: HaemsaConfig, fusion: dict) -> dict:
    """Parameters of `Fusion` to which is added what modalities always add that are gone.

    A modality that no task reads is absent from every sample: what reads the token in its place
    reads a constant, which joins the biases, and in a product of factors the first factor.

    Args:
      config, small: before and after.
      fusion: NumPy parameters, all of `config`.
    """
    missing, width = np.asarray(fusion["missing"]), config.width
    gone = [m for m in config.built_modalities if m not in small.built_modalities]
    places = {m: place for place, m in enumerate(config.built_modalities)}

    def folded(dense: dict) -> dict:
        kernel, bias = np.asarray(dense["kernel"]), np.array(dense["bias"])
        for m in gone:
            bias += missing[places[m]] @ kernel[places[m] * width : (places[m] + 1) * width]
        return {"kernel": kernel, "bias": bias}

    fusion = {name: dict(of) if isinstance(of, dict) else of for name, of in fusion.items()}
    for name, layer in (("gate", "logits"), ("concat", "hidden"), ("gated_sum", "weights")):
        if name in fusion:
            fusion[name][layer] = folded(fusion[name][layer])
    if "tensor" in fusion and gone:
        tensor = fusion["tensor"]
        first = f"factor_{small.built_modalities[0]}"
        for m in gone:
            factor = tensor[f"factor_{m}"]
            always = missing[places[m]] @ np.asarray(factor["kernel"]) + np.asarray(factor["bias"])
            tensor[first] = {name: np.asarray(x) * always for name, x in tensor[first].items()}
    return fusion
