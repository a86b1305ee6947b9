"""The search, on a supernet that is not ours."""

import dataclasses
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import assert_same_structure
from foreign_supernet import CONFIG, TABLE, make_data, make_problem

from haemsa_jax.config import TaskSpec, TrainConfig
from haemsa_jax.errors import InputError
from haemsa_jax.evolution.run import _leaves, _with_leaves, run_search
from haemsa_jax.evolution.search import make_search
from haemsa_jax.models.haemsa import HaemsaConfig
from haemsa_jax.training.persistence.experiment import Experiment

EXPERIMENT = Experiment(
    HaemsaConfig({"d": {"text": 1}}, {"d:t": TaskSpec("t", "regression", ("mae",), range=(0, 1))}),
    TrainConfig(),
    {"search": dataclasses.asdict(CONFIG)},
)


@pytest.fixture(scope="module")
def data():
    return make_data(0)


@pytest.fixture(scope="module")
def search():
    return make_search(make_problem(), CONFIG, jax.local_devices()[:1])


@pytest.fixture(scope="module")
def result(search, data):
    return search(jax.random.key(0), data)


def same(left, right) -> bool:
    return jax.tree.all(jax.tree.map(np.array_equal, left, right))


def test_it_finds_what_is_planted(data):
    config = dataclasses.replace(CONFIG, population=32, generations=25, steps=10, price=0.1)
    search = make_search(make_problem(), config, jax.local_devices()[:1])
    found = [search(jax.random.key(seed), data) for seed in range(8)]
    random = [search(jax.random.key(seed), data, random_search=True) for seed in range(8)]
    said = [TABLE.to_json(result.genome) for result in found]
    # One search in a dozen never meets the right activation.
    assert sum(of["activation"] == "square" for of in said) >= 7
    assert sum(of["inputs"] == ["signal"] for of in said) >= 7
    assert all(len(of["units"]) < 6 for of in said)
    assert sum(a.fitness < b.fitness for a, b in zip(found, random, strict=True)) >= 7


def test_the_result_is_what_the_history_says(search, result, data):
    history = result.history
    assert history.genomes.shape == (6, 8, TABLE.size)
    assert history.costs.shape == (6, 8, 2)
    lowest = history.fitness.argmin()
    assert result.fitness == history.fitness.min() == history.best[-1]
    np.testing.assert_array_equal(result.genome, history.genomes.reshape(-1, TABLE.size)[lowest])
    running = np.minimum.accumulate(history.fitness.min(axis=1))
    np.testing.assert_array_equal(history.best, running)
    expected = history.costs.mean(-1) * history.sizes**CONFIG.price
    np.testing.assert_allclose(history.fitness, expected, rtol=1e-6)
    # The weights that come with the genome are those that were measured.
    problem = make_problem()
    costs = problem.evaluate(result.member, result.genome, data)
    np.testing.assert_allclose(costs, history.costs.reshape(-1, 2)[lowest], rtol=1e-5)
    np.testing.assert_array_equal(result.fitnesses, np.sort(result.fitnesses))
    for place in range(8):
        member = jax.tree.map(lambda x, place=place: x[place], result.members)
        costs = problem.evaluate(member, result.genomes[place], data)
        fitness = costs.mean() * problem.size(result.genomes[place]) ** CONFIG.price
        np.testing.assert_allclose(fitness, result.fitnesses[place], rtol=1e-5)


def test_the_first_genome_is_the_default(result):
    np.testing.assert_array_equal(result.history.genomes[0, 0], make_problem().default)


def test_the_default_begins_with_other_algorithms_too(data):
    config = dataclasses.replace(CONFIG, algorithm="CMA_ES", generations=1)
    problem = make_problem()
    first = make_search(problem, config, jax.local_devices()[:1])(jax.random.key(0), data).history
    np.testing.assert_array_equal(first.genomes[0, 0], problem.default)
    assert (first.genomes[0, 1:] != problem.default).any(axis=1).all()


