"""Genetic algorithms for mixed genomes, on evosax's interface.

A genome mixes numbers that only count by their sign with numbers on a scale; there are operators
for both. What the search offers beyond evosax is used: weights are inherited from `parents`, and
`evidence` says how sure a difference is.

Of what is asked for, the first half are the survivors of the generation before: they are trained on
and judged anew beside their children, so that compared are equals in age.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from evosax.algorithms.population_based import base
from flax import struct

from haemsa_jax.evolution.evidence import Evidence
from haemsa_jax.evolution.front import front_order
from haemsa_jax.structure.genes import FAR

Array = jax.Array


@struct.dataclass
class MixedState(base.State):
    """Adds to evosax's state; the population is what was told last.

    Attributes:
      std: float[], step of the scale numbers.
      lines: int[P / 2], the survivors' places in the population.
      parents: int[P], the place in the population of whoever each genome asked last goes on from;
        survivors go on from themselves.
      evidence: on the genomes told; the search fills it in before it tells.
    """

    std: Array
    lines: Array
    parents: Array
    evidence: Evidence


@struct.dataclass
class MixedParams(base.Params):
    """Settings of our own algorithms.

    Attributes:
      crossover_rate: chance that a child has two parents.
      mutations: structure numbers drawn anew in a child, on average; half of them change sign.
      std_min, std_max: bounds of the step.
      margin: standard errors by which a child must be ahead of a parent that is not larger.
    """

    crossover_rate: float
    mutations: float
    std_min: float
    std_max: float
    margin: float


class MixedGA(base.PopulationBasedAlgorithm):
    """Genetic algorithm for genomes of structure and scale numbers.

    Parents by tournament, uniform crossover, per-gene mutation (structure numbers are drawn anew,
    scale numbers take a normal step), and the best of parents and children survive. The step
    follows Rechenberg's one-fifth rule.
    """

    def __init__(
        self, population_size: int, solution: Any, scales: np.ndarray,
        fixed: np.ndarray | None = None, tournament: int = 2, std: float = 0.5,
        margin: float = 1.0, **others,
    ):  # fmt: skip
        """Args beyond evosax's own.

        scales: bool[G], numbers on a scale.
        fixed: bool[G], numbers that the search holds, by default none.
        tournament: survivors that compete to be a parent.
        std: first step of the scale numbers.
        margin: as in `MixedParams`.
        """
        super().__init__(population_size, solution, **others)
        scales = np.asarray(scales, bool)
        fixed = np.zeros_like(scales) if fixed is None else np.asarray(fixed, bool)
        self.scales, self.structure = tuple(scales.tolist()), tuple((~scales & ~fixed).tolist())
        self.tournament, self.std, self.margin = tournament, std, margin
        self.count = population_size // 2  # of lines

    @property
    def _default_params(self) -> MixedParams:
        return MixedParams(
            crossover_rate=0.5, mutations=3.0, std_min=0.05, std_max=1.0, margin=self.margin
        )

    def _init(self, key: Array, params: MixedParams) -> MixedState:
        size = self.population_size
        return MixedState(
            population=jnp.full((size, self.num_dims), jnp.nan),
            fitness=jnp.full(size, jnp.inf),
            best_solution=jnp.full(self.num_dims, jnp.nan),
            best_fitness=jnp.inf,
            generation_counter=0,
            std=jnp.float32(self.std),
            lines=jnp.arange(self.count),
            parents=jnp.arange(size),
            evidence=Evidence.of_nothing(size),
        )

    def _ask(self, key: Array, state: MixedState, params: MixedParams):
        children, parents = self._offspring(key, state, params)
        genomes = jnp.concatenate([state.population[state.lines], children])
        return genomes, state.replace(parents=jnp.concatenate([state.lines, parents]))

    def _offspring(self, key: Array, state: MixedState, params: MixedParams) -> tuple[Array, Array]:
        """float[C, G], children, and int[C], the places of whom they go on from."""
        children = self.population_size - self.count
        scales, structure = np.array(self.scales), np.array(self.structure)
        select, cross, mix, mutate, step, draw = jax.random.split(key, 6)
        first, second = self._couples(select, state, children)
        crossed = jax.random.bernoulli(cross, params.crossover_rate, (children, 1))
        from_second = crossed & jax.random.bernoulli(mix, 0.5, (children, self.num_dims))
        child = jnp.where(from_second, state.population[second], state.population[first])
        chance = params.mutations / max(1, int(structure.sum()))
        anew = structure & jax.random.bernoulli(mutate, chance, child.shape)
        child = jnp.where(anew, jax.random.normal(draw, child.shape), child)
        # Beyond the ends of their genes numbers would drift, and no step would bring them back.
        moved = child + state.std * jax.random.normal(step, child.shape)
        return jnp.where(scales, jnp.clip(moved, -FAR, FAR), child), first

    def _couples(self, key: Array, state: MixedState, count: int) -> tuple[Array, Array]:
        """int[count] twice, places of whom each child goes on from, and may take genes of."""
        entrants = jax.random.randint(key, (2, count, self.tournament), 0, self.count)
        entrants = state.lines[entrants]
        winners = jnp.argmin(state.fitness[entrants], axis=-1)
        first, second = jnp.take_along_axis(entrants, winners[..., None], axis=-1)[..., 0]
        return first, second

    def _tell(self, key, population, fitness, state: MixedState, params: MixedParams):
        lines, success = self._select(fitness, state, params)
        # The first population has no parents: the better half begins the lines.
        begins = ~jnp.isfinite(state.fitness).any()
        lines = jnp.where(begins, jnp.argsort(fitness)[: self.count], lines)
        std = state.std * jnp.where(success > 0.2, 1.22, 0.95)
        std = jnp.where(begins, state.std, jnp.clip(std, params.std_min, params.std_max))
        return state.replace(population=population, fitness=fitness, lines=lines, std=std)

    def _select(self, fitness: Array, state: MixedState, params: MixedParams):
        """int[P / 2], who lives on, and float[], the share of children better than their parent."""
        return jnp.argsort(fitness)[: self.count], self._success(fitness, state, params)

    def _success(self, fitness: Array, state: MixedState, params: MixedParams) -> Array:
        """float[], the share of children that are ahead of their parent by more than chance."""
        children = jnp.arange(self.count, self.population_size)
        # Where each one's parent stands among the genomes asked: in the place of its line.
        parents = jnp.argmax(state.parents[self.count :, None] == state.lines[None], axis=1)
        needed = params.margin * state.evidence.errors[children, parents]
        return jnp.mean(fitness[parents] - fitness[children] > needed)


class CrowdingGA(MixedGA):
    """`MixedGA` whose lines stay apart: a child replaces nobody but its own parent.

    So as many lines of descent live on as there are survivors (deterministic crowding, Mahfoud
    1995), each with weights of its own: their networks stay as different as those of as many seeds,
    which is what an ensemble wants. Genes still cross from line to line.

    A child must be ahead by more than the chance of which groups judge, `margin` standard errors of
    the paired difference; a smaller one need not be worse.
    """

    def _couples(self, key: Array, state: MixedState, count: int) -> tuple[Array, Array]:
        own = state.lines[jnp.arange(count) % self.count]
        return own, super()._couples(key, state, count)[1]

    def _select(self, fitness: Array, state: MixedState, params: MixedParams):
        lines = jnp.arange(self.count)
        children = self.count + lines  # an odd one out is trained for nothing but its own sake
        merit = fitness + self._expected(state)
        ahead = merit[lines] - merit[children]
        needed = params.margin * state.evidence.errors[children, lines]
        smaller = state.evidence.sizes[children] < state.evidence.sizes[lines]
        wins = (ahead > needed) | (smaller & (ahead >= 0.0))
        return jnp.where(wins, children, lines), self._success(fitness, state, params)

    def _expected(self, state: MixedState) -> Array:
        """float[P], what speaks for or against members beside what they were measured to cost."""
        return jnp.zeros(self.population_size)


class NSGA2(MixedGA):
    """Two aims, cost and size: the front of what neither beats, evenly spread.

    Survivors by rank of non-domination, then by crowding distance (Deb, Pratap, Agarwal and
    Meyarivan 2002, "A fast and elitist multiobjective genetic algorithm: NSGA-II"); parents by
    tournament of the same. Costs are free of a price.
    """

    def _couples(self, key: Array, state: MixedState, count: int) -> tuple[Array, Array]:
        # `lines` stand in their order already.
        entrants = jax.random.randint(key, (2, count, self.tournament), 0, self.count)
        first, second = state.lines[entrants.min(axis=-1)]
        return first, second

    def _select(self, fitness: Array, state: MixedState, params: MixedParams):
        aims = jnp.stack([state.evidence.costs, state.evidence.sizes], axis=1)
        return front_order(aims)[: self.count], self._success(fitness, state, params)
