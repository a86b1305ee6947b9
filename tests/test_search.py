"""The search, on a supernet that is not ours."""

import dataclasses
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import assert_same_structure
from foreign_supernet import CONFIG, TABLE, make_data, make_problem

from haemsa_jax import memory
from haemsa_jax.config import TaskSpec, TrainConfig
from haemsa_jax.errors import InputError
from haemsa_jax.evolution.crowning import _picked
from haemsa_jax.evolution.generation import BATCHES
from haemsa_jax.evolution.run import _leaves, _with_leaves, run_search
from haemsa_jax.evolution.search import make_search
from haemsa_jax.evolution.state import PICK
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
    config = dataclasses.replace(
        CONFIG,
        algorithm="MixedGA",
        population=64,
        generations=25,
        steps=10,
        repeats=2,
        price=0.1,
        pick="best",
    )
    search = make_search(make_problem(), config, jax.local_devices()[:1])
    evolved = [search(jax.random.key(seed), data) for seed in range(8)]
    random = [search(jax.random.key(seed), data, random_search=True) for seed in range(8)]
    values = [TABLE.to_json(result.genome) for result in evolved]
    assert sum(of["activation"] == "square" for of in values) >= 7
    assert sum(of["inputs"] == ["signal"] for of in values) >= 7
    assert all(len(of["units"]) < 6 for of in values)
    assert sum(a.fitness < b.fitness for a, b in zip(evolved, random, strict=True)) >= 7


def judged(problem, members, genome, data):
    """float[O], what K networks of one genome cost together."""
    predictions = jax.vmap(lambda network, fold: problem.predict(network, genome, data, fold))(
        members, jnp.arange(problem.folds)
    )
    return problem.judge(predictions, data)[0]


def test_the_result_is_what_the_history_says(result, data):
    history, problem = result.history, make_problem()
    assert history.genomes.shape == (7, 8, TABLE.size)
    assert history.costs.shape == (7, 8, 2)
    np.testing.assert_array_equal(history.best, history.fitness.min(axis=1))
    assert result.fitness == history.fitness[result.place]
    np.testing.assert_array_equal(result.genome, history.genomes[result.place])
    expected = history.costs.mean(-1) * history.sizes**CONFIG.price
    np.testing.assert_allclose(history.fitness, expected, rtol=1e-6)
    # The weights that come with the genomes are those that were measured: of the finalists and of
    # the last generation, the winner first.
    last = history.fitness[5:].reshape(-1)
    np.testing.assert_array_equal(np.sort(result.fitnesses), np.sort(last))
    assert result.fitnesses[0] == result.fitness
    np.testing.assert_array_equal(result.fitnesses[1:], np.sort(result.fitnesses[1:]))
    for place in range(16):
        members = jax.tree.map(lambda x, place=place: x[place], result.members)
        genome = result.genomes[place]
        costs = judged(problem, members, genome, data)
        fitness = costs.mean() * problem.size(genome) ** CONFIG.price
        np.testing.assert_allclose(fitness, result.fitnesses[place], rtol=1e-4)


def test_the_final_trains_the_best_anew(result, data):
    """Each as often, from other weights and on other batches, as long as a line was trained."""
    history, problem = result.history, make_problem()
    assert (history.parents[6] == -1).all()
    # Eight members: four each of two finalists.
    finalists = history.genomes[6][:2]
    np.testing.assert_array_equal(history.genomes[6], np.tile(finalists, (4, 1)))
    assert (finalists[0] != finalists[1]).any()
    known = np.concatenate([history.genomes[5], problem.default[None]])
    assert (finalists[:, None] == known[None]).all(-1).any()
    assert len(np.unique(history.fitness[6])) == 8
    means = history.fitness[6].reshape(4, 2).mean(axis=0)
    finalist = result.place[1] % 2
    assert result.place[0] == 6
    assert means[finalist] <= means.min() + history.errors[6].max()
    assert result.fitness == history.fitness[6][finalist::2].min()
    assert problem.folds == 3


def test_which_finalist_is_picked():
    """Of four, the third is best, the first as good and smaller, the last smaller still."""
    means, sizes = np.array([0.41, 0.5, 0.4, 0.47]), np.array([0.8, 0.9, 1.0, 0.3])
    blocks = np.linspace(-1, 1, 10)
    replicates = means[:, None] + np.array([0.02, 0.02, 0.01, 0.01])[:, None] * blocks
    assert [_picked(pick, means, sizes, replicates) for pick in PICK] == [2, 0, 3]