def test_all_may_begin_as_the_default(data):
    search = make_search(make_problem(), dataclasses.replace(CONFIG, spread=0.0))
    history = search(jax.random.key(0), data).history
    first = history.genomes[0]
    np.testing.assert_array_equal(first, np.broadcast_to(make_problem().default, first.shape))
    assert len(np.unique(history.fitness[0])) == 8  # of weights of their own
    assert len(np.unique(history.genomes[1], axis=0)) > 1


def test_fixed_genes_keep_the_default(data):
    config = dataclasses.replace(CONFIG, fixed=("width", "rate"))
    search = make_search(make_problem(), config, jax.local_devices()[:1])
    default = make_problem().default
    still = TABLE.places(["units", "activation", "rate"])
    assert still.tolist() == [False] * 3 + [True] * 8
    for at_random in (False, True):
        genomes = search(jax.random.key(0), data, at_random).history.genomes
        np.testing.assert_array_equal(
            genomes[..., still], np.broadcast_to(default[still], genomes[..., still].shape)
        )
        assert len(np.unique(genomes[..., ~still].reshape(-1, 3), axis=0)) > 1


def test_a_child_replaces_nobody_better(result):
    """Elitism: the pool never gets worse, place by place, and holds the best there ever were."""
    history = result.history
    fitness = history.fitness.reshape(-1)
    pools = np.sort(fitness[history.living], axis=1)
    assert (np.diff(pools, axis=0) <= 0).all()
    everything = np.sort(fitness)[:8]
    np.testing.assert_array_equal(pools[-1], everything)


def test_children_have_living_parents(result):
    history = result.history
    assert (history.parents[0] == -1).all()
    for generation in range(1, 6):
        living = history.living[generation - 1]
        assert np.isin(history.parents[generation], living).all()


@pytest.mark.parametrize("blocks", [[1] * 6, [4, 100], [2, 3, 1]])
def test_block_length_changes_nothing(search, result, data, blocks):
    key = jax.random.key(0)
    state = search.start(key, data)
    for length in blocks:
        state = search.advance(state, key, data, length)
    assert same(search.result(state, data).history, result.history)
    assert same(search.result(state, data).members, result.members)


@pytest.mark.parametrize("count", [2, 8])
def test_any_number_of_devices(result, data, count):
    spread = make_search(make_problem(), CONFIG, jax.local_devices()[:count])
    other = spread(jax.random.key(0), data)
    assert_same_structure(TABLE, other.history, result.history)
    np.testing.assert_array_equal(other.history.parents, result.history.parents)
    np.testing.assert_array_equal(other.history.living, result.history.living)
    np.testing.assert_allclose(other.history.fitness, result.history.fitness, rtol=1e-5)


@pytest.mark.parametrize("abreast", [3, 8])
def test_how_many_are_trained_side_by_side_changes_nothing(result, data, abreast):
    # Otherwise these are four; of eight members three go side by side as two.
    config = dataclasses.replace(CONFIG, abreast=abreast)
    search = make_search(make_problem(), config, jax.local_devices()[:1])
    other = search(jax.random.key(0), data).history
    np.testing.assert_array_equal(other.parents, result.history.parents)
    np.testing.assert_allclose(other.genomes, result.history.genomes, rtol=1e-5)
    np.testing.assert_allclose(other.fitness, result.history.fitness, rtol=1e-5)


def test_a_population_that_does_not_divide():
    with pytest.raises(InputError, match=r"population=8 does not divide over 3 devices.*such as 9"):
        make_search(make_problem(), CONFIG, jax.local_devices()[:3])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"population": 1}, "population=1 must be at least 2"),
        ({"price": -1.0}, "price=-1.0 must not be negative"),
        ({"inherit": "all"}, "inherit='all' is unknown; choose from none, nearest, parent"),
        ({"inherit": "none"}, "head_start=10 is lost where nothing is inherited"),
        ({"steps": 0}, "steps=0 must be at least 1"),
    ],
)
def test_bad_settings(change, words):
    with pytest.raises(InputError, match=words):
        dataclasses.replace(CONFIG, **change)


