"""Search algorithms by name: all of evosax that fit, and two for mixed genomes.

evosax minimises. A genome mixes numbers that only count by their sign with numbers on a scale;
`MixedGA` has operators for both, and `CrowdingGA` keeps its members apart. They follow evosax's
interface, so that the search treats them like any other, and tell more than others do: `parents`
and `survivors`, by which weights are inherited.
"""

import inspect
from collections.abc import Callable
from typing import Any

import evosax.algorithms as evosax
import jax
import jax.numpy as jnp
import numpy as np
from evosax.algorithms.population_based import base
from flax import struct

from haemsa_jax.errors import InputError
from haemsa_jax.structure.genes import FAR, Table

Array = jax.Array


@struct.dataclass
class MixedState(base.State):
    """Adds to evosax's state.

    Attributes:
      std: float[], step of the scale numbers.
      parents: int[P], member of `population` that each genome asked last descends from.
      survivors: int[P], where each member of `population` was before the last tell: 0 to P - 1 in
        the population before, P to 2 P - 1 among the genomes told.
    """

    std: Array
    parents: Array
    survivors: Array


@struct.dataclass
class MixedParams(base.Params):
    """Settings of `MixedGA`.

    Attributes:
      crossover_rate: chance that a child has two parents.
      mutations: structure numbers drawn anew in a child, on average; half of them change sign.
      std_min, std_max: bounds of the step.
    """

    crossover_rate: float
    mutations: float
    std_min: float
    std_max: float


class MixedGA(base.PopulationBasedAlgorithm):
    """Elitist genetic algorithm for genomes of structure and scale numbers.

    Parents by tournament, uniform crossover, per-gene mutation (structure numbers are drawn anew,
    scale numbers take a normal step), and the best of parents and children survive, so that a child
    worse than its parent never replaces it. The step follows Rechenberg's one-fifth rule.
    """

    def __init__(
        self, population_size: int, solution: Any, scales: np.ndarray,
        fixed: np.ndarray | None = None, tournament: int = 2, std: float = 0.5, **others,
    ):  # fmt: skip
        """Args beyond evosax's own.

        scales: bool[G], numbers on a scale.
        fixed: bool[G], numbers that the search holds, by default none.
        tournament: members that compete to be a parent.
        std: first step of the scale numbers.
        """
        super().__init__(population_size, solution, **others)
        scales = np.asarray(scales, bool)
        fixed = np.zeros_like(scales) if fixed is None else np.asarray(fixed, bool)
        self.scales, self.structure = tuple(scales.tolist()), tuple((~scales & ~fixed).tolist())
        self.tournament, self.std = tournament, std

    @property
    def _default_params(self) -> MixedParams:
        return MixedParams(crossover_rate=0.5, mutations=3.0, std_min=0.05, std_max=1.0)

    def _init(self, key: Array, params: MixedParams) -> MixedState:
        size = self.population_size
        return MixedState(
            population=jnp.full((size, self.num_dims), jnp.nan),
            fitness=jnp.full(size, jnp.inf),
            best_solution=jnp.full(self.num_dims, jnp.nan),
            best_fitness=jnp.inf,
            generation_counter=0,
            std=jnp.float32(self.std),
            parents=jnp.arange(size),
            survivors=size + jnp.arange(size),
        )

    def _ask(self, key: Array, state: MixedState, params: MixedParams):
        size = self.population_size
        scales, structure = np.array(self.scales), np.array(self.structure)
        select, cross, mix, mutate, step, draw = jax.random.split(key, 6)
        first, second = self._couples(select, state)
        crossed = jax.random.bernoulli(cross, params.crossover_rate, (size, 1))
        from_second = crossed & jax.random.bernoulli(mix, 0.5, (size, self.num_dims))
        child = jnp.where(from_second, state.population[second], state.population[first])
        chance = params.mutations / max(1, int(structure.sum()))
        anew = structure & jax.random.bernoulli(mutate, chance, child.shape)
        child = jnp.where(anew, jax.random.normal(draw, child.shape), child)
        # Beyond the ends of their genes numbers would drift, and no step would bring them back.
        moved = child + state.std * jax.random.normal(step, child.shape)
        child = jnp.where(scales, jnp.clip(moved, -FAR, FAR), child)
        return child, state.replace(parents=first)

    def _couples(self, key: Array, state: MixedState) -> tuple[Array, Array]:
        """int[P] twice, who each child descends from, and whom it may take genes of."""
        size = self.population_size
        entrants = jax.random.randint(key, (2, size, self.tournament), 0, size)
        winners = jnp.argmin(state.fitness[entrants], axis=-1)
        first, second = jnp.take_along_axis(entrants, winners[..., None], axis=-1)[..., 0]
        return first, second

    def _survivors(self, costs: Array) -> Array:
        """int[P], who of parents and then children, float[2 P], lives on."""
        return jnp.argsort(costs)[: self.population_size]

    def _tell(self, key, population, fitness, state: MixedState, params: MixedParams):
        everyone = jnp.concatenate([state.population, population])
        costs = jnp.concatenate([state.fitness, fitness])
        survivors = self._survivors(costs)
        success = jnp.mean(fitness < state.fitness[state.parents])
        std = state.std * jnp.where(success > 0.2, 1.22, 0.95)
        return state.replace(
            population=everyone[survivors], fitness=costs[survivors], survivors=survivors,
            std=jnp.clip(std, params.std_min, params.std_max),
        )  # fmt: skip


