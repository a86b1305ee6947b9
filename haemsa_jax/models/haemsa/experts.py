"""Level 1: local experts, four inductive biases on one modality's tokens, and their gated bank.

Every expert maps float[..., T, D] to float[..., T, D]. Tokens that the mask leaves out arrive as
zeros and influence no other token, wherever the padding lies.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from haemsa_jax.models.haemsa.config import LOCAL_EXPERTS, HaemsaConfig
from haemsa_jax.models.haemsa.gating import Gate
from haemsa_jax.models.haemsa.registries import EXPERTS
from haemsa_jax.models.layers import Array, Attention, Dense, Dropout, Scalar, masked_mean
from haemsa_jax.structure.axes import Axis, plain


@dataclass(frozen=True)
class Shapes:
    """What experts take of a `HaemsaConfig`, for banks in other networks.

    Attributes:
      width: D, of every token.
      heads: attention heads; divides `width`.
      expansion: hidden width of the pointwise expert, as a multiple of `width`.
      kernel: tokens that the convolution sees; odd.
    """

    width: int
    heads: int = 4
    expansion: int = 2
    kernel: int = 3


@EXPERTS.register("pointwise")
class PointwiseExpert(nn.Module):
    """Each token alone: a two-layer perceptron."""

    config: HaemsaConfig | Shapes

    @nn.compact
    def __call__(
        self, x: Float[Array, "*batch tokens width"], mask: Bool[Array, "*batch tokens"]
    ) -> Float[Array, "*batch tokens width"]:
        hidden = Dense(self.config.expansion * self.config.width, name="hidden")(x)
        return Dense(self.config.width, name="out")(nn.gelu(hidden))


@EXPERTS.register("convolution")
class ConvolutionExpert(nn.Module):
    """Neighbouring tokens: one temporal convolution.

    Written as a product with the shifted copies side by side: under a `vmap` over populations this
    stays a batched matrix product, where a convolution would become a slow grouped one.
    """

    config: HaemsaConfig | Shapes

    @nn.compact
    def __call__(
        self, x: Float[Array, "*batch tokens width"], mask: Bool[Array, "*batch tokens"]
    ) -> Float[Array, "*batch tokens width"]:
        reach = self.config.kernel // 2
        length = x.shape[-2]
        padded = jnp.pad(x, [(0, 0)] * (x.ndim - 2) + [(reach, reach), (0, 0)])
        shifted = [padded[..., k : k + length, :] for k in range(self.config.kernel)]
        hidden = Dense(self.config.width, name="hidden")(jnp.concatenate(shifted, axis=-1))
        return Dense(self.config.width, name="out")(nn.gelu(hidden))


@EXPERTS.register("attention")
class AttentionExpert(nn.Module):
    """Any pair of tokens: multi-head self-attention."""

    config: HaemsaConfig | Shapes

    @nn.compact
    def __call__(
        self, x: Float[Array, "*batch tokens width"], mask: Bool[Array, "*batch tokens"]
    ) -> Float[Array, "*batch tokens width"]:
        width, heads = self.config.width, self.config.heads
        return Attention(width, width, heads, name="attend")(x, x, mask)


@EXPERTS.register("recurrence")
class RecurrenceExpert(nn.Module):
    """Order and memory: a gated linear recurrence, half the channels forward, half backward.

    h_t = a_t h_{t-1} + (1 - a_t) v_t with a_t, v_t functions of token t alone (minGRU, Feng et al.
    2024, arXiv 2410.01201), so that an associative scan runs it in log T steps. A masked token has
    a_t = 1 and adds nothing: the state passes over padding unchanged.
    """

    config: HaemsaConfig | Shapes

    @nn.compact
    def __call__(
        self, x: Float[Array, "*batch tokens width"], mask: Bool[Array, "*batch tokens"]
    ) -> Float[Array, "*batch tokens width"]:
        width = self.config.width
        decay, value, gate = jnp.split(Dense(3 * width, name="project")(x), 3, axis=-1)
        # A bias towards remembering: sigmoid(1) = 0.73 a token.
        decay = jnp.where(mask[..., None], nn.sigmoid(decay + 1.0), 1.0)
        value = (1.0 - decay) * value
        half = width // 2
        forward = _linear_recurrence(decay[..., :half], value[..., :half], reverse=False)
        backward = _linear_recurrence(decay[..., half:], value[..., half:], reverse=True)
        state = jnp.concatenate([forward, backward], axis=-1)
        return Dense(width, name="out")(state * nn.silu(gate))


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _linear_recurrence(decay: Array, value: Array, reverse: bool) -> Array:
    """h_t = decay_t h_{t-1} + value_t from h = 0, over the second last axis."""
    return jax.lax.platform_dependent(
        decay,
        value,
        cpu=functools.partial(_in_turn, reverse=reverse),
        default=functools.partial(_in_log_steps, reverse=reverse),
    )


@_linear_recurrence.defjvp
def _(reverse, at, towards):
    """Its derivative is the same recurrence of other values; a scan's own costs twice as much."""
    (decay, value), (decay_change, value_change) = at, towards
    state = _linear_recurrence(decay, value, reverse)
    edge = (-1, 1, 0) if reverse else (1, -1, 0)
    before = jax.lax.pad(state, 0.0, [*[(0, 0, 0)] * (state.ndim - 2), edge, (0, 0, 0)])
    return state, _linear_recurrence(decay, before * decay_change + value_change, reverse)


