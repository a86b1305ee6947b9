"""The search: ask, inherit weights, train, validate, tell, for all generations in one program.

Everything is written against a `Problem` (`state.py`), four functions and a table of genes; our own
is in `problem.py`, any supernet of masks can have one. The population is the parallel axis: its
members are spread over the local devices, everything that decides is computed alike on each.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from haemsa_jax.errors import InputError
from haemsa_jax.evolution.state import (
    History,
    Living,
    Problem,
    SearchConfig,
    SearchResult,
    SearchState,
)
from haemsa_jax.structure.genes import places
from haemsa_jax.training.engine import parallel
from haemsa_jax.training.engine.members import in_turns

Array = jax.Array


@dataclass(frozen=True)
class Search:
    """`search(key, data) -> SearchResult`, and its pieces for those who want to look in between.

    The same program also searches at random, which is every algorithm's yardstick: each genome,
    drawn as the first ones are, gets one whole training. With inheritance that is the first
    generation trained on to the end, without it every generation is drawn anew.

    Attributes:
      place: (data) -> data on all devices, for those who call the others many times; otherwise each
        call puts it there.
      start: (key, data, random_search=False) -> SearchState; `random_search` draws all genomes.
      advance: (state, key, data, count) -> SearchState, `count` generations on. Into how many calls
        a search is cut changes nothing.
      abstract: (data) -> shapes of the state, to restore one.
      whole: (state) -> the state with the members of all processes, as a checkpoint keeps it.
      result: (state, data) -> SearchResult, what there is so far.
      config: of the search.
      devices: the axis.
      populated: the algorithm starts from a population, whose first generation is random search's
        too.
    """

    place: Callable[[Any], Any]
    start: Callable[..., SearchState]
    advance: Callable[[SearchState, Array, Any, int], SearchState]
    abstract: Callable[[Any], SearchState]
    whole: Callable[[SearchState], SearchState]
    result: Callable[[SearchState, Any], SearchResult]
    config: SearchConfig
    devices: list[jax.Device]
    populated: bool

    def __call__(self, key: Array, data: Any, random_search: bool = False) -> SearchResult:
        """The whole search."""
        state = self.start(key, data, random_search)
        return self.result(self.advance(state, key, data, self.config.generations), data)


def make_search(
    problem: Problem, config: SearchConfig, devices: list[jax.Device] | None = None
) -> Search:
    """Compiles nothing yet; the first call does, and serves all data of the same shapes.

    Raises:
      InputError: the algorithm is unknown, or the population does not divide over the devices.
    """
    # Late: evosax asks for devices as it is imported, before which processes must have met.
    from haemsa_jax.evolution.algorithms import has_population, make_algorithm

    devices = devices or jax.local_devices()
    if config.population % len(devices):
        more = -(-config.population // len(devices)) * len(devices)
        raise InputError(
            f"population={config.population} does not divide over {len(devices)} devices; choose a "
            f"multiple of {len(devices)}, such as {more}, or fewer devices"
        )
    algorithm = make_algorithm(
        config.algorithm, config.population, problem.table, config.generations,
        _draw(problem, config), problem.table.places(config.fixed),
    )  # fmt: skip
    populated = has_population(algorithm)
    together = _together(config.population // len(devices), config.abreast, devices[0].platform)
    step = _make_generation(problem, config, algorithm, populated, len(devices), together)
    # It runs once, so there is nothing to win from optimising it, which takes half of compiling.
    begin = jax.jit(
        _make_start(problem, config, algorithm, populated, len(devices)),
        compiler_options={"xla_backend_optimization_level": 0},
    )
    run = parallel.map_members(step, devices)
    unravel = jax.jit(lambda vectors, data: jax.vmap(_unraveller(problem, data))(vectors))

    def place(data):
        return parallel.replicate(data, devices)

    def start(key, data, random_search=False):
        return begin(key, data, np.bool_(random_search))

    def advance(state, key, data, count):
        left = config.generations - int(state.generation)
        state = parallel.place_members(state, devices)
        return run(state, *place((key, data)), np.int32(min(count, left)))

    def abstract(data):
        return jax.eval_shape(begin, jax.random.key(0), data, np.bool_(False))

    def whole(state):
        return parallel.whole(state, devices)

    def result(state, data):
        state = jax.device_get(whole(state))
        order = np.argsort(state.living.fitness, kind="stable")
        vectors = state.members.reshape(-1, state.members.shape[-1])[order]
        vector, genome, fitness = state.champion
        every = jax.device_get(unravel(np.concatenate([vector[None], vectors]), data))
        done = int(state.generation)
        return SearchResult(
            genome=genome,
            fitness=float(fitness),
            member=jax.tree.map(lambda x: x[0], every),
            genomes=state.living.genomes[order],
            fitnesses=state.living.fitness[order],
            members=jax.tree.map(lambda x: x[1:], every),
            history=jax.tree.map(lambda x: x[:done], state.history),
            state=state,
        )

    return Search(place, start, advance, abstract, whole, result, config, devices, populated)


def _unraveller(problem: Problem, data: Any) -> Callable[[Array], Any]:
    """From a member's vector to the member."""
    shapes = jax.eval_shape(problem.init, jax.random.key(0), data)
    return ravel_pytree(jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes))[1]


