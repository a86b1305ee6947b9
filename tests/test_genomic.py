"""What all genomes together say of each number, evolution that uses it, halving, and budgets."""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from foreign_supernet import TABLE
from test_algorithms import small_problem

from haemsa_jax.errors import InputError
from haemsa_jax.evolution.algorithms import make_algorithm
from haemsa_jax.evolution.budget import fitted, short_line
from haemsa_jax.evolution.crowning import place_of_default
from haemsa_jax.evolution.effects import estimate
from haemsa_jax.evolution.evidence import Evidence
from haemsa_jax.evolution.search import make_search
from haemsa_jax.evolution.state import SearchConfig
from haemsa_jax.reporting.winners import DEFAULT, winners
from haemsa_jax.structure.genes import Gene
from haemsa_jax.structure.table import Table

PARTS = Table((Gene("parts", "local", "mask", "which", labels=tuple(f"p{n}" for n in range(30))),))
ROWS = 240


def measured(seed, noise, effects):
    rng = np.random.default_rng(seed)
    features = np.where(rng.random((ROWS, len(effects))) < 0.8, 1.0, -1.0)
    fitness = features @ effects + noise * rng.normal(size=ROWS)
    return jnp.float32(features), jnp.float32(fitness), jnp.arange(ROWS) // 12


def test_effects_are_what_was_planted_and_know_how_sure_they_are():
    covered, agreement = [], []
    for seed in range(10):
        effects = np.random.default_rng(100 + seed).normal(size=30)
        features, fitness, groups = measured(seed, 3.0, effects)
        found = estimate(features, fitness, groups, jnp.ones(ROWS, bool))
        covered.append(np.abs(found.mean - effects) < 2 * found.errors)
        agreement.append(np.corrcoef(found.mean, effects)[0, 1])
    assert np.mean(agreement) > 0.9
    assert 0.9 < np.mean(covered) < 0.99  # 0.95 were they exact


def test_chance_has_no_effect():
    features, fitness, groups = measured(0, 1.0, np.zeros(30))
    found = estimate(features, fitness, groups, jnp.ones(ROWS, bool))
    assert np.abs(found.mean).max() < 0.05


def test_only_differences_within_a_group_count():
    effects = np.linspace(-1, 1, 30)
    features, fitness, groups = measured(1, 0.5, effects)
    known = jnp.ones(ROWS, bool)
    level = jnp.asarray(np.random.default_rng(0).normal(size=20), jnp.float32)[groups]
    first, second = (estimate(features, y, groups, known) for y in (fitness, fitness + 9.0 * level))
    np.testing.assert_allclose(first.mean, second.mean, atol=1e-3)


def test_rows_to_come_and_rows_that_come_again():
    features, fitness, groups = measured(2, 1.0, np.linspace(-1, 1, 30))
    known = jnp.arange(ROWS) < 120
    part = estimate(features, jnp.where(known, fitness, 1e3), groups, known)
    alone = estimate(features[:120], fitness[:120], groups[:120], known[:120])
    np.testing.assert_allclose(part.mean, alone.mean, atol=1e-3)
    # The first group measured ten times over says nothing new.
    again = jnp.concatenate([jnp.arange(12)] * 10 + [jnp.arange(12, 120)])
    often = estimate(features[again], fitness[again], groups[again], jnp.ones(len(again), bool))
    np.testing.assert_allclose(often.mean, alone.mean, atol=1e-3)


def test_no_rows_say_nothing():
    nobody = estimate(jnp.zeros((24, 5)), jnp.zeros(24), jnp.zeros(24, int), jnp.zeros(24, bool))
    assert (nobody.mean == 0).all() and np.isfinite(nobody.errors).all()


