"""Successive halving: many begin, the poor stop early, the good are trained to the end.

Made for genes of the training, which only whole trainings can judge: what learns fastest for twenty
steps seldom does after five hundred. Nobody breeds; genomes are drawn once (Jamieson and Talwalkar
2016, "Non-stochastic best arm identification and hyperparameter optimization").
"""

from typing import Any

import jax
import jax.numpy as jnp
from evosax.algorithms.population_based import base
from flax import struct

Array = jax.Array


@struct.dataclass
class HalvingState(base.State):
    """Adds to evosax's state.

    Attributes:
      parents: int[P], everybody goes on from themselves.
      alive: bool[P], who is trained on; the search trains nobody else.
      rounds: int[P], rounds that each was trained for.
    """

    parents: Array
    alive: Array
    rounds: Array


class SuccessiveHalving(base.PopulationBasedAlgorithm):
    """Of P members P ** (1 - n / N) are left after n of N rounds; they cost P S / log(P) steps."""

    def __init__(self, population_size: int, solution: Any, num_generations: int, **others):
        """Args beyond evosax's own: num_generations, after which one is left."""
        super().__init__(population_size, solution, **others)
        self.generations = num_generations

    @property
    def _default_params(self) -> base.Params:
        return base.Params()

    def _init(self, key: Array, params: base.Params) -> HalvingState:
        size = self.population_size
        return HalvingState(
            population=jnp.full((size, self.num_dims), jnp.nan),
            fitness=jnp.full(size, jnp.inf),
            best_solution=jnp.full(self.num_dims, jnp.nan),
            best_fitness=jnp.inf,
            generation_counter=0,
            parents=jnp.arange(size),
            alive=jnp.ones(size, bool),
            rounds=jnp.zeros(size, jnp.int32),
        )

    def _ask(self, key: Array, state: HalvingState, params: base.Params):
        return state.population, state

    def _tell(self, key, population, fitness, state: HalvingState, params: base.Params):
        fitness = jnp.where(state.alive, fitness, state.fitness)
        state = state.replace(
            population=population, fitness=fitness, rounds=state.rounds + state.alive
        )
        done = (state.generation_counter + 1) / self.generations
        left = jnp.ceil(self.population_size ** (1.0 - done) - 1e-4)
        place = jnp.zeros_like(state.rounds).at[_order(state)].set(jnp.arange(len(fitness)))
        return state.replace(alive=place < left)

    def finalists(self, state: HalvingState, count: int) -> Array:
        """float[count, G], those who were trained longest; of these the best first."""
        return state.population[_order(state)[:count]]


def _order(state: HalvingState) -> Array:
    return jnp.lexsort((state.fitness, -state.rounds))
