"""Evolution that remembers: all that was ever measured says what each number of a genome is worth.

See `effects.py` for the estimate and its source.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from haemsa_jax.evolution.effects import Effects, estimate
from haemsa_jax.evolution.genetic import CrowdingGA, MixedParams, MixedState
from haemsa_jax.structure.table import Table

Array = jax.Array
CANDIDATES = 32  # children that are thought of for one that is trained
SURE = 1.0  # standard errors by which an effect must stand out for finalists to follow it


@struct.dataclass
class GenomicState(MixedState):
    """Adds what was measured.

    Attributes:
      features: float[N, P, F], of all genomes, by generation.
      measured: float[N, P], their fitness.
      effects: what each feature adds to fitness.
    """

    features: Array
    measured: Array
    effects: Effects


class GenomicGA(CrowdingGA):
    """`CrowdingGA` that selects by what all genomes together say, too.

    Of many children that a line might have, the one is trained that promises most under effects
    drawn from what is known of them (Thompson 1933), so that what is uncertain gets tried. Whether
    it replaces its parent is decided by the sum of what both cost and what their numbers promise.
    Finalists are the best lines and the default, as they are and with those parts shut or open that
    surely pay.
    """

    def __init__(
        self, population_size: int, solution: Any, scales: np.ndarray, table: Table,
        default: np.ndarray, num_generations: int, **others,
    ):  # fmt: skip
        """Args beyond those of `MixedGA`.

        table: of the genes.
        default: float[G], the genome of a network that nobody searched for.
        num_generations: that will be told.
        """
        super().__init__(population_size, solution, scales, **others)
        self.table, self.generations = table, num_generations
        self.default = tuple(np.asarray(default, float).tolist())

    def _init(self, key: Array, params: MixedParams) -> GenomicState:
        state, rows = super()._init(key, params), (self.generations, self.population_size)
        count = self.table.features(jnp.zeros(self.num_dims)).shape[-1]
        return GenomicState(
            **vars(state),
            features=jnp.zeros((*rows, count)),
            measured=jnp.zeros(rows),
            effects=Effects(jnp.zeros(count), jnp.zeros((count, count))),
        )

    def _offspring(self, key: Array, state: GenomicState, params: MixedParams):
        draw, breed = jax.random.split(key)
        of_one = super()._offspring
        children, parents = jax.vmap(lambda key: of_one(key, state, params))(
            jax.random.split(breed, CANDIDATES)
        )
        count = children.shape[1]
        effects = state.effects.draw(draw, count)
        promised = jnp.einsum("mcf,cf->mc", self.table.features(children), effects)
        best = jnp.argmin(promised, axis=0), jnp.arange(count)
        return children[best], parents[best]

    def _tell(self, key, population, fitness, state: GenomicState, params: MixedParams):
        now = state.generation_counter
        features = state.features.at[now].set(self.table.features(population))
        measured = state.measured.at[now].set(fitness)
        rows = jnp.arange(self.generations * self.population_size)
        generation, place = jnp.divmod(rows, self.population_size)
        # Children have just lost or won parts, survivors have not: compared are like with like.
        is_child = (place >= self.count) & (generation > 0)
        effects = estimate(
            features.reshape(len(rows), -1), measured.reshape(-1),
            groups=2 * generation + is_child, known=generation <= now,
        )  # fmt: skip
        state = state.replace(features=features, measured=measured, effects=effects)
        return super()._tell(key, population, fitness, state, params)

    def _expected(self, state: GenomicState) -> Array:
        now = state.generation_counter
        return state.features[now] @ state.effects.mean

    def finalists(self, state: GenomicState, count: int) -> Array:
        """float[count, G], genomes to be trained anew, when the generations are over."""
        merit = self.table.features(state.population) @ state.effects.mean + state.fitness
        ranked = state.population[jnp.argsort(merit)]
        default = jnp.asarray(self.default, jnp.float32)
        first, *others = (x for genome in ranked for x in (self._improved(state, genome), genome))
        order = jnp.stack([first, others[0], default, self._improved(state, default), *others[1:]])
        # What says the same as one before it comes last.
        what = self.table.features(order)
        same = (what[:, None] == what[None]).all(-1)
        again = jnp.tril(same, -1).any(axis=1)
        return order[jnp.argsort(again, stable=True)[:count]]

    def _improved(self, state: GenomicState, genome: Array) -> Array:
        """float[G], parts shut or opened where this surely lowers fitness."""
        sign = jnp.where(genome > 0, 1.0, -1.0)
        mean, errors = (x[: self.num_dims] for x in (state.effects.mean, state.effects.errors))
        masks = np.repeat(
            [gene.kind == "mask" for gene in self.table.genes],
            [gene.size for gene in self.table.genes],
        )
        flip = masks & np.array(self.structure) & (sign * mean > SURE * errors) & (errors > 0)
        return jnp.where(flip, -sign, genome)
