"""An ensemble that is chosen: members whose mean prediction of unseen samples costs least.

Greedy selection with replacement (Caruana, Niculescu-Mizil, Crew and Ksikes 2004, "Ensemble
selection from libraries of models"): begun with the best few, then whoever lowers the cost most, or
raises it least, is added, so many times; the best of all sizes on the way is taken.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Array = jax.Array
FIRST = 2  # the best members, which keep the first greedy choices from fitting chance
SIZE = 24  # members at most, with repetitions


def select(
    predictions: Any, order: Array, cost: Callable[[Any], Array], size: int = SIZE
) -> tuple[Array, Array]:
    """The chosen members and how many of them to take.

    Args:
      predictions: of P members, leaves [P, ...], of which means make sense.
      order: int[P], the members, best first.
      cost: predictions of one -> float[], lower is better; not finite for what cannot be used.
      size: members to choose.

    Returns:
      int[size], places in the order of choice, and int[], of how many first ones the mean costs
      least.
    """
    total = jax.tree.map(jnp.zeros_like, jax.tree.map(lambda x: x[0], predictions))

    def added(total, place):
        return jax.tree.map(lambda t, x: t + x[place], total, predictions)

    def grow(total, count):
        def with_one(member):
            return cost(jax.tree.map(lambda t, x: (t + x) / (count + 1), total, member))

        costs = jax.lax.map(with_one, predictions)
        costs = jnp.where(jnp.isfinite(costs), costs, jnp.inf)
        chosen = jnp.where(count < FIRST, order[jnp.minimum(count, FIRST - 1)], jnp.argmin(costs))
        return added(total, chosen), (chosen, costs[chosen])

    _, (places, costs) = jax.lax.scan(grow, total, jnp.arange(size))
    return places, 1 + jnp.argmin(costs)