def _in_turn(decay: Array, value: Array, reverse: bool) -> Array:
    """One token after the other: fewest operations."""

    def step(state, token):
        state = token[0] * state + token[1]
        return state, state

    tokens = jax.tree.map(lambda x: jnp.moveaxis(x, -2, 0), (decay, value))
    states = jax.lax.scan(step, jnp.zeros_like(tokens[1][0]), tokens, reverse=reverse)[1]
    return jnp.moveaxis(states, 0, -2)


def _in_log_steps(decay: Array, value: Array, reverse: bool) -> Array:
    """All tokens at once in log T steps: fewest steps, for devices of many lanes."""

    def combine(earlier, later):
        return earlier[0] * later[0], earlier[1] * later[0] + later[1]

    axis = decay.ndim - 2
    return jax.lax.associative_scan(combine, (decay, value), reverse=reverse, axis=axis)[1]


class LocalBank(nn.Module):
    """One residual block of one modality: the gated sum of its experts.

    The gate sees the modality's mean token, which modalities are there, and the task. A single
    expert has none: it weighs what the mask says.

    Attributes:
      config: of which width, heads, expansion and kernel count; `Shapes` says no more.
      experts: names of the E experts that are built, as they are registered.
      parts: names of their parts in a declaration; the experts' own by default.
      situation: segments of the gate's second input.
    """

    config: HaemsaConfig | Shapes
    experts: tuple[str, ...] = LOCAL_EXPERTS
    parts: tuple[str, ...] = ()
    situation: Axis = ()

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "*batch tokens width"],
        mask: Bool[Array, "*batch tokens"],
        situation: Float[Array, "*batch situation"] | None = None,
        allowed: Float[Array, " experts"] | None = None,
        sharpness: Scalar = 1.0,
        active: Scalar = 1.0,
        dropout: Scalar = 0.0,
        choices: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> tuple[Float[Array, "*batch tokens width"], Float[Array, "*batch experts"]]:
        """Tokens through the block.

        Args:
          x: float[..., T, D], zeros outside the mask.
          mask: bool[..., T].
          situation: float[..., S], presence and task as the gates see them, or whatever else they
            shall depend on beside the tokens.
          allowed: float[E], experts that the structure allows; all by default.
          sharpness: float[], inverse temperature of the gate.
          active: float[], 0 leaves the tokens as they are.
          dropout: rate on what is added.
          choices: keyword arguments of experts with genes of their own, by name.

        Returns:
          float[..., T, D] and the gate's weights float[..., E].
        """
        normed = nn.LayerNorm(name="norm")(x) * mask[..., None]
        allowed = jnp.ones(len(self.experts)) if allowed is None else allowed
        weights = jnp.broadcast_to(1.0 * (allowed > 0), (*mask.shape[:-1], len(self.experts)))
        if len(self.experts) > 1:
            view = masked_mean(normed, mask)
            if situation is not None:
                view = jnp.concatenate([view, situation], axis=-1)
            rows = (*plain(self.config.width), *self.situation) if self.situation else ()
            gate = Gate(self.parts or self.experts, rows, name="gate")
            weights = gate(view, allowed, sharpness)
        added = jnp.zeros_like(x)
        for index, name in enumerate(self.experts):
            expert = EXPERTS[name](self.config, name=name)
            output = expert(normed, mask, **(choices or {}).get(name, {}))
            added = added + weights[..., index, None, None] * output
        added = Dropout(shared_axes=(-2,))(added * mask[..., None], dropout)
        return x + active * added, weights