def bred(name, seeds, noise=1.0):
    """float[seeds], true costs of the genomes that an algorithm would crown, measured noisily."""
    size, generations = 12, 15
    default = np.ones(30, np.float32)
    algorithm = make_algorithm(name, size, PARTS, generations, default=default)
    params = algorithm.default_params

    def search(key):
        first, begin, rest, values = jax.random.split(key, 4)
        effects = 0.3 * jax.random.normal(values, (30,))

        def generation(index, state):
            ask, tell, chance = jax.random.split(jax.random.fold_in(rest, index), 3)
            genomes, state = algorithm.ask(ask, state, params)
            fitness = jnp.sign(genomes) @ effects + noise * jax.random.normal(chance, (size,))
            evidence = Evidence(jnp.full((size, size), noise), jnp.ones(size), fitness)
            state = state.replace(evidence=evidence)
            return algorithm.tell(tell, genomes, fitness, state, params)[0]

        genomes = 1.0 + jax.random.normal(first, (size, 30))
        state = algorithm.init(begin, genomes, jnp.full(size, jnp.inf), params)
        state = jax.lax.fori_loop(0, generations, generation, state)
        best = state.population[jnp.argmin(state.fitness)]
        if hasattr(algorithm, "finalists"):
            best = algorithm.finalists(state, 1)[0]
        return jnp.sign(best) @ effects

    return jax.jit(jax.vmap(search))(jax.random.split(jax.random.key(0), seeds))


def test_where_measurements_are_noisy_memory_finds_more():
    ahead = bred("CrowdingGA", 32) - bred("GenomicGA", 32)
    assert ahead.mean() > 4 * ahead.std() / 32**0.5


def test_the_default_is_among_the_finalists():
    config = SearchConfig("GenomicGA", 8, generations=2, steps=2, head_start=3, repeats=2)
    search = make_search(small_problem(), config, jax.local_devices()[:1])
    history = search(jax.random.key(0), np.linspace(-1, 1, TABLE.size, dtype=np.float32)).history
    final = history.genomes[-1]
    assert (final == 0.0).all(axis=1).sum() == 2  # the problem's default, trained twice
    assert len(np.unique(final, axis=0)) >= 3


def test_the_place_of_the_default_is_its_best_seed_of_the_final():
    problem, config = small_problem(), SearchConfig(population=4, generations=2, repeats=2)
    genomes = np.zeros((3, 4, TABLE.size), np.float32)  # as the default is
    genomes[2, ::2] = 1.0
    fitness = np.array([[0.0] * 4, [0.0] * 4, [0.1, 0.5, 0.2, 0.4]])

    def place(rounds):
        history = SimpleNamespace(
            genomes=genomes, fitness=fitness, best=fitness.min(axis=1)[:rounds]
        )
        return place_of_default(SimpleNamespace(history=history), problem, config)

    assert place(3) == (2, 3)
    assert place(2) is None  # there was no final yet
    genomes[2] = genomes[2, 0]
    assert place(3) is None


def test_the_end_of_a_search_shows_the_mean_that_selects_and_the_seed_that_is_kept():
    problem, config = small_problem(), SearchConfig(population=4, generations=2, repeats=2)
    genomes = np.zeros((3, 4, TABLE.size), np.float32)  # as the default is
    genomes[2, ::2] = 1.0
    fitness = np.array([[0.0] * 4, [0.0] * 4, [0.1, 0.5, 0.2, 0.4]])
    costs = np.repeat(2 * fitness[..., None], len(problem.objectives), axis=-1)
    history = SimpleNamespace(genomes=genomes, fitness=fitness, costs=costs, sizes=fitness + 1)
    result, random = (
        SimpleNamespace(
            history=history,
            ensemble_costs=np.full(costs.shape[-1], 0.7),
            state=SimpleNamespace(random_search=at_random),
        )
        for at_random in (False, True)
    )
    places = {"evolved": (result, (2, 0)), "random": (random, (1, 2)), DEFAULT: (result, (2, 3))}
    made = winners(places, problem, config)
    rows = {name: cells for name, *cells in made.tables[0].rows}
    cost = f"cost, {problem.objectives[0]}"
    assert rows["fitness, mean over seeds"] == ["0.150", "0.000", "0.450"]
    assert rows["fitness, best seed"] == ["0.100", "0.000", "0.400"]
    assert rows[f"{cost}, mean over seeds"] == ["0.300", "0.000", "0.900"]
    assert rows[f"{cost}, ensemble"] == ["0.700", "0.700", "-"]
    assert rows["seeds"] == ["2", "1", "2"] and "selects by the mean over seeds" in made.note
    assert "compare it with the best seed" in made.note and "-: ensembles" in made.note
    alone = winners({"evolved": (result, (1, 0))}, problem, config)
    assert alone.tables[0].rows[0][0] == "fitness" and not alone.note


