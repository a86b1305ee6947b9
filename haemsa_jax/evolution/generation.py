"""One round of a search, as it runs on each device with its share of the networks."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from haemsa_jax.evolution.evidence import Evidence, standard_errors
from haemsa_jax.evolution.start import make_draw, strong, unraveller
from haemsa_jax.evolution.state import (
    Generation,
    History,
    Problem,
    SearchConfig,
    SearchState,
)
from haemsa_jax.structure.genes import places
from haemsa_jax.training.engine import parallel
from haemsa_jax.training.engine.members import in_turns

Array = jax.Array
BATCHES = 2**31 - 1, 2**31 - 2  # streams of batches and noise, of the final and before it


def make_generation(
    problem: Problem, config: SearchConfig, algorithm: Any, *, populated: bool, devices: int,
    together: int,
) -> Callable[[SearchState, Array, Any, Array], SearchState]:  # fmt: skip
    """generation(state, key, data, most) -> state, networks trained for `most` steps at most.

    Args:
      problem, config, algorithm: of the search.
      populated: whether the algorithm starts from a population.
      devices: on which the networks are spread.
      together: networks of a device that are trained side by side.
    """
    size = config.population
    propose = _make_propose(problem, config, algorithm, populated)
    learn = _make_learn(algorithm, populated)
    train = _make_train(problem, config, devices=devices, together=together)

    def generation(state: SearchState, key: Array, data: Any, most: Array) -> SearchState:
        now = state.generation
        is_final = now >= config.generations
        ask, tell, draws = jax.random.split(jax.random.fold_in(key, 1 + now), 3)
        asked_state, genomes, slots = propose(state, ask, draws, is_final)
        taken = (slots >= 0) & jnp.isfinite(state.living.fitness[slots])
        # Some algorithms stop the poor early; in other searches nobody asks who is alive.
        alive = getattr(asked_state, "alive", None)
        if alive is not None:
            alive = alive | is_final | state.random_search
        trained, predictions = train(state, genomes, slots, taken, key, data, alive, most)
        judged, row, evidence = _judge(problem, config, genomes, predictions, data)
        row = row.replace(parents=jnp.where(taken, jnp.maximum(now - 1, 0) * size + slots, -1))
        # Nobody lived yet, or all had diverged.
        nobody = ~jnp.isfinite(state.living.fitness).any()
        learnt = learn(asked_state, tell, genomes, row.fitness, evidence, nobody)

        def unless_final(new, old):
            return jax.tree.map(lambda a, b: jnp.where(is_final, b, a), new, old)

        return SearchState(
            generation=now + 1,
            random_search=state.random_search,
            algorithm=strong(unless_final(learnt, state.algorithm)),
            living=unless_final(judged, state.living),
            final=unless_final(state.final, judged),
            history=jax.tree.map(lambda rows, one: rows.at[now].set(one), state.history, row),
            members=unless_final(trained, state.members),
            finals=unless_final(state.finals, trained),
            fresh=state.fresh,
        )

    return generation


def _make_propose(problem: Problem, config: SearchConfig, algorithm: Any, populated: bool):
    """propose(state, ask, draws, is_final) -> algorithm's state, genomes float[P, G], slots int[P].

    A slot is the place in the last generation from which weights are taken; -1 for none.
    """
    size, params = config.population, algorithm.default_params
    inherits, draw = config.inherit != "none", make_draw(problem, config)
    fixed = problem.table.places(config.fixed)
    finalists = config.finalists.max() + 1

    def propose(state: SearchState, ask: Array, draws: Array, is_final: Array):
        living, first = state.living, state.generation == 0
        genomes, asked_state = algorithm.ask(ask, state.algorithm, params)
        if populated:
            # Such an algorithm has no say before its first population is judged.
            genomes = jnp.where(first, living.genomes, genomes)
        genomes = jnp.where(first, genomes.at[0].set(problem.default), genomes)
        slots = _parents(config.inherit, asked_state, genomes, living)
        if hasattr(algorithm, "finalists"):
            best = algorithm.finalists(state.algorithm, finalists)
        else:
            best = living.genomes[jnp.argsort(living.fitness)[:finalists]]
        genomes = jnp.where(is_final, best[config.finalists], genomes)

        drawn = jax.vmap(draw)(jax.random.split(draws, size))
        keep = (first | inherits) & ~is_final
        at_random = jnp.where(keep, living.genomes, drawn)
        genomes = jnp.where(state.random_search, at_random, genomes)
        genomes = jnp.where(fixed, problem.default, genomes)
        itself = jnp.arange(size) if inherits else jnp.full(size, -1)
        slots = jnp.where(state.random_search, itself, slots)
        return asked_state, genomes, jnp.where(is_final, -1, slots)

    return propose


def _make_train(
    problem: Problem, config: SearchConfig, *, devices: int, together: int
) -> Callable[..., tuple[Array, Any]]:
    """train(state, genomes, slots, taken, key, data, alive, most) -> networks and predictions.

    Networks are float[P K / devices, W], this device's; predictions those of all, leaves
    [P, K, ...]. Where a genome's slot is not `taken`, its networks are fresh. Those who are not
    `alive`, bool[P], stay as they are; None for all. Nobody takes more than `most` steps.
    """
    size, folds = config.population, problem.folds
    inherits = config.inherit != "none"

    def train(state: SearchState, genomes, slots, taken, key: Array, data: Any, alive, most):
        now, is_final = state.generation, state.generation >= config.generations
        parents, fresh = _starts(state, slots, is_final, folds, devices)
        extra = jnp.where(now == 0, config.head_start, 0)
        # Without inheritance every generation is the same training from the start.
        begun = (now * config.steps + config.head_start - extra) if inherits else jnp.int32(0)
        begun = jnp.where(is_final, 0, begun)
        count = jnp.where(is_final, config.schedule, config.steps + extra)
        count = jnp.minimum(count, most)
        # Finalists see other batches, too.
        order = jax.random.fold_in(key, jnp.where(is_final, *BATCHES))
        unravel = unraveller(problem, data)

        def live(vector, genome, fold, goes_on):
            network = unravel(vector)
            # A count of its own for each network costs a copy of all weights a step.
            own = count if alive is None else jnp.where(goes_on, count, 0)
            network = problem.train(network, genome, data, fold, order, begun, own)
            return ravel_pytree(network)[0], problem.predict(network, genome, data, fold)

        local = parallel.member_slice(size * folds // devices)
        start = jnp.where(taken[local // folds][:, None], parents, fresh)
        everybody = in_turns(live, (0, 0, 0, 0), together)
        goes_on = (jnp.ones(size, bool) if alive is None else alive)[local // folds]
        networks, predictions = everybody(start, genomes[local // folds], local % folds, goes_on)
        predictions = parallel.all_members(predictions, devices)
        return networks, jax.tree.map(lambda x: x.reshape(size, folds, *x.shape[1:]), predictions)

    return train


def _parents(inherit: str, asked_state: Any, genomes: Array, living: Generation) -> Array:
    """int[P], the place in the last generation each genome takes its weights from; -1 for none."""
    if inherit == "none":
        return jnp.full(len(genomes), -1)
    square = ((places(genomes)[:, None] - places(living.genomes)[None]) ** 2).sum(-1)
    nearest = jnp.argmin(jnp.where(jnp.isfinite(living.fitness), square, jnp.inf), axis=1)
    if inherit == "parent" and hasattr(asked_state, "parents"):
        # A parent that diverged has nothing to give.
        alive = jnp.isfinite(living.fitness[asked_state.parents])
        return jnp.where(alive, asked_state.parents, nearest)
    return nearest


def _starts(
    state: SearchState, slots: Array, is_final: Array, folds: int, devices: int
) -> tuple[Array, Array]:
    """Of this device's networks float[n, W], their parents' weights and fresh ones."""
    share = state.members.shape[0]
    local = parallel.member_slice(share)
    everybody = parallel.all_members(state.members, devices)
    parents = everybody[slots[local // folds] * folds + local % folds]
    return parents, jnp.where(is_final, state.fresh[:, 1], state.fresh[:, 0])


def _judge(
    problem: Problem, config: SearchConfig, genomes: Array, predictions: Any, data: Any
) -> tuple[Generation, History, Evidence]:
    """The generation, its row of the history but for parents, and what is known of differences."""
    # Judging one after the other keeps a copy of what judges for one member alone.
    measured = jax.lax.map(lambda one: problem.judge(one, data), predictions)  # [P, 1 + J, O]
    sizes = jax.vmap(problem.size)(genomes)
    weights = problem.weights
    costs = measured.mean(axis=-1) if weights is None else measured @ jnp.asarray(weights)
    priced = costs * (sizes**config.price)[:, None]
    raw, replicates = priced[:, 0], priced[:, 1:]
    diverged = ~jnp.isfinite(priced).all(axis=1) | jnp.isnan(genomes).any(axis=-1)
    raw = jnp.where(diverged, jnp.inf, raw)
    replicates = jnp.where(diverged[:, None], 0.0, replicates)
    # Told the worst of the generation, a diverged member is no better than any.
    worst = jnp.max(jnp.where(diverged, -jnp.inf, raw))
    fitness = jnp.where(diverged, jnp.where(jnp.isfinite(worst), worst, 1.0), raw)
    errors = standard_errors(replicates)
    free = jnp.where(diverged, jnp.inf, costs[:, 0])
    row = History(
        genomes=genomes, fitness=fitness, costs=measured[:, 0], sizes=sizes,
        errors=errors[jnp.argmin(raw)], parents=jnp.zeros(len(genomes), jnp.int32),
        diverged=diverged, best=jnp.min(fitness),
    )  # fmt: skip
    return Generation(genomes, raw, replicates, predictions), row, Evidence(errors, sizes, free)


def _make_learn(algorithm: Any, populated: bool) -> Callable[..., Any]:
    """learn(asked_state, key, genomes, fitness, evidence, nobody) -> the state after."""
    params = algorithm.default_params

    def learn(asked_state, key, genomes, fitness, evidence: Evidence, nobody: Array):
        if hasattr(asked_state, "evidence"):
            asked_state = asked_state.replace(evidence=evidence)
        if hasattr(asked_state, "parents"):  # ours begin with what they are told first
            return algorithm.tell(key, genomes, fitness, asked_state, params)[0]
        told, _ = algorithm.tell(key, genomes, fitness, asked_state, params)
        if not populated:
            return told
        # The population begins with this one.
        founded = algorithm.init(key, genomes, fitness, params)
        return jax.tree.map(lambda a, b: jnp.where(nobody, a, b), founded, told)

    return learn
