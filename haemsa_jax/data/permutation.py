"""An endless walk through permutations, any place of which is known without the others.

A shuffled array costs a sort of the whole data set in every step that needs 32 of its places. Here
a place is enciphered: a Feistel network (Luby and Rackoff 1988) is a bijection of the numbers below
a power of four whatever its round function says, and what falls outside of 0..count-1 is enciphered
again until it falls inside (cycle walking; Black and Rogaway 2002, "Ciphers with arbitrary finite
domains").
"""

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array
ROUNDS = 6
GOLDEN = 0x9E3779B9  # 2**32 over the golden ratio: multiples of it are far apart


def mixed(x: Array) -> Array:
    """uint32[...] -> uint32[...]: numbers whose every bit depends on all bits of x's.

    The multipliers are those of Chris Wellons' search for functions of little bias ("Prospecting
    for hash functions", 2018).
    """
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


def shuffled(
    key: Array, positions: Array, count: int | Array | np.ndarray, most: int | None = None
) -> Array:
    """What stands at `positions` of a walk that takes 0..count-1 in a new order every epoch.

    Args:
      key: of the order.
      positions: int[n], not negative; the first epoch is the first `count` of them.
      count: how many places there are; int[] where it is data.
      most: what `count` cannot be more than, where it is data.

    Returns:
      int[n], places.
    """
    epoch = (positions // count).astype(jnp.uint32)
    place = (positions % count).astype(jnp.uint32)
    # Halves of equal size hold every place; at least one bit each.
    largest = int(count) if most is None else most
    half = max(1, -(-(largest - 1).bit_length() // 2))
    low = jnp.uint32(2**half - 1)
    # A key is random numbers already; every round of every epoch makes one of its own of them.
    words = jax.random.key_data(key).astype(jnp.uint32)
    turns = [epoch * jnp.uint32(ROUNDS) + jnp.uint32(turn) for turn in range(ROUNDS)]
    keys = [mixed(mixed(words[0] + turn * jnp.uint32(GOLDEN)) ^ words[-1]) for turn in turns]

    def encipher(x):
        left, right = x >> half, x & low
        for round_key in keys:
            left, right = right, left ^ (mixed(right ^ round_key) & low)
        return (left << half) | right

    def outside(x):
        return x >= jnp.uint32(count)

    x = jax.lax.while_loop(
        lambda x: outside(x).any(), lambda x: jnp.where(outside(x), encipher(x), x), encipher(place)
    )
    return x.astype(jnp.int32)