def _draw(problem: Problem, config: SearchConfig) -> Callable[[Array], Array]:
    """key -> genome, around the default, as those algorithms begin that start from a mean.

    Uniform genomes shut half of everything, and learn little.
    """
    fixed = problem.table.places(config.fixed)

    def draw(key):
        genome = problem.default + config.spread * problem.table.random(key)
        return jnp.where(fixed, problem.default, genome)

    return draw


def _make_start(problem: Problem, config: SearchConfig, algorithm, populated: bool, devices: int):
    """start(key, data, random_search) -> SearchState before the first generation."""
    size, genes = config.population, problem.table.size
    params, draw = algorithm.default_params, _draw(problem, config)

    def start(key, data, random_search):
        first, init, members = jax.random.split(jax.random.fold_in(key, 0), 3)
        genomes = jax.vmap(draw)(jax.random.split(first, size)).at[0].set(problem.default)
        nobody = jnp.full(size, jnp.inf)
        if populated:
            state = algorithm.init(init, genomes, nobody, params)
        else:
            state = algorithm.init(init, jnp.asarray(problem.default), params)
        begin = jax.vmap(lambda key: ravel_pytree(problem.init(key, data))[0])
        weights = begin(jax.random.split(members, size))
        rows = config.generations
        history = History(
            genomes=jnp.zeros((rows, size, genes)),
            fitness=jnp.zeros((rows, size)),
            costs=jnp.zeros((rows, size, len(problem.objectives))),
            sizes=jnp.zeros((rows, size)),
            parents=jnp.zeros((rows, size), jnp.int32),
            diverged=jnp.zeros((rows, size), bool),
            living=jnp.zeros((rows, size), jnp.int32),
            best=jnp.zeros(rows),
        )
        state = SearchState(
            generation=jnp.int32(0),
            random_search=random_search,
            algorithm=state,
            living=Living(genomes, nobody, jnp.full(size, -1, jnp.int32)),
            champion=(weights[0], genomes[0], jnp.float32(jnp.inf)),
            history=history,
            members=weights.reshape(devices, -1, weights.shape[-1]),
            fresh=weights.reshape(devices, -1, weights.shape[-1]),
        )
        return _strong(state)

    return start


def _together(share: int, abreast: int, platform: str) -> int:
    """Members of a device's `share` that are trained side by side: a divisor of it."""
    most = abreast or (4 if platform == "cpu" else share)
    return max(count for count in range(1, most + 1) if share % count == 0)