def test_a_second_search_compiles_nothing(search, result):
    with jax.log_compiles(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "jax._src.compiler.backend_compile_and_load",
            lambda *a, **k: pytest.fail("a second search compiled a program"),
        )
        other = search(jax.random.key(5), make_data(1), random_search=True)
    assert not np.array_equal(other.history.fitness, result.history.fitness)


def test_without_inheritance_everybody_is_trained_from_the_start(data):
    """Any member of any generation costs what its genome costs when it is trained alone."""
    config = dataclasses.replace(CONFIG, inherit="none", head_start=0)
    problem = make_problem()
    search = make_search(problem, config, jax.local_devices()[:1])
    key = jax.random.key(0)
    history = search(key, data).history
    assert (history.parents == -1).all()
    vectors = search.start(key, data).fresh.reshape(8, -1)
    _, unravel = jax.flatten_util.ravel_pytree(problem.init(key, data))
    train = jax.jit(problem.train)
    for generation in (0, 4):
        for place in (0, 5):
            genome = history.genomes[generation, place]
            member = train(unravel(vectors[place]), genome, data, key, 0, config.steps)
            costs = problem.evaluate(member, genome, data)
            np.testing.assert_allclose(history.costs[generation, place], costs, rtol=1e-4)


def test_the_nearest_living_genome_is_the_parent(data):
    """Also from which weights a child starts: it costs what they cost after its own training."""
    config = dataclasses.replace(CONFIG, inherit="nearest")
    problem = make_problem()
    search = make_search(problem, config, jax.local_devices()[:1])
    key = jax.random.key(0)
    before = search.advance(search.start(key, data), key, data, 3)
    history = search(key, data).history
    assert (history.parents[0] == -1).all()
    genomes = history.genomes.reshape(-1, TABLE.size)
    places = jax.scipy.special.ndtr(np.clip(genomes, -2, 2))
    for generation in range(1, 6):
        living = history.living[generation - 1]
        mine = places[generation * 8 : generation * 8 + 8]
        distances = ((mine[:, None] - places[living][None]) ** 2).sum(-1)
        np.testing.assert_array_equal(history.parents[generation], living[distances.argmin(1)])
    _, unravel = jax.flatten_util.ravel_pytree(problem.init(key, data))
    vectors = before.members.reshape(8, -1)
    begun = config.head_start + 3 * config.steps
    train = jax.jit(problem.train)
    for place in range(3):
        (parent,) = np.flatnonzero(history.living[2] == history.parents[3, place])
        genome = history.genomes[3, place]
        member = train(unravel(vectors[parent]), genome, data, key, begun, config.steps)
        costs = problem.evaluate(member, genome, data)
        np.testing.assert_allclose(history.costs[3, place], costs, rtol=1e-4)


def test_others_than_our_own_keep_their_survivors(data):
    """Differential evolution keeps a population of its own; the pool is the same genomes."""
    config = dataclasses.replace(CONFIG, algorithm="DifferentialEvolution")
    search = make_search(make_problem(), config, jax.local_devices()[:1])
    result = search(jax.random.key(0), data)
    history, genomes = result.history, result.history.genomes.reshape(-1, TABLE.size)
    living = genomes[history.living[-1]]
    np.testing.assert_array_equal(living, result.state.algorithm.population)
    np.testing.assert_array_equal(np.sort(history.living[0]), np.arange(8))


def test_members_that_diverge(data):
    """They are counted, get the worst finite fitness, and are nobody's parents."""
    search = make_search(make_problem(explosive=0.02), CONFIG, jax.local_devices()[:1])
    result = search(jax.random.key(1), data)
    history = result.history
    assert 0 < history.diverged.sum() < history.diverged.size
    assert np.isfinite(history.fitness).all()
    bad = history.diverged
    np.testing.assert_array_equal(bad, ~np.isfinite(history.costs).all(-1))
    fitness, lost = history.fitness.reshape(-1), bad.reshape(-1)
    for generation in range(6):
        known = np.arange(8 * generation, 8 * generation + 8)
        if generation:
            known = np.concatenate([known, history.living[generation - 1]])
        worst = fitness[known[~lost[known]]].max()
        assert (history.fitness[generation][bad[generation]] == worst).all()
        # They live on only as long as there are too few others.
        so_far = 8 * (generation + 1)
        kept = lost[history.living[generation]].sum()
        assert kept == max(0, 8 - (~lost[:so_far]).sum())
    assert not lost[history.parents[history.parents >= 0]].any()
    assert np.isfinite(result.fitness)
    assert not lost[history.winner()]