class CrowdingGA(MixedGA):
    """`MixedGA` whose members each have one child, which replaces nobody but its own parent.

    So as many lines of descent live on as there are members (deterministic crowding, Mahfoud 1995),
    each with weights of its own: their networks stay as different as those of as many seeds, which
    is what an ensemble wants, and each line is stopped where validation says. Genes still cross
    from line to line.
    """

    def _couples(self, key: Array, state: MixedState) -> tuple[Array, Array]:
        return jnp.arange(self.population_size), super()._couples(key, state)[1]

    def _survivors(self, costs: Array) -> Array:
        parents, children = costs.reshape(2, -1)
        places = jnp.arange(self.population_size)
        # Not on a tie: a child that diverged is told the worst cost of all, perhaps its parent's.
        return jnp.where(children < parents, self.population_size + places, places)


# What needs a loop of another shape than ask and tell of whole evaluations.
UNFIT = {
    "PersistentES": "it estimates gradients of unrolled inner loops",
    "NoiseReuseES": "it estimates gradients of unrolled inner loops",
    "SV_CMA_ES": "it keeps several populations, each with a mean of its own",
    "SV_Open_ES": "it keeps several populations, each with a mean of its own",
}
OWN = {"MixedGA": MixedGA, "CrowdingGA": CrowdingGA}


def names() -> tuple[str, ...]:
    """Algorithms that `make_algorithm` knows."""
    return tuple(sorted({*OWN, *evosax.algorithms} - {*UNFIT}, key=str.lower))


def make_algorithm(
    name: str, population: int, table: Table, generations: int,
    draw: Callable[[Array], Array] | None = None, fixed: np.ndarray | None = None,
) -> Any:  # fmt: skip
    """An evosax algorithm on the genomes of a table.

    Args:
      name: of the algorithm.
      population: members of a generation.
      table: of the genes.
      generations: in all, for those that plan.
      draw: key -> genome, how `RandomSearch` draws; by default uniform over what genes can say.
      fixed: bool[G], numbers that the search holds, by default none.

    Raises:
      InputError: no such algorithm, or one that cannot work with such a population.
    """
    if name not in names():
        why = f": {UNFIT[name]}" if name in UNFIT else ""
        raise InputError(f"algorithm {name!r} does not fit{why}; choose from {', '.join(names())}")
    kind = (OWN | evosax.algorithms)[name]
    offered = {
        "scales": table.scales, "sampling_fn": draw or table.random,
        "num_generations": generations, "fixed": fixed,
    }  # fmt: skip
    wanted = inspect.signature(kind).parameters
    extra = {key: value for key, value in offered.items() if key in wanted}
    try:
        algorithm = kind(population, jnp.zeros(table.size), metrics_fn=lambda *_: {}, **extra)
        params = algorithm.default_params
        jax.eval_shape(lambda key: _trial(algorithm, params, table, key), jax.random.key(0))
    except (AssertionError, TypeError, ValueError) as error:
        # Each says in its own way that it needs more members, or an even number of them.
        raise InputError(
            f"{name} does not work with a population of {population} ({error}); try another number"
        ) from error
    return algorithm


def _trial(algorithm: Any, params: Any, table: Table, key: Array) -> Any:
    """One round of ask and tell."""
    size = algorithm.population_size
    init, ask, tell = jax.random.split(key, 3)
    fitness = jnp.zeros(size)
    if has_population(algorithm):
        state = algorithm.init(init, jnp.zeros((size, table.size)), fitness, params)
    else:
        state = algorithm.init(init, jnp.zeros(table.size), params)
    genomes, state = algorithm.ask(ask, state, params)
    return algorithm.tell(tell, genomes, fitness, state, params)


def has_population(algorithm: Any) -> bool:
    """Whether it starts from an evaluated population rather than from a mean."""
    return isinstance(algorithm, base.PopulationBasedAlgorithm)
