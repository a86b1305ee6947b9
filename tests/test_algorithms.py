"""Every algorithm of evosax that fits, and our own, in a search."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from foreign_supernet import CONFIG, TABLE, make_problem

from haemsa_jax.errors import InputError
from haemsa_jax.evolution import algorithms
from haemsa_jax.evolution.evidence import Evidence
from haemsa_jax.evolution.front import front_order, front_rank
from haemsa_jax.evolution.search import make_search
from haemsa_jax.evolution.state import Problem, SearchConfig


def small_problem() -> Problem:
    """The foreign table's genomes shall be near the data; training lessens what its weights add."""

    def predict(member, genome, data, fold):
        return jnp.stack([jnp.abs(member).mean(), jnp.abs(genome - data).mean()])

    def judge(predictions, data):
        """Ten blocks of groups, which do not quite agree."""
        away = 1.0 + 0.01 * jnp.sin(jnp.arange(11.0))[:, None]
        return predictions[0] * away.at[0].set(1.0)

    return Problem(
        table=TABLE,
        default=np.zeros(TABLE.size, np.float32),
        objectives=("weights", "genome"),
        init=lambda key, data: 1.0 + jax.random.uniform(key, (3,)),
        train=lambda member, genome, data, fold, key, start, count: member * 0.9**count,
        predict=predict,
        judge=judge,
        size=lambda genome: TABLE.decode(genome)["units"].mean(),
    )