def test_everybody_diverges(data):
    search = make_search(make_problem(explosive=0.0), CONFIG, jax.local_devices()[:1])
    result = search(jax.random.key(1), data)
    assert result.history.diverged.all()
    assert np.isfinite(result.history.fitness).all()
    assert result.fitness == np.inf


def losing_at_first(lost):
    """The foreign problem, of which in the first generation a genome that is `lost` diverges."""
    problem = make_problem()

    def train(member, genome, data, key, start, count):
        gone = (start == 0) & lost(genome)
        trained = problem.train(member, genome, data, key, start, count)
        return jax.tree.map(lambda x: jnp.where(gone, jnp.nan, x), trained)

    return dataclasses.replace(problem, train=train)


@pytest.mark.parametrize("algorithm", ["MixedGA", "CrowdingGA", "DifferentialEvolution", "CMA_ES"])
def test_after_everybody_diverged_the_next_generation_is_the_first(data, algorithm):
    config = dataclasses.replace(CONFIG, algorithm=algorithm)
    search = make_search(losing_at_first(lambda genome: True), config, jax.local_devices()[:1])
    result = search(jax.random.key(0), data)
    np.testing.assert_array_equal(result.history.diverged.all(axis=1), np.arange(6) == 0)
    assert np.isfinite(result.fitnesses).all()
    assert result.history.living[-1].min() >= 8


def test_the_line_of_a_founder_that_diverged_goes_on_from_another(data):
    config = dataclasses.replace(CONFIG, algorithm="CrowdingGA")
    plain = make_search(make_problem(), config, jax.local_devices()[:1])
    doomed = np.asarray(plain.start(jax.random.key(0), data).living.genomes[3])
    problem = losing_at_first(lambda genome: (genome == doomed).all())
    history = make_search(problem, config, jax.local_devices()[:1])(jax.random.key(0), data).history
    np.testing.assert_array_equal(history.diverged[0], np.arange(8) == 3)
    assert history.parents[1, 3] not in (-1, 3)
    assert 3 not in history.living[1]


def test_a_genome_that_is_not_a_number_counts_as_diverged(search, data):
    state = search.start(jax.random.key(0), data)
    genomes = np.array(state.living.genomes)
    genomes[3] = np.nan
    state = state.replace(living=state.living.replace(genomes=jnp.asarray(genomes)))
    state = search.advance(state, jax.random.key(0), data, 1)
    np.testing.assert_array_equal(state.history.diverged[0], np.arange(8) == 3)


def test_a_random_search_is_random_and_costs_the_same(search, data, result):
    at_random = search(jax.random.key(0), data, random_search=True)
    history = at_random.history
    assert history.genomes.shape == result.history.genomes.shape
    np.testing.assert_array_equal(history.genomes[0], result.history.genomes[0])
    np.testing.assert_allclose(history.fitness[0], result.history.fitness[0], rtol=1e-6)
    # Its genomes are trained on: each of them has one whole training.
    assert len(np.unique(history.genomes.reshape(-1, TABLE.size), axis=0)) == 8
    np.testing.assert_array_equal(history.living, np.arange(48).reshape(6, 8))
    np.testing.assert_array_equal(history.parents[1:], history.living[:-1])
    assert (history.fitness[-1] < history.fitness[0]).mean() > 0.5


def test_without_inheritance_a_random_search_draws_anew(data):
    config = dataclasses.replace(CONFIG, inherit="none", head_start=0)
    search = make_search(make_problem(), config, jax.local_devices()[:1])
    history = search(jax.random.key(0), data, random_search=True).history
    assert len(np.unique(history.genomes.reshape(-1, TABLE.size), axis=0)) == 6 * 8
    assert (history.parents == -1).all()
    # Around the default in every generation, as far as the first one.
    open_ = history.genomes[1:, :, TABLE.slices["inputs"]] > 0
    assert 0.7 < open_.mean() < 0.95