def _make_generation(
    problem: Problem, config: SearchConfig, algorithm, populated: bool, devices: int, together: int
):
    """generation(state, key, data) -> state, on each device with its share of the members."""
    size, share = config.population, config.population // devices
    inherits = config.inherit != "none"
    params = algorithm.default_params
    fixed, draw = problem.table.places(config.fixed), _draw(problem, config)

    def generation(state: SearchState, key: Array, data: Any) -> SearchState:
        now = state.generation
        ask, tell, draws = jax.random.split(jax.random.fold_in(key, 1 + now), 3)
        living, members = state.living, state.members
        nobody = ~jnp.isfinite(living.fitness).any()  # lives yet, or all have diverged
        genomes, asked_state = algorithm.ask(ask, state.algorithm, params)
        if populated:
            # Such an algorithm has no say before its first population is measured.
            genomes = jnp.where(now == 0, living.genomes, genomes)
        genomes = jnp.where(now == 0, genomes.at[0].set(problem.default), genomes)
        drawn = jax.vmap(draw)(jax.random.split(draws, size))
        at_random = living.genomes if inherits else jnp.where(now == 0, living.genomes, drawn)
        genomes = jnp.where(state.random_search, at_random, genomes)
        genomes = jnp.where(fixed, problem.default, genomes)

        slots = _parents(config.inherit, asked_state, genomes, living, state.random_search)
        local = parallel.member_slice(share)
        old = parallel.all_members(members, devices)
        taken = jnp.where(slots >= 0, jnp.isfinite(living.fitness[slots]), False)
        start = jnp.where(taken[local][:, None], old[slots[local]], state.fresh)
        # Without inheritance every generation is the same training from the start.
        extra = jnp.where(now == 0, config.head_start, 0)
        begun = (now * config.steps + config.head_start - extra) if inherits else jnp.int32(0)
        unravel = _unraveller(problem, data)

        def live(vector, genome):
            member = unravel(vector)
            member = problem.train(member, genome, data, key, begun, config.steps + extra)
            return ravel_pytree(member)[0], problem.evaluate(member, genome, data)

        everybody = in_turns(live, (0, 0), together)
        children, costs = parallel.all_members(everybody(start, genomes[local]), devices)

        sizes = jax.vmap(problem.size)(genomes)
        cost = costs.mean(axis=-1) if problem.weights is None else costs @ problem.weights
        raw = cost * sizes**config.price
        diverged = ~jnp.isfinite(raw) | jnp.isnan(genomes).any(axis=-1)
        raw = jnp.where(diverged, jnp.inf, raw)
        # Told the worst of the living too, a diverged member ousts none of them (but the worst
        # itself, where an algorithm replaces on a tie).
        known = jnp.concatenate([raw, living.fitness])
        worst = jnp.max(jnp.where(jnp.isfinite(known), known, -jnp.inf))
        fitness = jnp.where(diverged, jnp.where(jnp.isfinite(worst), worst, 1.0), raw)

        told_state, _ = algorithm.tell(tell, genomes, fitness, asked_state, params)
        if populated:
            founded = algorithm.init(tell, genomes, fitness, params)
            told_state = jax.tree.map(lambda a, b: jnp.where(nobody, a, b), founded, told_state)
        ids = now * size + jnp.arange(size, dtype=jnp.int32)
        pool = jax.tree.map(
            lambda a, b: jnp.concatenate([a, b]),
            living, Living(genomes, raw, ids),
        )  # fmt: skip
        stay = jnp.where(
            state.random_search, size + jnp.arange(size), _survivors(told_state, pool, size, nobody)
        )
        history = state.history
        row = History(
            genomes=genomes, fitness=fitness, costs=costs, sizes=sizes,
            parents=jnp.where(taken, living.ids[slots], -1), diverged=diverged,
            living=pool.ids[stay], best=jnp.minimum(state.champion[2], jnp.min(pool.fitness)),
        )  # fmt: skip
        leader = jnp.argmin(pool.fitness[size:])
        candidate = children[leader], genomes[leader], pool.fitness[size + leader]
        better = candidate[2] < state.champion[2]
        return SearchState(
            generation=now + 1,
            random_search=state.random_search,
            algorithm=_strong(told_state),
            living=jax.tree.map(lambda x: x[stay], pool),
            champion=jax.tree.map(lambda a, b: jnp.where(better, a, b), candidate, state.champion),
            history=jax.tree.map(lambda rows, one: rows.at[now].set(one), history, row),
            members=jnp.concatenate([old, children])[stay[local]],
            fresh=state.fresh,
        )

    return generation


def _parents(
    inherit: str, asked_state: Any, genomes: Array, living: Living, random_search: Array
) -> Array:
    """int[P], the place in the pool each genome takes its weights from; -1 for none."""
    if inherit == "none":
        return jnp.full(len(genomes), -1)
    nearest = jnp.argmin(_distances(genomes, living.genomes, living.fitness), axis=1)
    parents = nearest
    if inherit == "parent" and hasattr(asked_state, "parents"):
        # A parent that diverged has nothing to give.
        parents = jnp.where(
            jnp.isfinite(living.fitness[asked_state.parents]), asked_state.parents, nearest
        )
    return jnp.where(random_search, jnp.arange(len(genomes)), parents)


def _survivors(told_state: Any, pool: Living, size: int, nobody: Array) -> Array:
    """int[P], which of the pool of 2 P, parents then children, live on; children if `nobody` is."""
    children = size + jnp.arange(size)
    if hasattr(told_state, "survivors"):
        kept = told_state.survivors
    elif (
        hasattr(told_state, "population")
        and told_state.population.shape == pool.genomes[:size].shape
    ):
        # It keeps a population of its own: whoever of the pool it is, and the fitter of two equals.
        order = jnp.argsort(pool.fitness)
        distances = _distances(told_state.population, pool.genomes[order], jnp.zeros(2 * size))
        kept = order[jnp.argmin(distances, axis=1)]
    else:
        kept = children
    return jnp.where(nobody, children, kept)


def _distances(genomes: Array, others: Array, fitness: Array) -> Array:
    """Squared distances in units of the genes' ranges; inf from whoever has no finite fitness."""

    square = ((places(genomes)[:, None] - places(others)[None]) ** 2).sum(-1)
    return jnp.where(jnp.isfinite(fitness), square, jnp.inf)


def _strong(tree: Any) -> Any:
    """Arrays whose types do not bend: what a generation returns is what the next one takes."""
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.result_type(x)), tree)