# Evosax's own use of optax.
@pytest.mark.filterwarnings("ignore:optax.global_norm is deprecated:DeprecationWarning")
@pytest.mark.parametrize("name", algorithms.names())
def test_every_algorithm(name):
    config = SearchConfig(name, population=8, generations=3, steps=2, head_start=3)
    search = make_search(small_problem(), config, jax.local_devices()[:1])
    result = search(jax.random.key(0), np.linspace(-1, 1, TABLE.size, dtype=np.float32))
    history = result.history
    assert np.isfinite(history.fitness).all()
    assert result.fitness == history.fitness[result.place]
    assert np.isfinite(history.genomes).all()
    assert len(np.unique(history.genomes[2], axis=0)) > 1
    for generation in range(1, 3):
        assert (history.parents[generation] // 8 == generation - 1).all()


def test_costs_may_weigh_differently():
    config = SearchConfig("MixedGA", 4, generations=2, steps=2, head_start=3, price=0.0)
    weighed = dataclasses.replace(small_problem(), weights=np.array([0.25, 0.75], np.float32))
    search = make_search(weighed, config, jax.local_devices()[:1])
    data = np.linspace(-1, 1, TABLE.size, dtype=np.float32)
    history = search(jax.random.key(0), data).history
    np.testing.assert_allclose(history.fitness, history.costs @ [0.25, 0.75], rtol=1e-6)


def told(name, fitness, errors=0.0, sizes=1.0, margin=1.0, costs=None):
    """int[P / 2], who lives on after the second generation of some fitness."""
    count = len(fitness)
    algorithm = algorithms.make_algorithm(name, count, TABLE, 3, margin=margin)
    params, genomes = algorithm.default_params, jnp.zeros((count, TABLE.size))
    state = algorithm.init(jax.random.key(0), genomes, jnp.full(count, jnp.inf), params)
    state, _ = algorithm.tell(jax.random.key(1), genomes, jnp.arange(1.0, count + 1), state, params)
    genomes, state = algorithm.ask(jax.random.key(2), state, params)
    fitness = jnp.asarray(fitness, jnp.float32)
    evidence = Evidence(
        jnp.broadcast_to(jnp.float32(errors), (count, count)),
        jnp.broadcast_to(jnp.float32(sizes), count),
        fitness if costs is None else jnp.asarray(costs, jnp.float32),
    )
    state = state.replace(evidence=evidence)
    return algorithm.tell(jax.random.key(3), genomes, fitness, state, params)[0].lines.tolist()


def test_lines_of_descent_stay_apart():
    """A child replaces nobody but its own parent."""
    assert told("CrowdingGA", [3, 2, 5, 4, 1, 6]) == [0, 4, 2]
    assert told("MixedGA", [3, 2, 5, 4, 1, 6]) == [4, 1, 0]


def test_a_child_must_be_ahead_by_more_than_chance():
    fitness = [3.0, 3.0, 2.5, 2.95]
    assert told("CrowdingGA", fitness, errors=0.1) == [2, 1]
    assert told("CrowdingGA", fitness, errors=0.1, margin=0.4) == [2, 3]
    assert told("CrowdingGA", fitness, errors=0.6) == [0, 1]
    # A smaller one need not be worse.
    assert told("CrowdingGA", fitness, errors=0.6, sizes=[1.0, 1.0, 1.0, 0.5]) == [0, 3]
    assert told("CrowdingGA", [3.0, 2.9, 2.5, 2.95], errors=0.6, sizes=[1, 1, 1, 0.5]) == [0, 1]


def test_a_front_of_cost_and_size():
    aims = jnp.array([[1.0, 5], [2, 4], [3, 3], [4, 2], [5, 1], [5, 5], [2.1, 4.1], [np.inf, 0.5]])
    rank = front_rank(aims).tolist()
    assert rank == [0, 0, 0, 0, 0, 2, 1, 0]
    order = front_order(aims[:5]).tolist()
    assert {*order[:2]} == {0, 4}  # the ends are never crowded
    crowded = jnp.array([[0.0, 4], [1, 1], [1.1, 0.9], [4, 0], [5, 5]])
    assert front_order(crowded).tolist()[-1] == 4
    lines = told("NSGA2", [0] * 6, costs=[1, 2, 3, 9, 9, 1.5], sizes=[3, 2, 1, 5, 5, 0.5])
    assert {*lines} == {0, 5, 2} or {*lines} == {0, 5, 1}


def test_numbers_stay_within_their_genes_and_what_is_held_is_not_counted():
    size = 4000
    scales = np.arange(TABLE.size) % 2 == 0
    fixed = np.arange(TABLE.size) % 4 == 1
    free = ~scales & ~fixed
    algorithm = algorithms.MixedGA(size, jnp.zeros(TABLE.size), scales, fixed)
    state = algorithm.init(
        jax.random.key(0), jnp.full((size, TABLE.size), 2.0), jnp.zeros(size),
        algorithm.default_params,
    )  # fmt: skip
    params = algorithm.default_params.replace(mutations=1.0)
    children = algorithm.ask(jax.random.key(1), state, params)[0][size // 2 :]
    assert children[:, scales].max() == 2.0 and children[:, scales].min() < 1.0
    changed = np.asarray(children != 2.0)
    assert not changed[:, fixed & ~scales].any()
    assert changed[:, free].sum(axis=1).mean() == pytest.approx(min(1.0, free.sum()), abs=0.1)


def test_an_unknown_algorithm():
    with pytest.raises(InputError, match=r"'Magic' does not fit; choose from .*MixedGA"):
        make_search(make_problem(), dataclasses.replace(CONFIG, algorithm="Magic"))
    with pytest.raises(
        InputError, match="no gene 'colour'; choose from structure, the levels inputs, width"
    ):
        make_search(make_problem(), dataclasses.replace(CONFIG, fixed=("colour",)))
    odd = dataclasses.replace(CONFIG, algorithm="ESMC", population=5, repeats=0)
    with pytest.raises(InputError, match="ESMC does not work with a population of 5"):
        make_search(make_problem(), odd, jax.local_devices()[:1])
    with pytest.raises(InputError, match=r"PersistentES.*unrolled"):
        make_search(make_problem(), dataclasses.replace(CONFIG, algorithm="PersistentES"))


@pytest.mark.parametrize("name", ["MixedGA", "CrowdingGA"])
def test_training_is_no_success_of_mutation(name):
    """Where training alone lowers costs, half of the children are better, and the step stays."""
    rng, generations = np.random.default_rng(0), 12
    algorithm = algorithms.make_algorithm(name, 32, TABLE, generations)
    params = algorithm.default_params

    def costs(generation):
        return jnp.asarray(0.8**generation * rng.uniform(0.95, 1.05, 32), jnp.float32)

    def judged(state, generation):
        """Any two members differ by chance, which the groups say is so large."""
        errors = jnp.full((32, 32), 0.8**generation * 0.05)
        return state.replace(evidence=Evidence(errors, jnp.ones(32), jnp.ones(32)))

    first = jnp.asarray(rng.normal(size=(32, TABLE.size)), jnp.float32)
    state = algorithm.init(jax.random.key(0), first, jnp.full(32, jnp.inf), params)
    ask, tell = jax.jit(algorithm.ask), jax.jit(algorithm.tell)
    state, _ = tell(jax.random.key(9), first, costs(0), judged(state, 0), params)
    steps = []
    for generation in range(1, generations):
        now = jax.random.fold_in(jax.random.key(1), generation)
        of_ask, of_tell = jax.random.split(now)
        genomes, state = ask(of_ask, state, params)
        state, _ = tell(of_tell, genomes, costs(generation), judged(state, generation), params)
        steps.append(float(state.std))
    assert state.std < params.std_max
    if name == "CrowdingGA":  # which knows what is chance
        assert steps[-1] < algorithm.std
