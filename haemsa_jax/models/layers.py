"""What every level shares: masked reductions, attention, dropout with a traced rate."""

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from haemsa_jax.errors import InputError
from haemsa_jax.models.product import dense_product
from haemsa_jax.structure.axes import Axis

Array = jax.Array
Scalar = Float[Array, ""] | float


class Dense(nn.Dense):
    """A dense layer that says what its rows and columns stand for.

    Attributes:
      rows, columns: segments of its inputs and outputs; () where they belong to no parts.
      over: segments of the axis before the last of what it is applied to, where that is an axis of
        parts, such as modalities; its share of the operations is counted by it.
    """

    # Uniform with the variance of LeCun's initialiser: half as long to compile as the truncated
    # normal that is Linen's default, and there are a hundred matrices to draw.
    kernel_init: Any = nn.initializers.variance_scaling(1.0, "fan_in", "uniform")
    dot_general: Any = dense_product("float32")
    rows: Axis = ()
    columns: Axis = ()
    over: Axis = ()

    def param_axes(self) -> dict[str, tuple[Axis, ...]]:
        """Segments of every axis of its parameters."""
        return {"kernel": (self.rows, self.columns), "bias": (self.columns,)}


def masked_softmax(
    logits: Float[Array, "*shape"], mask: Shaped[Array, "..."], axis: int = -1
) -> Float[Array, "*shape"]:
    """Softmax over the entries that `mask` allows; zeros where it allows none.

    Args:
      logits: float[..., N].
      mask: bool or {0, 1} float, broadcastable to `logits`.
    """
    return _softmax(logits, jnp.broadcast_to(mask > 0, logits.shape), axis)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _softmax(logits: Array, allowed: Array, axis: int) -> Array:
    # The largest allowed logit; 0 for an empty row keeps exp() finite.
    top = jnp.max(jnp.where(allowed, logits, -jnp.inf), axis=axis, keepdims=True)
    top = jnp.where(jnp.isfinite(top), top, 0.0)
    weights = jnp.where(allowed, jnp.exp(jnp.where(allowed, logits - top, 0.0)), 0.0)
    total = jnp.sum(weights, axis=axis, keepdims=True)
    return weights / jnp.where(total > 0, total, 1.0)


@_softmax.defjvp
def _(axis, at, towards):
    """Of what it says alone: half of the passes that the derivatives of its steps would take."""
    weights, change = _softmax(*at, axis), towards[0]
    return weights, weights * (change - jnp.sum(weights * change, axis=axis, keepdims=True))


def masked_mean(
    x: Float[Array, "*batch tokens width"], mask: Bool[Array, "*batch tokens"]
) -> Float[Array, "*batch width"]:
    """Mean over tokens: float[..., T, D], bool[..., T] -> float[..., D]; zeros for an empty row."""
    keep = mask[..., None].astype(x.dtype)
    return jnp.sum(x * keep, axis=-2) / jnp.maximum(jnp.sum(keep, axis=-2), 1.0)


def last_token(
    x: Float[Array, "*batch tokens width"],
    mask: Bool[Array, "*batch tokens"],
    offsets: Int[Array, "*batch tokens"],
) -> Float[Array, "*batch width"]:
    """The last token of the target's utterance, or of all where it has none; zeros without any."""
    target = mask & (offsets == 0)
    taken = jnp.where(target.any(axis=-1, keepdims=True), target, mask)
    last = taken & (jnp.cumsum(taken, axis=-1) == taken.sum(axis=-1, keepdims=True))
    return jnp.sum(jnp.where(last[..., None], x, 0.0), axis=-2)


def places(names: tuple[str, ...], all_names: tuple[str, ...]) -> Int[np.ndarray, " names"]:
    """Where `names` stand among `all_names`, int[len(names)]."""
    return np.array([all_names.index(name) for name in names], int)


def spread(
    values: Shaped[Array, "..."], places: Int[np.ndarray, " names"], size: int, axis: int = -1
) -> Shaped[Array, "..."]:
    """Values of the parts that are built at their places on the whole axis, zeros elsewhere."""
    values = jnp.moveaxis(values, axis, -1)
    whole = jnp.zeros((*values.shape[:-1], size), values.dtype).at[..., places].set(values)
    return jnp.moveaxis(whole, -1, axis)


class Dropout(nn.Module):
    """Dropout whose rate is data, so that one program serves every rate that evolution tries.

    Tokens of a sample share the mask (Gal and Ghahramani 2016, arXiv 1512.05287). Without a
    `dropout` random stream it is the identity.
    """

    shared_axes: tuple[int, ...] = ()

    @nn.compact
    def __call__(self, x: Float[Array, "*shape"], rate: Scalar) -> Float[Array, "*shape"]:
        """float[..., D] -> float[..., D]; `rate` in [0, 1)."""
        if not self.has_rng("dropout"):
            return x
        shape = list(x.shape)
        for axis in self.shared_axes:
            shape[axis] = 1
        keep = jax.random.uniform(self.make_rng("dropout"), shape) >= rate
        return jnp.where(keep, x / (1.0 - rate), 0.0)


class Attention(nn.Module):
    """Multi-head attention of queries over masked tokens (Vaswani et al. 2017).

    Attributes:
      width: output width.
      inner: width of queries, keys and values, over all heads.
      heads: number of heads.
      over: segments of the tokens, where they are an axis of parts.
      biased: whether its projections have biases, but for keys.
    """

    width: int
    inner: int
    heads: int
    over: Axis = ()
    biased: bool = False

    def products(
        self,
        queries: Float[Array, "*batch queries features"],
        tokens: Float[Array, "*batch tokens source"],
        mask: Bool[Array, "*batch tokens"],
    ) -> int:
        """Operations of its products without parameters, for all leading axes."""
        return 4 * self.inner * math.prod(queries.shape[:-1]) * tokens.shape[-2]

    @nn.compact
    def __call__(
        self,
        queries: Float[Array, "*batch queries features"],
        tokens: Float[Array, "*batch tokens source"],
        mask: Bool[Array, "*batch tokens"],
    ) -> Float[Array, "*batch queries width"]:
        """float[..., Q, D], float[..., T, D], bool[..., T] -> float[..., Q, D].

        Zero where no token is masked in, so that an absent source says nothing.
        """

        if self.inner % self.heads:
            raise InputError(
                f"attention {self.name!r}: inner={self.inner} must be a multiple of "
                f"heads={self.heads}"
            )

        def project(name, x, over=()):
            # No bias of keys: a softmax does not change by it, and its gradient would be noise.
            bias = self.biased and name != "key"
            x = Dense(self.inner, use_bias=bias, name=name, over=over)(x)
            return x.reshape(*x.shape[:-1], self.heads, self.inner // self.heads)

        query, key, value = (
            project("query", queries),
            project("key", tokens, self.over),
            project("value", tokens, self.over),
        )
        logits = jnp.einsum("...qhd,...thd->...hqt", query, key) / jnp.sqrt(query.shape[-1])
        weights = masked_softmax(logits, mask[..., None, None, :])
        mixed = jnp.einsum("...hqt,...thd->...qhd", weights, value)
        mixed = mixed.reshape(*mixed.shape[:-2], self.inner)
        out = Dense(self.width, use_bias=self.biased, name="out")(mixed)
        return jnp.where(mask.any(axis=-1)[..., None, None], out, 0.0) if self.biased else out
