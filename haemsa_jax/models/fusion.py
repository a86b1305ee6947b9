"""Level 3: global experts, four ways to join the modalities, and one gate a task over them.

Every operator maps summaries float[..., M, D] (a learned token where a modality is absent) and
presence bool[..., M] to float[..., D].
"""

import flax.linen as nn
import jax.numpy as jnp

from haemsa_jax.config import FUSION_OPERATORS, NetworkConfig
from haemsa_jax.models.gating import TaskGate
from haemsa_jax.models.layers import Array, Attention, Dense, masked_softmax, places, spread


class ConcatFusion(nn.Module):
    """A perceptron on the concatenation."""

    config: NetworkConfig

    @nn.compact
    def __call__(self, summaries: Array, presence: Array, query: Array) -> Array:
        flat = summaries.reshape(*summaries.shape[:-2], -1)
        hidden = Dense(2 * self.config.width)(jnp.concatenate([flat, query], axis=-1))
        return Dense(self.config.width)(nn.gelu(hidden))


class TensorFusion(nn.Module):
    """Low-rank tensor fusion, products of all modalities (Liu et al. 2018, arXiv 1806.00064).

    The appended 1 of every factor, here a bias, keeps the lower-order products in the sum.
    """

    config: NetworkConfig

    @nn.compact
    def __call__(self, summaries: Array, presence: Array, query: Array) -> Array:
        rank, width = self.config.fusion_rank, self.config.width
        modalities = summaries.shape[-2]
        product = 1.0
        for index in range(modalities):
            # Factors near 1, so that a product of three neither vanishes nor explodes at the start.
            name = f"factor_{self.config.built_modalities[index]}"
            factor = Dense(rank * width, bias_init=nn.initializers.ones, name=name)
            product = product * factor(summaries[..., index, :])
        product = product.reshape(*product.shape[:-1], rank, width)
        weights = self.param("rank_weights", nn.initializers.constant(rank**-0.5), (rank, 1))
        return Dense(width)(nn.LayerNorm()((product * weights).sum(axis=-2)))


class AttentionFusion(nn.Module):
    """A global query attends over the modalities that are there."""

    config: NetworkConfig

    @nn.compact
    def __call__(self, summaries: Array, presence: Array, query: Array) -> Array:
        width = self.config.width
        attend = Attention(width, width, self.config.heads)
        return attend(query[..., None, :], summaries, presence)[..., 0, :]


class GatedSumFusion(nn.Module):
    """Each channel is a convex mixture of modalities (Arevalo et al. 2017, arXiv 1702.01992)."""

    config: NetworkConfig

    @nn.compact
    def __call__(self, summaries: Array, presence: Array, query: Array) -> Array:
        width, modalities = self.config.width, summaries.shape[-2]
        values = jnp.tanh(Dense(width)(summaries))
        flat = summaries.reshape(*summaries.shape[:-2], -1)
        logits = Dense(modalities * width)(flat).reshape(*flat.shape[:-1], modalities, width)
        weights = masked_softmax(logits, presence[..., None], axis=-2)
        return Dense(width)((weights * values).sum(axis=-2))


_OPERATORS = {
    "concat": ConcatFusion,
    "tensor": TensorFusion,
    "attention": AttentionFusion,
    "gated_sum": GatedSumFusion,
}
assert tuple(_OPERATORS) == FUSION_OPERATORS


class Fusion(nn.Module):
    """The bank of global experts, shared by all tasks, each with a gate of its own over it.

    A single operator has no gate. M are the modalities that are built.
    """

    config: NetworkConfig

    @nn.compact
    def __call__(
        self, summaries: Array, presence: Array, situation: Array, task: Array, query: Array,
        allowed: Array, sharpness: Array,
    ) -> tuple[Array, Array]:  # fmt: skip
        """Join the modalities.

        Args:
          summaries: float[..., M, D], anything where a modality is absent.
          presence: bool[..., M].
          situation: float[..., S].
          task: int[...], place on the task axis.
          query: float[..., D], the global query of the task.
          allowed: {0, 1}[..., F].
          sharpness: float[].

        Returns:
          float[..., D] and gate weights float[..., F], zeros for operators that are not built.
        """
        missing = self.param("missing", nn.initializers.normal(0.02), summaries.shape[-2:])
        summaries = jnp.where(presence[..., None], summaries, missing)
        view = jnp.concatenate([summaries.reshape(*summaries.shape[:-2], -1), situation], axis=-1)
        built = self.config.built.fusion
        there = places(built, FUSION_OPERATORS)
        weights = jnp.ones((*presence.shape[:-1], 1))
        if len(built) > 1:
            gate = TaskGate(len(self.config.tasks), len(built))
            weights = gate(view, task, allowed[..., there], sharpness)
        joined = 0.0
        for index, name in enumerate(built):
            said = _OPERATORS[name](self.config, name=name)(summaries, presence, query)
            joined = joined + weights[..., index, None] * said
        return joined, spread(weights, there, len(FUSION_OPERATORS))
