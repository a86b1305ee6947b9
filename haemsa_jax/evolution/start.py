"""A search before its first generation: genomes, fresh networks, an empty history."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from haemsa_jax.evolution.state import Generation, History, Problem, SearchConfig, SearchState

Array = jax.Array


def unraveller(problem: Problem, data: Any) -> Callable[[Array], Any]:
    """From a network's vector to the network."""
    shapes = jax.eval_shape(problem.init, jax.random.key(0), data)
    return ravel_pytree(jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes))[1]


def make_draw(problem: Problem, config: SearchConfig) -> Callable[[Array], Array]:
    """key -> genome, around the default, as those algorithms begin that start from a mean.

    Uniform genomes shut half of everything, and learn little.
    """
    fixed = problem.table.places(config.fixed)

    def draw(key):
        genome = problem.default + config.spread * problem.table.random(key)
        return jnp.where(fixed, problem.default, genome)

    return draw


def make_start(
    problem: Problem, config: SearchConfig, algorithm: Any, *, populated: bool, devices: int
) -> Callable[..., SearchState]:
    """start(key, data, random_search) -> SearchState before the first generation."""
    size, genes, rounds = config.population, problem.table.size, config.rounds
    params, draw = algorithm.default_params, make_draw(problem, config)

    def start(key, data, random_search):
        first, init, members = jax.random.split(jax.random.fold_in(key, 0), 3)
        genomes = jax.vmap(draw)(jax.random.split(first, size)).at[0].set(problem.default)
        nobody = jnp.full(size, jnp.inf)
        if populated:
            state = algorithm.init(init, genomes, nobody, params)
        else:
            state = algorithm.init(init, jnp.asarray(problem.default), params)
        begin = jax.vmap(lambda key: ravel_pytree(problem.init(key, data))[0])
        networks = size * problem.folds
        fresh = begin(jax.random.split(members, 2 * networks)).reshape(networks, 2, -1)
        blank = _blank(problem, data, fresh[0, 0], genomes[0])
        predictions, judged = jax.tree.map(lambda x: jnp.zeros((size, *x.shape), x.dtype), blank)
        living = Generation(genomes, nobody, jnp.zeros((size, judged.shape[1] - 1)), predictions)
        history = History(
            genomes=jnp.zeros((rounds, size, genes)),
            fitness=jnp.zeros((rounds, size)),
            costs=jnp.zeros((rounds, size, len(problem.objectives))),
            sizes=jnp.zeros((rounds, size)),
            errors=jnp.zeros((rounds, size)),
            parents=jnp.zeros((rounds, size), jnp.int32),
            diverged=jnp.zeros((rounds, size), bool),
            best=jnp.zeros(rounds),
        )
        own = fresh[:, 0].reshape(devices, -1, fresh.shape[-1])
        state = SearchState(
            generation=jnp.int32(0),
            random_search=random_search,
            algorithm=state,
            living=living,
            final=living,
            history=history,
            members=own,
            finals=own,
            fresh=fresh.reshape(devices, -1, *fresh.shape[1:]),
        )
        return strong(state)

    return start


def _blank(problem: Problem, data: Any, vector: Any, genome: Any) -> tuple[Any, Any]:
    """Shapes of all predictions of a member, and of what they cost."""

    def once(vector, genome, data):
        network = unraveller(problem, data)(vector)
        of = jax.vmap(lambda fold: problem.predict(network, genome, data, fold))
        predictions = of(jnp.arange(problem.folds))
        return predictions, problem.judge(predictions, data)

    return jax.eval_shape(once, vector, genome, data)


def strong(tree: Any) -> Any:
    """Arrays whose types do not bend: what a generation returns is what the next one takes."""
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.result_type(x)), tree)
