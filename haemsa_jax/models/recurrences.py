"""Recurrences over utterances or other steps; a step that is missing leaves the state as it is."""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from haemsa_jax.models.layers import Array, Dense
from haemsa_jax.structure.axes import Axis, each

DIRECTIONS = ("forward", "backward")


def states(
    step: Callable[[Any, Any], Any],
    start: Any,
    given: Any,
    present: Bool[Array, "*batch steps"],
    reverse: bool = False,
) -> Any:
    """States after every step, in arrays float[..., T, D].

    Args:
      step: `step(state, given) -> state`, of trees of arrays float[..., D].
      start: the state before the first step.
      given: arrays float[..., T, D].
      present: bool[..., T].
      reverse: whether the last step is the first.
    """

    def once(state, now):
        given, present = now
        known = present[..., None]
        state = jax.tree.map(lambda new, old: jnp.where(known, new, old), step(state, given), state)
        return state, state

    first = jax.tree.map(lambda x: jnp.moveaxis(x, -2, 0), given), jnp.moveaxis(present, -1, 0)
    passed = jax.lax.scan(once, start, first, reverse=reverse)[1]
    return jax.tree.map(lambda x: jnp.moveaxis(x, 0, -2), passed)


class Gru(nn.Module):
    """A GRU (Cho et al. 2014, arXiv 1406.1078), reset behind the recurrent product."""

    width: int
    rows: Axis = ()

    def products(
        self,
        x: Float[Array, "*batch steps features"],
        present: Bool[Array, "*batch steps"],
        reverse: bool,
    ) -> int:
        """Operations of the recurrent products."""
        return 6 * self.width**2 * math.prod(x.shape[:-1])

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "*batch steps features"],
        present: Bool[Array, "*batch steps"],
        reverse: bool,
    ) -> Float[Array, "*batch steps width"]:
        """float[..., T, E], bool[..., T] -> states float[..., T, D]."""
        given = Dense(3 * self.width, rows=self.rows, name="input")(x)
        kernel = self.param("recurrent", nn.initializers.orthogonal(), (self.width, 3 * self.width))
        bias = self.param("bias", nn.initializers.zeros, (self.width,))

        def step(state, given):
            update, reset, new = jnp.split(given, 3, axis=-1)
            from_update, from_reset, from_new = jnp.split(state @ kernel, 3, axis=-1)
            update, reset = nn.sigmoid(update + from_update), nn.sigmoid(reset + from_reset)
            new = jnp.tanh(new + reset * (from_new + bias))
            return update * state + (1.0 - update) * new

        return states(step, jnp.zeros((*x.shape[:-2], self.width)), given, present, reverse)


class Lstm(nn.Module):
    """An LSTM (Hochreiter and Schmidhuber 1997), gates in the order input, forget, new, output.

    The forget gate's bias starts at 1 (Jozefowicz et al. 2015).

    Attributes:
      width: D.
      rows: segments of the inputs.
      over: segments of the steps, where they are an axis of parts.
    """

    width: int
    rows: Axis = ()
    over: Axis = ()

    def products(
        self,
        x: Float[Array, "*batch steps features"],
        present: Bool[Array, "*batch steps"],
        reverse: bool,
    ) -> int:
        """Operations of the recurrent products."""
        return 8 * self.width**2 * math.prod(x.shape[:-1])

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "*batch steps features"],
        present: Bool[Array, "*batch steps"],
        reverse: bool,
    ) -> Float[Array, "*batch steps states"]:
        """float[..., T, E], bool[..., T] -> hidden states and cells, float[..., T, 2 D]."""
        width = self.width

        def start_bias(key, shape, dtype=jnp.float32):
            return jnp.zeros(shape, dtype).at[width : 2 * width].set(1.0)

        dense = Dense(4 * width, rows=self.rows, over=self.over, bias_init=start_bias, name="input")
        given = dense(x)
        # As PyTorch begins; an orthogonal start compiles a decomposition for every LSTM.
        begin = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
        kernel = self.param("recurrent", begin, (width, 4 * width))

        def step(state, given):
            hidden, cell = state
            enter, keep, new, leave = jnp.split(given + hidden @ kernel, 4, axis=-1)
            cell = nn.sigmoid(keep) * cell + nn.sigmoid(enter) * jnp.tanh(new)
            return nn.sigmoid(leave) * jnp.tanh(cell), cell

        zeros = jnp.zeros((*x.shape[:-2], width))
        return jnp.concatenate(states(step, (zeros, zeros), given, present, reverse), axis=-1)


class Bidirectional(nn.Module):
    """A recurrence in some directions, and a dense layer on what they say.

    Attributes:
      width: D, of states and outputs.
      cell: `Gru` or `Lstm`.
      activation: behind the dense layer.
      rows: segments of the inputs.
      directions: those that are built.
      parts: names of their parts in a declaration; () where they are none.
    """

    width: int
    cell: type[Gru] | type[Lstm]
    activation: Callable[[Array], Array]
    rows: Axis = ()
    directions: tuple[str, ...] = DIRECTIONS
    parts: tuple[str, ...] = ()

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "*batch steps features"],
        present: Bool[Array, "*batch steps"],
        used: Float[Array, " directions"] | None = None,
    ) -> Float[Array, "*batch steps width"]:
        """float[..., T, E], bool[..., T], {0, 1}[directions] -> float[..., T, D]."""
        outputs = []
        for place, name in enumerate(self.directions):
            hidden = self.cell(self.width, self.rows, name=name)(x, present, name == DIRECTIONS[1])
            hidden = hidden[..., : self.width]
            outputs.append(hidden if used is None else used[place] * hidden)
        dense = Dense(self.width, rows=each(self.parts, self.width), name="out")
        return self.activation(dense(jnp.concatenate(outputs, axis=-1)))
