"""Fronts of several aims: who is beaten by nobody in all of them, and how crowded it is there.

Deb, Pratap, Agarwal and Meyarivan 2002, "A fast and elitist multiobjective genetic algorithm:
NSGA-II".
"""

import jax
import jax.numpy as jnp

Array = jax.Array


def front_order(aims: Array) -> Array:
    """int[P], members from the first front to the last, within one the least crowded first.

    Args:
      aims: float[P, A], lower is better.
    """
    rank = front_rank(aims)
    crowding = jnp.zeros(len(aims))
    for column in aims.T:
        order = jnp.lexsort((column, rank))
        value, level = column[order], rank[order]
        before = jnp.where(level == jnp.roll(level, 1), jnp.roll(value, 1), -jnp.inf)
        after = jnp.where(level == jnp.roll(level, -1), jnp.roll(value, -1), jnp.inf)
        before, after = before.at[0].set(-jnp.inf), after.at[-1].set(jnp.inf)
        width = jnp.ptp(column) + 1e-12
        crowding = crowding.at[order].add((after - before) / width)
    return jnp.lexsort((-crowding, rank))


def front_rank(aims: Array) -> Array:
    """int[P], 0 for those that nobody beats in all aims, 1 for those whom only these beat..."""
    aims = jnp.where(jnp.isfinite(aims), aims, jnp.inf)
    no_worse = (aims[:, None] <= aims[None]).all(-1)
    beats = no_worse & (aims[:, None] < aims[None]).any(-1)

    def peel(level, rank):
        left = rank < 0
        free = left & ~(beats & left[:, None]).any(axis=0)
        return jnp.where(free, level, rank)

    return jax.lax.fori_loop(0, len(aims), peel, jnp.full(len(aims), -1))