def test_the_best_are_the_finalists_of_who_names_none():
    config = SearchConfig("MixedGA", 8, generations=2, steps=2, head_start=3, repeats=2)
    search = make_search(small_problem(), config, jax.local_devices()[:1])
    history = search(jax.random.key(0), np.linspace(-1, 1, TABLE.size, dtype=np.float32)).history
    best = history.genomes[1][np.argsort(history.fitness[1], kind="stable")[:4]]
    np.testing.assert_array_equal(history.genomes[2], np.tile(best, (2, 1)))


def test_halving_stops_the_poor():
    config = SearchConfig(
        "SuccessiveHalving", 8, generations=3, steps=2, head_start=3, repeats=0, price=0.0
    )
    search = make_search(small_problem(), config, jax.local_devices()[:1])
    data = np.linspace(-1, 1, TABLE.size, dtype=np.float32)
    state = search.start(jax.random.key(0), data)
    alive, members = [], []
    for _ in range(3):
        alive.append(np.asarray(state.algorithm.alive))
        state = search.advance(state, jax.random.key(0), data, 1)
        members.append(np.asarray(state.members[0]))
    assert [x.sum() for x in alive] == [8, 4, 2]
    assert all((a <= b).all() for a, b in zip(alive[1:], alive, strict=False))  # nobody rises
    moved = (members[2] != members[1]).any(axis=1)
    np.testing.assert_array_equal(moved, alive[2])
    fitness = search.result(state, data).history.fitness
    assert fitness[0][alive[1]].max() <= fitness[0][~alive[1]].min()
    # A random search in the same program trains all.
    at_random = search(jax.random.key(0), data, random_search=True)
    assert (at_random.history.costs[2, :, 0] < at_random.history.costs[1, :, 0]).all()


def test_features():
    table = Table(
        (
            Gene("mask", "a", "mask", "m", labels=("x", "y")),
            Gene("choice", "b", "choice", "c", labels=("one", "two", "three")),
            Gene("rate", "training", "scale", "r", low=0.0, high=2.0),
        )
    )
    genome = table.from_json({"mask": ["y"], "choice": "two", "rate": 1.5})
    np.testing.assert_allclose(table.features(genome), [-1, 1, 0, 0.5, 0, 1, 0], atol=1e-5)
    assert table.features(jnp.zeros((4, 5, 4))).shape == (4, 5, 7)
    assert table.places(["structure"]).tolist() == [True, True, True, False]
    with pytest.raises(InputError, match="'colour'; choose from structure, the levels a, b"):
        table.places(["colour"])


def test_a_search_is_as_long_as_its_data_or_budget_want():
    config = SearchConfig(population=10, generations=20, repeats=2)
    on = {"networks": 4, "steps_per_epoch": 100}
    usual = fitted(config, **on)
    assert usual.schedule == 12 * 100 and usual.head_start >= 1200 // 5
    assert fitted(config, networks=4, steps_per_epoch=1).schedule == 900
    assert fitted(config, networks=4, steps_per_epoch=1e5).schedule == 1500
    budget = fitted(config, **on, steps_total=80_000)
    assert budget.total_steps * 40 == 80_000
    alone = dataclasses.replace(config, inherit="none", head_start=0)
    short = fitted(alone, **on, steps_total=84_000)
    assert (short.steps, short.head_start) == (100, 0)
    given = fitted(config, **on, steps=7, head_start=11)
    assert (given.steps, given.head_start) == (7, 11)
    with pytest.raises(InputError, match="head_start=9 is lost where nothing is inherited"):
        fitted(alone, **on, head_start=9)
    with pytest.raises(InputError, match="steps_total=900 leaves a generation no step; give more"):
        fitted(config, **on, steps_total=900)
    assert not short_line(budget, 4) and not short_line(usual, 4)
    (warning,) = short_line(fitted(config, **on, steps_total=8_000), 4)
    assert "is trained for 100 steps" in warning and "--steps_total=72000" in warning
    assert not short_line(fitted(config, **on, steps_total=72_000), 4)
    with pytest.raises(InputError, match="leave steps and head_start away"):
        fitted(config, **on, steps_total=900, steps=3)