def test_without_a_final_the_last_generation_decides(data):
    search = make_search(make_problem(), dataclasses.replace(CONFIG, repeats=0))
    result = search(jax.random.key(0), data)
    assert result.history.genomes.shape[0] == 6
    assert result.place == (5, int(result.history.fitness[5].argmin()))
    assert len(result.fitnesses) == 8


def test_the_ensemble_costs_less_than_the_winner(result, data):
    problem, history = make_problem(), result.history

    @jax.jit
    def predict(members, genome):
        of = jax.vmap(lambda network, fold: problem.predict(network, genome, data, fold))
        return of(members, jnp.arange(problem.folds))

    predictions = [
        predict(jax.tree.map(lambda x, k=place: x[k], result.members), result.genomes[place])
        for place in result.ensemble
    ]
    costs = problem.judge(jnp.stack(predictions).mean(axis=0), data)[0]
    np.testing.assert_allclose(costs, result.ensemble_costs, rtol=1e-4)
    assert costs.mean() <= history.costs[result.place].mean()
    assert result.ensemble[0] == 0


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


def test_survivors_train_on_beside_their_children(result):
    """Half of every generation goes on from itself, the other half from its parent."""
    history = result.history
    for generation in range(1, 6):
        before, now = history.genomes[generation - 1], history.genomes[generation]
        places = history.parents[generation] - 8 * (generation - 1)
        np.testing.assert_array_equal(now[:4], before[places[:4]])
        np.testing.assert_array_equal(places[4:], places[:4])
        assert len({*places[:4]}) == 4


def test_weights_come_from_the_generation_before(result):
    history = result.history
    assert (history.parents[0] == -1).all()
    for generation in range(1, 6):
        assert (history.parents[generation] // 8 == generation - 1).all()


@pytest.mark.parametrize("blocks", [[1] * 7, [4, 100], [2, 3, 2]])
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
    np.testing.assert_allclose(other.history.fitness, result.history.fitness, rtol=1e-5)


@pytest.mark.parametrize("abreast", [3, 24])
def test_how_many_are_trained_side_by_side_changes_nothing(result, data, abreast):
    # Otherwise these are four.
    config = dataclasses.replace(CONFIG, abreast=abreast)
    search = make_search(make_problem(), config, jax.local_devices()[:1])
    other = search(jax.random.key(0), data).history
    np.testing.assert_array_equal(other.parents, result.history.parents)
    np.testing.assert_allclose(other.genomes, result.history.genomes, rtol=1e-5)
    np.testing.assert_allclose(other.fitness, result.history.fitness, rtol=1e-5)


def test_a_population_that_does_not_divide():
    with pytest.raises(
        InputError, match=r"population=8 does not divide over 5 devices.*such as 10"
    ):
        make_search(make_problem(), CONFIG, jax.local_devices()[:5])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"population": 1}, "population=1 must be at least 2"),
        ({"population": 10**9}, "population=1000000000 must be at most 65,536"),
        ({"price": -1.0}, "price=-1.0 must not be negative"),
        ({"inherit": "all"}, "inherit='all' is unknown; choose from none, nearest, parent"),
        ({"inherit": "none"}, "head_start=10 is lost where nothing is inherited"),
        ({"steps": 0}, "steps=0 must be at least 1"),
        ({"pick": "nicest"}, "pick='nicest' is unknown; choose from best, smallest, knee"),
        ({"repeats": -1}, "repeats=-1 must not be negative"),
        ({"margin": -0.5}, "margin=-0.5 must not be negative"),
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
    vectors = search.start(key, data).fresh[:, :, 0].reshape(8, 3, -1)
    for generation in (0, 4):
        for place in (0, 5):
            genome = history.genomes[generation, place]
            costs = trained_alone(problem, vectors[place], genome, data, key, 0, config.steps)
            np.testing.assert_allclose(history.costs[generation, place], costs, rtol=1e-4)


def trained_alone(problem, vectors, genome, data, key, start, count):
    """float[O], costs of K networks after some steps of training."""
    _, unravel = jax.flatten_util.ravel_pytree(problem.init(key, data))

    @jax.jit
    def train(vector, fold):
        order = jax.random.fold_in(key, BATCHES[1])
        return problem.train(unravel(vector), genome, data, fold, order, start, count)

    members = [train(vector, jnp.int32(fold)) for fold, vector in enumerate(vectors)]
    return judged(problem, jax.tree.map(lambda *x: jnp.stack(x), *members), genome, data)


