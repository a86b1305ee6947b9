"""A BERT-family text encoder: BERT and MiniLM, RoBERTa, MPNet in one module.

They differ in where positions start to count, in MPNet's relative position buckets, and in names;
`pretrained.py` maps published weights onto the parameters here. Layers are stacked and scanned, so
that twelve compile as fast as one.
"""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Bool, Float, Int

from haemsa_jax.encoders.text.config import ACTIVATIONS, BertConfig
from haemsa_jax.models.layers import Array, Dropout, Scalar, masked_softmax
from haemsa_jax.models.product import dense_product

ADAPTED = "query", "value"
ADAPTERS = "_down", "_up"
MARK = "mark"
FARTHEST = 128  # tokens, beyond which relative positions share a bucket (MPNet)


class Bert(nn.Module):
    """Token numbers to contextual vectors (Devlin et al. 2019; MPNet: Song et al. 2020).

    Attributes:
      config: its shapes.
      rank: of the adapters beside the matrices `ADAPTED` of every layer; 0 for none. What they say
        is zero at first.
      precision: of what weights multiply, and theirs; all else is float32.
      marks: whether some tokens are told from others by a vector, which begins at zero.
    """

    config: BertConfig
    rank: int = 0
    precision: str = "float32"
    marks: bool = False

    @nn.compact
    def __call__(
        self,
        ids: Int[Array, "*batch tokens"],
        mask: Bool[Array, "*batch tokens"],
        dropout: Scalar = 0.0,
        marked: Bool[Array, "*batch tokens"] | None = None,
        adapters: Scalar = 1.0,
    ) -> Float[Array, "*batch tokens width"]:
        """int[..., T], bool[..., T] -> float[..., T, D], zeros outside the mask.

        Padding may lie in front or behind; which ids it has does not matter. `marked` is bool[...,
        T], where the encoder marks; `adapters` weighs what they say.
        """
        config = self.config
        small = nn.initializers.normal(0.02)
        words = self.param("words", small, (config.vocabulary, config.width))
        positions = self.param("positions", small, (config.positions, config.width))
        place = config.first_position + jnp.maximum(jnp.cumsum(mask, axis=-1) - 1, 0)
        # Several utterances together may be longer than the table: the first then share a place,
        # since the target stands among the last.
        beyond = jnp.maximum(place[..., -1:] - (config.positions - 1), 0)
        known = jnp.maximum(place - beyond, config.first_position)
        x = jnp.asarray(words)[jnp.where(mask, ids, 0)] + jnp.asarray(positions)[known]
        if self.marks:
            mark = self.param(MARK, nn.initializers.zeros, (config.width,))
            targets = mask if marked is None else marked
            x = x + jnp.where(targets[..., None], mark, 0.0)
        x = Dropout()(nn.LayerNorm(epsilon=config.epsilon, name="norm")(x), dropout)
        bias = jnp.zeros(())
        if config.buckets:
            table = self.param("relative", small, (config.buckets, config.heads))
            bucket = relative_bucket(place[..., None, :] - place[..., :, None], config.buckets)
            bias = jnp.moveaxis(jnp.asarray(table)[bucket], -1, -3)
        stack = nn.scan(
            _Layer,
            variable_axes={"params": 0},
            split_rngs={"params": True, "dropout": True},
            in_axes=nn.broadcast,
            length=config.layers,
        )
        layers = stack(config, self.rank, self.precision, name="layers")
        x, _ = layers(x, mask, bias, dropout, adapters)
        return jnp.where(mask[..., None], x, 0.0)


class _Layer(nn.Module):
    """Attention and perceptron, each added and then normalised."""

    config: BertConfig
    rank: int
    precision: str

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "*batch tokens width"],
        mask: Bool[Array, "*batch tokens"],
        bias: Float[Array, "..."],
        dropout: Scalar,
        adapters: Scalar,
    ) -> tuple[Float[Array, "*batch tokens width"], None]:
        config = self.config

        def heads(name):
            y = self._dense(name, config.width, x, adapters)
            return y.reshape(*y.shape[:-1], config.heads, -1)

        query, key, value = heads("query"), heads("key"), heads("value")
        logits = jnp.einsum("...qhd,...thd->...hqt", query, key) / math.sqrt(query.shape[-1])
        weights = masked_softmax(logits + bias, mask[..., None, None, :])
        mixed = jnp.einsum("...hqt,...thd->...qhd", weights, value)
        mixed = self._dense("out", config.width, mixed.reshape(x.shape))
        x = nn.LayerNorm(epsilon=config.epsilon, name="attention_norm")(
            x + Dropout(name="attention_dropout")(mixed, dropout)
        )
        inner = _ACTIVATIONS[config.activation](self._dense("wide", config.hidden, x))
        added = self._dense("narrow", config.width, inner)
        added = Dropout(name="dropout")(added, dropout)
        return nn.LayerNorm(epsilon=config.epsilon, name="norm")(x + added), None

    def _dense(self, name: str, size: int, x: Array, adapters: Scalar = 0.0) -> Array:
        """A matrix, and beside some a product of two thin ones (LoRA, Hu et al. 2021, 2106.09685).

        Theirs are those of queries and values, and so are ours.
        """
        dense = functools.partial(nn.Dense, dot_general=dense_product(self.precision))
        output = dense(size, name=name)(x)
        if not self.rank or name not in ADAPTED:
            return output
        thin = dense(self.rank, False, name=f"{name}{ADAPTERS[0]}")(x)
        zeros = nn.initializers.zeros
        wide = dense(size, False, kernel_init=zeros, name=f"{name}{ADAPTERS[1]}")
        return output + adapters * wide(thin)