def test_a_search_that_was_stopped_goes_on(search, result, data, tmp_path):
    """Stopped after two generations, looked at, resumed: the same history, the same members."""
    rows = []
    run = {"search": search, "key": jax.random.key(0), "data": data, "directory": tmp_path}
    run |= {"experiment": EXPERIMENT, "observe": rows.append}
    early = run_search(**run, block=2, stop=lambda: True)
    assert [row["generation"] for row in rows] == [2]
    assert len(early.history.best) == 2
    late = run_search(**run, block=3)
    assert [row["generation"] for row in rows] == [2, 2, 5, 6]  # where it goes on is told first
    assert same(late.history, result.history)
    assert same(late.members, result.members)
    assert rows[-1]["best"] == result.fitness
    again = run_search(**run)
    assert same(again.history, result.history)
    at_random = run_search(**run, random_search=True)
    assert not np.array_equal(at_random.history.genomes, result.history.genomes)


def test_a_state_is_kept_by_names(search, data):
    """Not by places, which another version of an algorithm would fill with something else."""
    state = search.start(jax.random.key(0), search.place(data))
    kept = _leaves(state)
    assert {"members", "living.genomes", "history.costs", "champion.0"} <= kept.keys()
    assert all(name.isidentifier() for path in kept for name in path.split(".")[:1])
    turned = {name: jax.tree.map(np.asarray, kept[name]) for name in reversed(kept)}
    blank = jax.tree.map(jnp.zeros_like, state.replace(fresh=None)).replace(fresh=state.fresh)
    assert same(_with_leaves(blank, turned), state)


def test_a_blind_search_beside_begins_with_what_is_common(search, result, data, tmp_path):
    rows = []
    run = {"search": search, "key": jax.random.key(0), "data": data, "directory": tmp_path}
    run |= {"experiment": EXPERIMENT, "observe": rows.append, "block": 4}
    # The kill came between both checkpoints.
    run_search(**run, beside=True, stop=lambda: True)
    shutil.rmtree(tmp_path / "search")
    assert same(run_search(**run, beside=True).history, result.history)
    assert [row["generation"] for row in rows] == [1, 1, 5, 6]
    at_random = run_search(**run, random_search=True)
    assert [row["generation"] for row in rows[4:]] == [1, 5, 6]
    assert same(at_random.history, search(jax.random.key(0), data, random_search=True).history)


def test_a_search_that_starts_from_a_mean_has_no_generation_in_common(data, tmp_path):
    config = dataclasses.replace(CONFIG, algorithm="CMA_ES", generations=2)
    search = make_search(make_problem(), config, jax.local_devices()[:1])
    run = {"search": search, "key": jax.random.key(0), "data": data, "directory": tmp_path}
    run |= {"experiment": EXPERIMENT, "block": 1}
    run_search(**run, beside=True)
    at_random = run_search(**run, random_search=True)
    assert same(at_random.history, search(jax.random.key(0), data, random_search=True).history)


def test_it_goes_on_on_other_devices(search, result, data, tmp_path):
    run = {"key": jax.random.key(0), "data": data, "directory": tmp_path}
    run |= {"experiment": EXPERIMENT, "block": 3}
    run_search(search, **run, stop=lambda: True)
    spread = make_search(make_problem(), CONFIG, jax.local_devices()[:4])
    late = run_search(spread, **run)
    np.testing.assert_array_equal(late.history.parents, result.history.parents)
    np.testing.assert_allclose(late.history.fitness, result.history.fitness, rtol=1e-5)


def test_another_search_is_not_resumed(search, data, tmp_path):
    run_search(search, jax.random.key(0), data, tmp_path, EXPERIMENT, stop=lambda: True)
    other = dataclasses.replace(EXPERIMENT, origin={"search": {**EXPERIMENT.origin["search"],
                                                              "price": 0.5}})  # fmt: skip
    with pytest.raises(InputError, match=r"origin.search.price: 0.05 there, 0.5 asked"):
        run_search(search, jax.random.key(0), data, tmp_path, other)