def test_the_nearest_genome_is_the_parent(data):
    """Also from which weights a child starts: it costs what they cost after its own training."""
    config = dataclasses.replace(CONFIG, inherit="nearest", algorithm="CMA_ES")
    problem = make_problem()
    search = make_search(problem, config, jax.local_devices()[:1])
    key = jax.random.key(0)
    before = search.advance(search.start(key, data), key, data, 3)
    history = search(key, data).history
    assert (history.parents[0] == -1).all()
    places = jax.scipy.special.ndtr(np.clip(history.genomes, -2, 2))
    for generation in range(1, 6):
        near, now = places[generation - 1], places[generation]
        distances = ((now[:, None] - near[None]) ** 2).sum(-1)
        expected = 8 * (generation - 1) + distances.argmin(1)
        np.testing.assert_array_equal(history.parents[generation], expected)
    vectors = before.members.reshape(8, 3, -1)
    begun = config.head_start + 3 * config.steps
    for place in range(3):
        parent, genome = history.parents[3, place] - 16, history.genomes[3, place]
        costs = trained_alone(problem, vectors[parent], genome, data, key, begun, config.steps)
        np.testing.assert_allclose(history.costs[3, place], costs, rtol=1e-4)


def test_members_that_diverge(data):
    """They are counted, get the worst finite fitness, and are nobody's parents."""
    search = make_search(make_problem(explosive=0.02), CONFIG, jax.local_devices()[:1])
    result = search(jax.random.key(1), data)
    history = result.history
    assert 0 < history.diverged.sum() < history.diverged.size
    assert np.isfinite(history.fitness).all()
    bad = history.diverged
    np.testing.assert_array_equal(bad, ~np.isfinite(history.costs).all(-1))
    for fitness, lost in zip(history.fitness, bad, strict=True):
        assert (fitness[lost] == fitness[~lost].max()).all()
    assert not bad.reshape(-1)[history.parents[history.parents >= 0]].any()
    assert np.isfinite(result.fitness)
    assert not bad[result.place]
    assert np.isfinite(result.ensemble_costs).all()


def test_everybody_diverges(data):
    search = make_search(make_problem(explosive=0.0), CONFIG, jax.local_devices()[:1])
    result = search(jax.random.key(1), data)
    assert result.history.diverged.all()
    assert np.isfinite(result.history.fitness).all()
    assert result.fitness == np.inf


def losing_at_first(lost):
    """The foreign problem, of which in the first generation a genome that is `lost` diverges."""
    problem = make_problem()

    def train(member, genome, data, fold, key, start, count):
        gone = (start == 0) & (count == 15) & lost(genome)  # not in the final
        trained = problem.train(member, genome, data, fold, key, start, count)
        return jax.tree.map(lambda x: jnp.where(gone, jnp.nan, x), trained)

    return dataclasses.replace(problem, train=train)


@pytest.mark.parametrize("algorithm", ["MixedGA", "CrowdingGA", "DifferentialEvolution", "CMA_ES"])
def test_after_everybody_diverged_the_next_generation_is_the_first(data, algorithm):
    config = dataclasses.replace(CONFIG, algorithm=algorithm)
    search = make_search(losing_at_first(lambda genome: True), config, jax.local_devices()[:1])
    result = search(jax.random.key(0), data)
    np.testing.assert_array_equal(result.history.diverged.all(axis=1), np.arange(7) == 0)
    assert np.isfinite(result.fitnesses).all()


def test_a_genome_that_is_not_a_number_counts_as_diverged(search, data):
    state = search.start(jax.random.key(0), data)
    genomes = np.array(state.living.genomes)
    genomes[3] = np.nan
    state = state.replace(living=state.living.replace(genomes=jnp.asarray(genomes)))
    state = search.advance(state, jax.random.key(0), data, 1)
    np.testing.assert_array_equal(state.history.diverged[0], np.arange(8) == 3)


def test_a_random_search_is_random_and_trains_as_long(search, data, result):
    at_random = search(jax.random.key(0), data, random_search=True)
    history = at_random.history
    assert history.genomes.shape == result.history.genomes.shape
    np.testing.assert_array_equal(history.genomes[0], result.history.genomes[0])
    np.testing.assert_allclose(history.fitness[0], result.history.fitness[0], rtol=1e-6)
    # Its genomes are trained on, and as many others in the final: each has one whole training.
    assert len(np.unique(history.genomes.reshape(-1, TABLE.size), axis=0)) == 16
    np.testing.assert_array_equal(history.parents[1:6], np.arange(40).reshape(5, 8))
    assert (history.parents[6] == -1).all()
    assert at_random.fitness == at_random.fitnesses.min() == history.fitness[5:].min()
    assert (history.fitness[5] < history.fitness[0]).mean() > 0.5