@jax.custom_jvp
def gelu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """x Phi(x), Phi being the standard normal distribution (Hendrycks and Gimpel 2016, 1606.08415).

    For its gradient it keeps its slope alone, where differentiation would keep three arrays of that
    size.
    """
    return 0.5 * x * (1.0 + jax.lax.erf(x * math.sqrt(0.5)))


@gelu.defjvp
def _gelu_slope(primals, tangents):
    """d/dx x Phi(x) = Phi(x) + x phi(x)."""
    (x,), (change,) = primals, tangents
    density = jnp.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)
    return gelu(x), change * (0.5 * (1.0 + jax.lax.erf(x * math.sqrt(0.5))) + x * density)


_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": gelu,
    "gelu_new": nn.gelu,
    "relu": nn.relu,
}
assert tuple(_ACTIVATIONS) == ACTIVATIONS


def split_adapters(params: Mapping[str, Any]) -> tuple[dict, dict]:
    """An encoder's parameters as those of its adapters, its mark among them, and the others."""
    flat = flatten_dict(params)
    own = (*ADAPTERS, MARK)
    adapters = {path: x for path, x in flat.items() if any(name.endswith(own) for name in path)}
    others = {path: x for path, x in flat.items() if path not in adapters}
    return unflatten_dict(adapters), unflatten_dict(others)


def fold_adapters(params: Mapping[str, Any], weight: float = 1.0) -> dict:
    """An encoder's parameters with its adapters added to the matrices that they stand beside.

    `weight` is that of what they say, zero for a genome that leaves the encoder as published.
    """
    layers = dict(params["layers"])
    for name in [name for name in layers if name + ADAPTERS[0] in layers]:
        thin, wide = (layers.pop(name + part)["kernel"] for part in ADAPTERS)
        layers[name] = {**layers[name], "kernel": layers[name]["kernel"] + weight * (thin @ wide)}
    return {**params, "layers": layers}


def encode_prefix(
    encoder: Bert,
    ids: Int[Array, "*batch tokens"],
    mask: Bool[Array, "*batch tokens"],
    dropout: Scalar,
    longest: Int[Array, ""] | None,
    marked: Bool[Array, "*batch tokens"] | None = None,
    adapters: Scalar = 1.0,
) -> Float[Array, "*batch tokens width"]:
    """The encoder on real tokens alone, wherever among the padding they lie.

    Tokens are moved to the front and cut to the shortest of `lengths(T)` that holds them; a branch
    is compiled for each. So a short batch does not pay for the longest text of the data set.

    Args:
      encoder: a bound module.
      ids, mask: int[..., T], bool[..., T].
      dropout: rate.
      longest: int[], tokens of the longest text, the same for all leading axes; None for T.
      marked: bool[..., T], as the encoder takes it.
      adapters: likewise.

    Returns:
      float[..., T, D], zeros outside the mask.
    """
    total = ids.shape[-1]
    order = jnp.argsort(~mask, axis=-1, stable=True)
    marked = mask if marked is None else marked
    ids, front, marked = (jnp.take_along_axis(x, order, axis=-1) for x in (ids, mask, marked))

    def cut(length):
        def branch(encoder, ids, front, marked):
            ids, front, marked = (x[..., :length] for x in (ids, front, marked))
            encoded = encoder(ids, front, dropout, marked, adapters)
            return jnp.pad(encoded, [(0, 0)] * (ids.ndim - 1) + [(0, total - length), (0, 0)])

        return branch

    choices = lengths(total)
    if longest is None or encoder.is_initializing() or len(choices) == 1:
        encoded = cut(total)(encoder, ids, front, marked)
    else:
        which = jnp.searchsorted(jnp.array(choices[:-1]), longest)
        encoded = nn.switch(which, [cut(n) for n in choices], encoder, ids, front, marked)
    back = jnp.argsort(order, axis=-1)
    return jnp.take_along_axis(encoded, back[..., None], axis=-2)


def lengths(total: int) -> tuple[int, ...]:
    """Lengths that texts are cut to: powers of two and the halves between them, then `total`."""
    powers = [8 * 2**n for n in range(1, 16)]
    steps = sorted({*powers, *(power * 3 // 2 for power in powers)})
    return (*[step for step in steps if step < total], total)


def relative_bucket(distance: Int[Array, "*shape"], buckets: int) -> Int[Array, "*shape"]:
    """Bucket of the distance from query to key, int[...] -> int[...].

    Half of the buckets are for keys after the query; of each half, one half are exact
    distances and the rest grow logarithmically up to `FARTHEST` (T5, Raffel et al. 2020).
    """
    half = buckets // 2
    exact = half // 2
    away = jnp.abs(distance)
    far = jnp.log(jnp.maximum(away, 1) / exact) / math.log(FARTHEST / exact) * (half - exact)
    far = jnp.minimum(exact + far.astype(jnp.int32), half - 1)
    return jnp.where(distance > 0, half, 0) + jnp.where(away < exact, away, far)
