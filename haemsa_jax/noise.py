"""Random keys whose numbers are a few operations each.

JAX's own (Threefry) compile to a loop over their rounds on a CPU, which takes its time however few
numbers are drawn, and a training step draws in thirty places. The numbers here are hashes of key
and place: a handful of integer operations that melt into what uses them, on every device. They are
for noise, not for secrets.
"""

import math

import jax
import jax.numpy as jnp
from jax.extend.random import define_prng_impl

Array = jax.Array
GOLDEN = 0x9E3779B9  # 2**32 over the golden ratio: multiples of it are far apart


def mixed(x: Array) -> Array:
    """uint32[...] -> uint32[...]: numbers whose every bit depends on all bits of x's.

    The multipliers are those of Chris Wellons' search for functions of little bias ("Prospecting
    for hash functions", 2018).
    """
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


def hashed(key: Array) -> Array:
    """A key of this kind made of one of any kind; `jax.random` takes it like every other."""
    words = jax.random.key_data(key).astype(jnp.uint32)
    return jax.random.wrap_key_data(words[..., jnp.array([0, -1])], impl=HASHED)


def _hash(key: Array, number: Array) -> Array:
    """uint32[2], uint32[...] -> uint32[...]."""
    return mixed(mixed(key[0] + number * jnp.uint32(GOLDEN)) ^ key[1])


def _seed(seed: Array) -> Array:
    return _fold_in(jnp.zeros(2, jnp.uint32), seed)


def _fold_in(key: Array, number: Array) -> Array:
    first = _hash(key, jnp.asarray(number).astype(jnp.uint32))
    return jnp.stack([first, _hash(key[::-1], ~first)])


def _places(shape: tuple[int, ...]) -> Array:
    """uint32[shape], each place's number."""
    return jax.lax.iota(jnp.uint32, math.prod(shape)).reshape(shape)


def _split(key: Array, shape: tuple[int, ...]) -> Array:
    # Apart from the keys that are folded in.
    key = _fold_in(key, jnp.uint32(GOLDEN))
    first = _hash(key, _places(shape))
    return jnp.stack([first, _hash(key[::-1], ~first)], axis=-1)


def _random_bits(key: Array, width: int, shape: tuple[int, ...]) -> Array:
    bits = _hash(key, _places(shape))
    if width == 64:
        low = _hash(key[::-1], ~bits)
        return bits.astype(jnp.uint64) << jnp.uint64(32) | low.astype(jnp.uint64)
    return bits.astype(f"uint{width}")


HASHED = define_prng_impl(
    key_shape=(2,), seed=_seed, split=_split, random_bits=_random_bits, fold_in=_fold_in,
    name="hashed", tag="hash",
)  # fmt: skip