def test_without_inheritance_a_random_search_draws_anew(data):
    config = dataclasses.replace(CONFIG, inherit="none", head_start=0)
    search = make_search(make_problem(), config, jax.local_devices()[:1])
    history = search(jax.random.key(0), data, random_search=True).history
    assert len(np.unique(history.genomes.reshape(-1, TABLE.size), axis=0)) == 7 * 8
    assert (history.parents == -1).all()
    # Around the default in every generation, as far as the first one.
    open_ = history.genomes[1:, :, TABLE.slices["inputs"]] > 0
    assert 0.7 < open_.mean() < 0.95


def test_a_search_that_was_stopped_goes_on(search, result, data, tmp_path, monkeypatch):
    """Stopped after two generations, looked at, resumed: the same history, the same members."""
    rows = []
    run = {"search": search, "key": jax.random.key(0), "data": data, "directory": tmp_path}
    run |= {"experiment": EXPERIMENT, "observe": rows.append}
    early = run_search(**run, block=2, stop=lambda: True)
    assert [row["generation"] for row in rows] == [0, 2]
    assert len(early.history.best) == 2
    late = run_search(**run, block=3)
    assert [row["generation"] for row in rows] == [0, 2, 2, 5, 7]  # where it goes on is told first
    assert same(late.history, result.history)
    assert same(late.members, result.members)
    assert rows[-1]["best"] == result.history.best.min()
    again = run_search(**run)
    assert same(again.history, result.history)
    with monkeypatch.context() as small:
        small.setattr(memory, "memory_of", lambda devices: 1 << 10)
        with pytest.raises(InputError, match="population=8 would take at least"):
            run_search(**run)
    at_random = run_search(**run, random_search=True)
    assert not np.array_equal(at_random.history.genomes, result.history.genomes)


def test_a_damaged_search_goes_on_from_the_round_before(search, result, data, tmp_path):
    run = {"search": search, "key": jax.random.key(0), "data": data, "directory": tmp_path}
    run_search(**run, experiment=EXPERIMENT, block=3)
    file = tmp_path / "search" / "7" / "_CHECKPOINT_METADATA"
    file.write_bytes(b"garbage")
    (tmp_path / "best" / "7").mkdir(parents=True)  # damaged, and made again from the state
    with pytest.warns(UserWarning, match=f"^{file} has other bytes .*; going on from step 6"):
        again = run_search(**run, experiment=EXPERIMENT)
    assert same(again.history, result.history)
    for folder in (tmp_path / "search").iterdir():
        (folder / "state" / "d").rename(folder / "lost")
    with pytest.raises(InputError, match=r"/state/d/\w+ is missing; put it back from a copy"):
        run_search(**run, experiment=EXPERIMENT)


def test_a_state_is_kept_by_names(search, data):
    """Not by places, which another version of an algorithm would fill with something else."""
    state = search.start(jax.random.key(0), search.place(data))
    kept = _leaves(state)
    assert {"members", "finals", "living.genomes", "history.costs"} <= kept.keys()
    assert all(name.isidentifier() for path in kept for name in path.split(".")[:1])
    turned = {name: jax.tree.map(np.asarray, kept[name]) for name in reversed(kept)}
    blank = jax.tree.map(jnp.zeros_like, state.replace(fresh=None)).replace(fresh=state.fresh)
    assert same(_with_leaves(blank, turned), state)


def test_a_random_search_beside_begins_with_what_is_common(search, result, data, tmp_path):
    rows = []
    run = {"search": search, "key": jax.random.key(0), "data": data, "directory": tmp_path}
    run |= {"experiment": EXPERIMENT, "observe": rows.append, "block": 4}
    # The kill came between both checkpoints.
    run_search(**run, beside=True, stop=lambda: True)
    shutil.rmtree(tmp_path / "search")
    assert same(run_search(**run, beside=True).history, result.history)
    assert [row["generation"] for row in rows] == [0, 1, 0, 1, 5, 7]
    at_random = run_search(**run, random_search=True)
    assert [row["generation"] for row in rows[6:]] == [1, 5, 7]
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
