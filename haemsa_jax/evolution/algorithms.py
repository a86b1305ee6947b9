"""Search algorithms by name: all of evosax that fit, and ours for mixed genomes.

evosax minimises. Ours (`genetic.py`, `genomic.py`, `halving.py`) follow its interface, so that the
search treats them like any other.
"""

import inspect
from collections.abc import Callable
from typing import Any

import evosax.algorithms as evosax
import jax
import jax.numpy as jnp
import numpy as np
from evosax.algorithms.population_based import base

from haemsa_jax.errors import InputError
from haemsa_jax.evolution.genetic import NSGA2, CrowdingGA, MixedGA
from haemsa_jax.evolution.genomic import GenomicGA
from haemsa_jax.evolution.halving import SuccessiveHalving
from haemsa_jax.structure.table import Table

Array = jax.Array

# What needs a loop of another shape than ask and tell of whole evaluations.
UNFIT = {
    "PersistentES": "it estimates gradients of unrolled inner loops",
    "NoiseReuseES": "it estimates gradients of unrolled inner loops",
    "SV_CMA_ES": "it keeps several populations, each with a mean of its own",
    "SV_Open_ES": "it keeps several populations, each with a mean of its own",
}
OWN = {kind.__name__: kind for kind in (GenomicGA, CrowdingGA, MixedGA, NSGA2, SuccessiveHalving)}


def names() -> tuple[str, ...]:
    """Algorithms that `make_algorithm` knows."""
    return tuple(sorted({*OWN, *evosax.algorithms} - {*UNFIT}, key=str.lower))


def make_algorithm(
    name: str, population: int, table: Table, generations: int,
    draw: Callable[[Array], Array] | None = None, fixed: np.ndarray | None = None,
    margin: float = 1.0, default: np.ndarray | None = None,
) -> Any:  # fmt: skip
    """An evosax algorithm on the genomes of a table.

    Args:
      name: of the algorithm.
      population: members of a generation.
      table: of the genes.
      generations: in all, for those that plan.
      draw: key -> genome, how `RandomSearch` draws; by default uniform over what genes can say.
      fixed: bool[G], numbers that the search holds, by default none.
      margin: as `SearchConfig` has it.
      default: float[G], the genome of a network that nobody searched for, by default zeros.

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
        "margin": margin, "table": table,
        "default": np.zeros(table.size, np.float32) if default is None else default,
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
