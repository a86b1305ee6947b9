"""Who has won, and which members together are the ensemble. On the host."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from haemsa_jax.evolution.ensemble import select
from haemsa_jax.evolution.evidence import standard_errors
from haemsa_jax.evolution.start import unraveller
from haemsa_jax.evolution.state import Problem, SearchConfig, SearchResult, SearchState


def make_result(
    problem: Problem, config: SearchConfig
) -> Callable[[SearchState, Any], SearchResult]:
    """result(state, data) -> SearchResult, of a state on the host, finished or not."""

    @jax.jit
    def choose(predictions, order, data):
        def mean(costs):
            return costs.mean() if problem.weights is None else costs @ problem.weights

        places, count = select(predictions, order, lambda p: mean(problem.judge(p, data)[0]))
        return places, count

    @jax.jit
    def unravel(vectors, data):
        return jax.vmap(jax.vmap(unraveller(problem, data)))(vectors)

    @jax.jit
    def cost_of(predictions, weights, data):
        def mean(x):
            kept = jnp.where(weights.reshape(-1, *[1] * (x.ndim - 1)) > 0, x, 0.0)
            return jnp.tensordot(weights, kept, 1) / weights.sum()

        return problem.judge(jax.tree.map(mean, predictions), data)[0]

    def result(state: SearchState, data: Any) -> SearchResult:
        rounds, size = int(state.generation), config.population
        ended = bool(config.repeats) and rounds == config.rounds
        groups = [state.final, state.living] if ended else [state.living]
        networks = [state.finals, state.members] if ended else [state.members]
        genomes, fitnesses = (
            np.concatenate([getattr(group, name) for group in groups])
            for name in ("genomes", "fitness")
        )
        first = _winner(state, config) if ended else int(np.argmin(fitnesses))
        order = np.argsort(fitnesses, kind="stable")
        order = np.concatenate([[first], order[order != first]])
        vectors = np.concatenate([w.reshape(size, problem.folds, -1) for w in networks])
        predictions = jax.tree.map(
            lambda *x: np.concatenate(x)[order], *[group.predictions for group in groups]
        )
        places, count = jax.device_get(choose(predictions, np.arange(len(order)), data))
        chosen = places[: int(count)]
        weights = np.bincount(chosen, minlength=len(order)).astype(np.float32)
        of_round = rounds - 1 if first < size else rounds - 2
        return SearchResult(
            genome=genomes[first],
            fitness=float(fitnesses[first]),
            place=(of_round, first % size),
            genomes=genomes[order],
            fitnesses=fitnesses[order],
            members=jax.device_get(unravel(vectors[order], data)),
            ensemble=tuple(chosen.tolist()),
            ensemble_costs=np.asarray(cost_of(predictions, weights, data)),
            history=jax.tree.map(lambda x: x[:rounds], state.history),
            state=state,
        )

    return result


def _winner(state: SearchState, config: SearchConfig) -> int:
    """Place of the winner among the finalists and then the last generation."""
    final = state.final
    if state.random_search:
        # Every genome was trained once, and the best of them is what random search finds.
        return int(np.argmin(np.concatenate([final.fitness, state.living.fitness])))
    each, sizes = np.asarray(final.fitness), np.asarray(state.history.sizes)
    trained = [np.flatnonzero(config.finalists == n) for n in range(config.finalists.max() + 1)]
    means = np.array([each[of].mean() for of in trained])
    if not np.isfinite(means).any():
        return int(np.argmin(each))
    of_finalists = sizes[int(state.generation) - 1][[of[0] for of in trained]]
    replicates = np.stack([np.asarray(final.replicates)[of].mean(axis=0) for of in trained])
    finalist = _picked(config.pick, means, of_finalists, replicates)
    return int(min(trained[finalist], key=lambda member: each[member]))


def _picked(pick: str, means: np.ndarray, sizes: np.ndarray, replicates: np.ndarray) -> int:
    """Of finalists by mean fitness, size and fitness without each block of groups."""
    best = int(np.argmin(means))
    if pick == "best":
        return best
    if pick == "smallest":
        errors = np.asarray(standard_errors(jnp.asarray(replicates)))[best]
        return int(np.argmin(np.where(means <= means[best] + errors, sizes, np.inf)))
    good = np.isfinite(means)

    def share(x):
        """From 0, the lowest, to 1, the highest of those that did not diverge."""
        return (x - x[good].min()) / max(1e-12, np.ptp(x[good]))

    return int(np.argmin(np.where(good, share(means) + share(sizes), np.inf)))


def place_of_default(
    result: SearchResult, problem: Problem, config: SearchConfig
) -> tuple[int, int] | None:
    """Round and member of the default network, of its seeds the best, if the final trained it."""
    history, last = result.history, config.rounds - 1
    if not config.repeats or len(history.best) <= last:
        return None
    says, default = (
        problem.table.features(jnp.asarray(x)) for x in (history.genomes[last], problem.default)
    )
    same = np.isclose(says, default, atol=1e-5).all(axis=-1)
    fitness = np.where(same, history.fitness[last], np.inf)
    return (last, int(np.argmin(fitness))) if same.any() else None
