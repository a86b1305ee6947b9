"""Every algorithm of evosax that fits, and our own, in a search."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from foreign_supernet import CONFIG, TABLE, make_problem

from haemsa_jax.errors import InputError
from haemsa_jax.evolution import algorithms
from haemsa_jax.evolution.search import make_search
from haemsa_jax.evolution.state import Problem, SearchConfig


def small_problem() -> Problem:
    """The foreign table's genomes shall be near the data; training lessens what its weights add."""

    def evaluate(member, genome, data):
        return jnp.stack([jnp.abs(member).mean(), jnp.abs(genome - data).mean()])

    return Problem(
        table=TABLE,
        default=np.zeros(TABLE.size, np.float32),
        objectives=("weights", "genome"),
        init=lambda key, data: 1.0 + jax.random.uniform(key, (3,)),
        train=lambda member, genome, data, key, start, count: member * 0.9**count,
        evaluate=evaluate,
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
    assert result.fitness == history.fitness.min()
    assert np.isfinite(history.genomes).all()
    assert len(np.unique(history.genomes[-1], axis=0)) > 1
    for generation in range(1, 3):
        assert np.isin(history.parents[generation], history.living[generation - 1]).all()


def test_costs_may_weigh_differently():
    config = SearchConfig("MixedGA", 4, generations=2, steps=2, head_start=3, price=0.0)
    weighed = dataclasses.replace(small_problem(), weights=np.array([0.25, 0.75], np.float32))
    search = make_search(weighed, config, jax.local_devices()[:1])
    data = np.linspace(-1, 1, TABLE.size, dtype=np.float32)
    history = search(jax.random.key(0), data).history
    np.testing.assert_allclose(history.fitness, history.costs @ [0.25, 0.75], rtol=1e-6)


def test_lines_of_descent_stay_apart():
    config = SearchConfig("CrowdingGA", population=8, generations=6, steps=2, head_start=3)
    search = make_search(small_problem(), config, jax.local_devices()[:1])
    data = np.linspace(-1, 1, TABLE.size, dtype=np.float32)
    history = search(jax.random.key(0), data).history
    numbers = np.arange(6 * 8).reshape(6, 8)
    costs, replaced = history.fitness.reshape(-1), []
    for generation in range(1, 6):
        parents, children = history.living[generation - 1], numbers[generation]
        np.testing.assert_array_equal(history.parents[generation], parents)
        better = costs[children] < costs[parents]
        np.testing.assert_array_equal(
            history.living[generation], np.where(better, children, parents)
        )
        replaced.append(better)
    assert 0 < np.mean(replaced) < 1
    draw = algorithms.make_algorithm("CrowdingGA", 3, TABLE, 1)
    np.testing.assert_array_equal(draw._survivors(jnp.array([3.0, 2, 5, 3, 1, 6])), [0, 4, 2])


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
    children, _ = algorithm.ask(jax.random.key(1), state, params)
    assert children[:, scales].max() == 2.0 and children[:, scales].min() < 1.0
    changed = np.asarray(children != 2.0)
    assert not changed[:, fixed & ~scales].any()
    assert changed[:, free].sum(axis=1).mean() == pytest.approx(min(1.0, free.sum()), abs=0.1)


def test_an_unknown_algorithm():
    with pytest.raises(InputError, match=r"'Magic' does not fit; choose from .*MixedGA"):
        make_search(make_problem(), dataclasses.replace(CONFIG, algorithm="Magic"))
    with pytest.raises(InputError, match="no gene 'colour'; choose from the levels inputs, width"):
        make_search(make_problem(), dataclasses.replace(CONFIG, fixed=("colour",)))
    odd = dataclasses.replace(CONFIG, algorithm="ESMC", population=5)
    with pytest.raises(InputError, match="ESMC does not work with a population of 5"):
        make_search(make_problem(), odd, jax.local_devices()[:1])
    with pytest.raises(InputError, match=r"PersistentES.*unrolled"):
        make_search(make_problem(), dataclasses.replace(CONFIG, algorithm="PersistentES"))


@pytest.mark.xfail(
    strict=True,
    reason="a child has trained on since its parent was measured, so that every child looks better",
)
@pytest.mark.parametrize("name", ["MixedGA", "CrowdingGA"])
def test_training_is_no_success_of_mutation(name):
    """Where training alone lowers costs, half of the children are better, and the step stays."""
    rng, generations = np.random.default_rng(0), 12
    algorithm = algorithms.make_algorithm(name, 16, TABLE, generations)
    params = algorithm.default_params

    def costs(generation):
        return jnp.asarray(0.8**generation * rng.uniform(0.95, 1.05, 16), jnp.float32)

    first = jnp.asarray(rng.normal(size=(16, TABLE.size)), jnp.float32)
    state = algorithm.init(jax.random.key(0), first, costs(0), params)
    ask, tell = jax.jit(algorithm.ask), jax.jit(algorithm.tell)
    for generation in range(1, generations):
        now = jax.random.fold_in(jax.random.key(1), generation)
        of_ask, of_tell = jax.random.split(now)
        children, state = ask(of_ask, state, params)
        state, _ = tell(of_tell, children, costs(generation), state, params)
    assert state.std < params.std_max
