"""The search of HAEMSA itself: members train as networks do, whatever the devices."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import assert_same_structure

from haemsa_jax.config import TrainConfig
from haemsa_jax.data.description import describe_data
from haemsa_jax.data.folds import make_partition
from haemsa_jax.errors import InputError
from haemsa_jax.evolution import outcome
from haemsa_jax.evolution.genome import decode, gene_table
from haemsa_jax.evolution.problem import make_problem, search_data
from haemsa_jax.evolution.search import make_search
from haemsa_jax.evolution.state import SearchConfig
from haemsa_jax.structure.size import size
from haemsa_jax.tasks import metrics
from haemsa_jax.training.engine.loop import make_train
from haemsa_jax.training.engine.state import stack
from haemsa_jax.training.measurement.evaluation import evaluate
from haemsa_jax.training.measurement.normalization import make_constants
from haemsa_jax.training.measurement.scoring import label_reference, measure, probabilities
from haemsa_jax.training.measurement.validation import make_predict_held_out
from haemsa_jax.training.persistence.experiment import Experiment
from haemsa_jax.training.persistence.trained import load_trained
from launch.tasks import patterns

CONFIG = SearchConfig(population=8, generations=3, steps=2, head_start=2, price=0.1)
FOLDS = 2
TRAIN = TrainConfig(batch_size=8, learning_rate=5e-3, ema=0.9, folds=FOLDS)
PATTERNS = [("text", "audio"), ("audio",)]
ONE = jax.local_devices()[:1]


@pytest.fixture(scope="module")
def duo(pair):
    """Two tasks are enough here."""
    return dataclasses.replace(pair, tasks={name: pair.tasks[name] for name in ("score", "tags")})


@pytest.fixture(scope="module")
def network(slim, duo):
    return dataclasses.replace(slim, tasks={f"{duo.name}:{n}": t for n, t in duo.tasks.items()})


@pytest.fixture(scope="module")
def datasets(duo):
    return {duo.name: duo}


@pytest.fixture(scope="module")
def problem(network):
    return make_problem(network, TRAIN, CONFIG, PATTERNS)


@pytest.fixture(scope="module")
def data(network, datasets):
    return search_data(network, TRAIN, datasets)


@pytest.fixture(scope="module")
def result(problem, data):
    return make_search(problem, CONFIG, ONE)(jax.random.key(0), data)


@pytest.fixture(scope="module")
def experiment(network):
    origin = {"search": dataclasses.asdict(CONFIG), "patterns": PATTERNS}
    return Experiment(network, TRAIN, json.loads(json.dumps(origin)))


@pytest.fixture(scope="module")
def directory(result, experiment, problem, data, tmp_path_factory):
    path = tmp_path_factory.mktemp("found")
    trained = outcome.population(result, experiment, data["constants"])
    outcome.save(path, result, trained, problem.objectives)
    return path


def test_a_task_is_read_with_what_it_has(network, duo):
    """Absent modalities would only count the same thing twice, or nothing."""
    both = dataclasses.replace(
        network, widths={**network.widths, "lines": {"text": 6}},
        tasks={**network.tasks, "lines:score": duo.tasks["score"]},
    )  # fmt: skip
    found = make_problem(both, TRAIN, CONFIG, [*PATTERNS, ("text",)])
    assert found.objectives[-2:] == ("talks:tags|text", "lines:score|text")
    assert len(found.objectives) == 3 + 3 + 1
    np.testing.assert_allclose(found.weights, [1 / 9] * 6 + [1 / 3], rtol=1e-6)
    with pytest.raises(InputError, match="patterns audio: none has a modality of lines, text"):
        make_problem(both, TRAIN, CONFIG, [("audio",)])


def test_members_of_one_genome_are_networks_of_their_own(result, experiment, data):
    alike = dataclasses.replace(
        result, genomes=np.broadcast_to(result.genomes[:1], result.genomes.shape)
    )
    trained = outcome.population(alike, experiment, data["constants"])
    weights = np.concatenate(
        [x.reshape(len(x), -1) for x in jax.tree.leaves(trained.params)], axis=1
    )
    assert len(weights) == FOLDS * trained.count
    assert trained.count == np.isfinite(result.fitnesses).sum() > 1
    assert len(np.unique(weights, axis=0)) == len(weights)


def test_eight_devices_search_the_same(problem, data, result):
    spread = make_search(problem, CONFIG)(jax.random.key(0), data)
    assert_same_structure(problem.table, spread.history, result.history)
    np.testing.assert_array_equal(spread.history.parents, result.history.parents)
    np.testing.assert_allclose(spread.history.fitness, result.history.fitness, rtol=1e-5)


def test_costs_are_those_of_the_metrics(network, datasets, data, problem, result):
    """Every cost of the winner, once more by the road that training takes."""
    partition = make_partition(datasets, FOLDS)
    params = jax.tree.map(lambda x: x[0], result.members.averaged)
    structure, _ = decode(network, result.genome)
    networks = params, data["constants"], stack(structure, FOLDS)
    costs = result.history.costs[result.place]
    for name, cost in zip(problem.objectives, costs, strict=True):
        task_id, _, pattern = name.partition("|")
        task, (dataset,) = network.tasks[task_id], network.widths
        split = partition.held_out[dataset]
        masks = {m: mask & (m in pattern.split("+")) for m, mask in split.masks.items()}
        hidden = dataclasses.replace(
            partition, held_out={dataset: dataclasses.replace(split, masks=masks)}
        )
        rows, logits = make_predict_held_out(network, hidden, ONE)(*networks, task_id)
        values = measure(task, probabilities(task, logits[0]), split.labels[task.name][rows])
        reference = label_reference(network, partition.training, task_id)
        np.testing.assert_allclose(cost, 1 - metrics.score(task, values, reference), atol=1e-5)


def test_costs_without_a_block_are_those_of_the_others(network, datasets, data, problem, result):
    """What is left out in turn are whole groups; every sample is left out once."""
    partition, (dataset,) = make_partition(datasets, FOLDS), network.widths
    kept, group = data["left_out"][dataset], partition.held_out[dataset].group
    assert kept.shape == (19, 91) and ((~kept).sum(axis=0) == 1).all()
    for row in kept:
        assert not {*group[row]} & {*group[~row]}
    members = jax.tree.map(lambda x: x[0], result.members)

    @jax.jit
    def judged(members, data):
        of = jax.vmap(lambda member, k: problem.predict(member, result.genome, data, k))
        return problem.judge(of(members, jnp.arange(FOLDS)), data)

    whole = judged(members, data)
    alone = judged(members, {**data, "left_out": {dataset: np.ones_like(kept)}})
    np.testing.assert_allclose(alone, np.broadcast_to(alone[0], alone.shape), rtol=1e-5)
    np.testing.assert_allclose(whole[0], alone[0], rtol=1e-5)
    assert (np.abs(whole[1:] - whole[0]) > 1e-5).any(axis=1).all()


def test_without_folds_validation_judges(network, datasets, duo):
    train = dataclasses.replace(TRAIN, folds=0)
    problem = make_problem(network, train, CONFIG)
    data = search_data(network, train, datasets)
    assert problem.folds == 1
    result = make_search(problem, CONFIG, ONE)(jax.random.key(0), data)
    experiment = Experiment(network, train, {"search": {}}, describe_data(datasets))
    trained = outcome.population(result, experiment, data["constants"])
    assert trained.size == 1
    measured = evaluate(trained, datasets, "validation", ONE)
    for place, task_id in enumerate(network.tasks):
        score = metrics.score(
            network.tasks[task_id],
            {name: values[0] for name, values in measured[task_id].metrics.items()},
            label_reference(network, {duo.name: duo.splits["train"]}, task_id),
        )
        np.testing.assert_allclose(result.history.costs[result.place][place], 1 - score, atol=1e-4)


def test_sizes_fall_with_what_is_shut(problem, network):
    """The default is the whole; a task that lets a modality go makes the network cheaper."""
    table = gene_table(network)
    whole = table.to_json(problem.default)
    assert float(problem.size(problem.default)) == 1.0
    sizes = []
    for count in range(len(network.tasks) + 1):
        values = dict(whole)
        for task_id in list(network.tasks)[:count]:
            values[f"modalities/{task_id}"] = ["text"]
        sizes.append(float(problem.size(table.from_json(values))))
    assert (np.diff(sizes) < -0.01).all()


def test_best_json_tells_everything(directory, result, network, experiment):
    told = json.loads((directory / "best.json").read_text())
    assert told["fitness"] == result.fitness
    assert set(told["costs"]) == {f"{t}|{'+'.join(p)}" for t in network.tasks for p in PATTERNS}
    found = outcome.read_genome(directory / "best.json")
    assert found.experiment.network == network
    assert found.experiment == experiment
    expected, hyper = decode(network, result.genome)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found.structure, expected
    )
    np.testing.assert_allclose(found.train.learning_rate, hyper.learning_rate, rtol=1e-5)
    assert told["parameters"] == int(size(network, expected).parameters)
    assert any(line.startswith("local:") for line in told["described"])


def test_the_history_is_kept(directory, result, problem):
    with np.load(directory / "history.npz") as arrays:
        np.testing.assert_array_equal(arrays["genomes"], result.history.genomes)
        np.testing.assert_array_equal(arrays["parents"], result.history.parents)
        assert tuple(arrays["objectives"]) == problem.objectives
        assert tuple(arrays["genes"]) == problem.table.names


def test_the_members_are_kept_best_first(directory, result, datasets, duo):
    trained = load_trained(directory)
    assert trained.ranked and trained.size == FOLDS
    count = trained.count
    assert 1 < count <= 16
    assert trained.progress["ensemble"] == list(result.ensemble)
    single = evaluate(trained, datasets, "test", ONE)
    both = evaluate(trained, datasets, "test", ONE, ensemble=3)
    for task_id, task in both.items():
        assert len(task.predictions) == 1
        for name, values in task.metrics.items():
            np.testing.assert_allclose(values, single[task_id].metrics[name], rtol=1e-5)
            assert len(task.alone[name]) == FOLDS
        assert not any(single[task_id].ensemble.values())
        assert all(len(values) == 1 for values in task.ensemble.values())
    # Ensembles are means of what their members say one by one.
    task_id = f"{duo.name}:score"
    members = dataclasses.replace(
        trained, experiment=dataclasses.replace(trained.experiment, origin={})
    )
    alone, task = evaluate(members, datasets, "test", ONE)[task_id].predictions, both[task_id]
    for places, metric in ((range(3), task.ensemble), (result.ensemble, task.chosen)):
        mean = alone[list(places)].mean(axis=0)
        np.testing.assert_allclose(np.abs(mean - task.truth).mean(), metric["mae"][0], rtol=1e-5)
    with pytest.raises(InputError, match=f"ensemble of 99 is asked for, but the run holds {count}"):
        evaluate(trained, datasets, "test", ensemble=99)


def test_a_genome_is_trained_from_either_start(directory, datasets, network, tmp_path):
    """From random weights only the used parts are built; inherited ones say what they said."""
    saved = outcome.read_genome(directory)
    before = load_trained(directory)
    config = dataclasses.replace(
        saved.train, epochs=1, seeds=2, folds=0, learning_rate=1e-9, ema=0.0
    )
    assert outcome.begin(saved, network, inherit=False)[1].params == {}
    cut, start = outcome.begin(saved, network, inherit=True)
    make_train(cut, config, datasets, ONE, start=start)(tmp_path)
    trained = load_trained(tmp_path)
    assert trained.experiment.network == cut
    count = sum(x[0].size for x in jax.tree.leaves(trained.params))
    assert count == int(size(network, saved.structure).parameters)
    # The first network of the winner's bag, beside the constants of the training split.
    first = dataclasses.replace(
        before,
        experiment=dataclasses.replace(
            before.experiment, train=dataclasses.replace(TRAIN, folds=0)
        ),
        constants=stack(make_constants(network, datasets), before.count * FOLDS),
        progress={},
    )
    expected = evaluate(first, datasets, "validation", ONE)
    after = evaluate(trained, datasets, "validation", ONE)
    for task_id, task in network.tasks.items():
        np.testing.assert_allclose(
            after[task_id].metrics[task.primary],
            expected[task_id].metrics[task.primary] * 2,
            atol=1e-3,
        )
    other = dataclasses.replace(network, width=16)
    with pytest.raises(InputError, match=r"weights in .* are those of another network"):
        outcome.begin(saved, other, inherit=True)
    outcome.begin(saved, other, inherit=False)
    for change, words in (
        ({"depth": 2}, "depth=2, but the genome .* is for depth=1"),
        ({"sharing": "imputed"}, "sharing=imputed, but the genome .* is for sharing=whole"),
        ({"tasks": dict(reversed(network.tasks.items()))}, "for the tasks talks:score, talks:tags"),
    ):
        with pytest.raises(InputError, match=words):
            outcome.begin(saved, dataclasses.replace(network, **change), inherit=False)


def test_a_training_that_nobody_saw_whole_is_refused(directory, network):
    saved = outcome.read_genome(directory)

    def searched(**changes):
        search = {**saved.experiment.origin["search"], **changes}
        experiment = dataclasses.replace(saved.experiment, origin={"search": search})
        return dataclasses.replace(saved, experiment=experiment)

    with pytest.raises(InputError, match=r"without a final.*--repeats=2, or --fixed=training"):
        outcome.begin(searched(repeats=0, fixed=[]), network, inherit=False)
    for whole in ({"repeats": 2}, {"fixed": ["training"]}, {"inherit": "none"}):
        changes = {"repeats": 0, "fixed": [], **whole}
        assert outcome.begin(searched(**changes), network, inherit=False)[1].params == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not JSON"),
        pytest.param("[" * 99_999, "is not JSON", id="nested"),
        ("[]", "not a genome file of format 1"),
        ('{"format": 1}', "lacks or garbles 'experiment'"),
    ],
)
def test_files_that_are_no_genomes(tmp_path, text, words):
    path = tmp_path / "best.json"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        outcome.read_genome(path)


def test_a_genome_with_an_unknown_label(directory, tmp_path):
    told = json.loads((directory / "best.json").read_text())
    told["genome"]["links"] = ["smell>text", 1]
    (tmp_path / "best.json").write_text(json.dumps(told))
    with pytest.raises(InputError, match=r"best.json: gene 'links' .*smell.*text>audio"):
        outcome.read_genome(tmp_path)
    with pytest.raises(InputError, match="cannot read the genome"):
        outcome.read_genome(tmp_path / "nothing.json")


def test_patterns_by_name():
    names = ("text", "audio", "vision")
    assert patterns(["full"], names) == [names]
    assert patterns(["leave_one_out"], names) == [names[1:], names[::2], names[:2]]
    assert patterns(["single", "audio+text", "text"], names) == [
        ("text",), ("audio",), ("vision",), ("text", "audio"),
    ]  # fmt: skip
    with pytest.raises(InputError, match=r"--patterns=smell: expected full.*text, audio, vision"):
        patterns(["smell"], names)
    with pytest.raises(InputError, match="--patterns=leave_one_out: no pattern has a modality"):
        patterns(["leave_one_out"], ("text",))
