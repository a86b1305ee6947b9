"""The search of HAEMSA itself: members train as networks do, whatever the devices."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from conftest import assert_same_structure

from haemsa_jax.config import TrainConfig, dataset_of
from haemsa_jax.data.batches import device_split
from haemsa_jax.errors import InputError
from haemsa_jax.evolution import outcome
from haemsa_jax.evolution.genome import decode, gene_table
from haemsa_jax.evolution.problem import make_problem, search_data
from haemsa_jax.evolution.search import make_search
from haemsa_jax.evolution.state import SearchConfig
from haemsa_jax.structure.size import size
from haemsa_jax.tasks import metrics
from haemsa_jax.training.engine.loop import make_train
from haemsa_jax.training.measurement.evaluation import evaluate
from haemsa_jax.training.measurement.prediction import make_predict
from haemsa_jax.training.measurement.scoring import label_reference, measure, probabilities
from haemsa_jax.training.persistence.experiment import Experiment
from haemsa_jax.training.persistence.trained import load_trained
from launch.tasks import patterns

CONFIG = SearchConfig(population=8, generations=3, steps=2, head_start=2, price=0.1)
TRAIN = TrainConfig(batch_size=8, learning_rate=5e-3, ema=0.9)
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
    return search_data(network, datasets)


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


def test_lines_of_one_genome_are_networks_of_their_own(result, experiment, data):
    first = jax.tree.map(lambda x: x[0], result.members)
    alike = dataclasses.replace(
        result, genomes=np.broadcast_to(result.genomes[:1], result.genomes.shape),
        genome=result.genomes[0], member=first, fitness=result.fitnesses[0],
    )  # fmt: skip
    trained = outcome.population(alike, experiment, data["constants"])
    weights = np.concatenate(
        [x.reshape(len(x), -1) for x in jax.tree.leaves(trained.params)], axis=1
    )
    assert len(weights) == np.isfinite(result.fitnesses).sum() > 1  # the champion once
    assert len(np.unique(weights, axis=0)) == len(weights)


def test_eight_devices_search_the_same(problem, data, result):
    spread = make_search(problem, CONFIG)(jax.random.key(0), data)
    assert_same_structure(problem.table, spread.history, result.history)
    np.testing.assert_array_equal(spread.history.parents, result.history.parents)
    np.testing.assert_allclose(spread.history.fitness, result.history.fitness, rtol=1e-5)


def test_costs_are_those_of_the_metrics(network, duo, data, problem, result):
    """Every cost of the best member, once more by the road that `evaluate` takes."""
    params = result.member.averaged
    structure, _ = decode(network, result.genome)
    history, split = result.history, duo.splits["validation"]
    costs = history.costs.reshape(-1, history.costs.shape[-1])[history.fitness.argmin()]
    predict = make_predict(network, 64, ONE)
    for name, cost in zip(problem.objectives, costs, strict=True):
        task_id, _, pattern = name.partition("|")
        task = network.tasks[task_id]
        masks = {m: mask & (m in pattern.split("+")) for m, mask in split.masks.items()}
        rows = np.flatnonzero(split.labelled[task.name])
        hidden = device_split(dataclasses.replace(split, masks=masks))
        stacked = jax.tree.map(lambda x: x[None], (params, data["constants"], structure))
        said = predict(*stacked, hidden, task_id, rows)
        said = probabilities(task, said["prediction"][0])
        values = measure(task, said, split.labels[task.name][rows])
        reference = label_reference(network, {duo.name: duo.splits["train"]}, task_id)
        assert dataset_of(task_id) == duo.name
        np.testing.assert_allclose(cost, 1 - metrics.score(task, values, reference), atol=1e-5)


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


def test_the_population_is_kept_best_first(directory, result, datasets, duo):
    trained = load_trained(directory)
    assert trained.ranked
    count = trained.count
    assert 1 < count <= 8
    single = evaluate(trained, datasets, "validation", ONE)
    both = evaluate(trained, datasets, "validation", ONE, ensemble=3)
    for task_id, task in both.items():
        assert len(task.predictions) == 1
        for name, values in task.metrics.items():
            np.testing.assert_allclose(values, single[task_id].metrics[name], rtol=1e-5)
        assert not any(single[task_id].ensemble.values())
        assert all(len(values) == 1 for values in task.ensemble.values())
    # The ensemble is the mean of what its members say one by one.
    task_id = f"{duo.name}:score"
    alone = []
    for place in range(3):
        one = jax.tree.map(
            lambda x, place=place: x[place : place + 1], (trained.params, trained.structures)
        )
        member = dataclasses.replace(trained, params=one[0], structures=one[1])
        alone.append(evaluate(member, datasets, "validation", ONE)[task_id].predictions[0])
    task = both[task_id]
    np.testing.assert_allclose(
        np.abs(np.mean(alone, axis=0) - task.truth).mean(), task.ensemble["mae"][0], rtol=1e-6
    )
    with pytest.raises(InputError, match=f"ensemble of 99 is asked for, but the run holds {count}"):
        evaluate(trained, datasets, "validation", ensemble=99)


def test_a_genome_is_trained_from_either_start(directory, datasets, network, tmp_path):
    """From random weights only the used parts are built; inherited ones say what they said."""
    found = outcome.read_genome(directory)
    before = evaluate(load_trained(directory), datasets, "validation", ONE)
    config = dataclasses.replace(found.train, epochs=1, seeds=2, learning_rate=1e-9, ema=0.0)
    assert outcome.begin(found, network, inherit=False)[1].params == {}
    cut, start = outcome.begin(found, network, inherit=True)
    make_train(cut, config, datasets, ONE, start=start)(tmp_path)
    trained = load_trained(tmp_path)
    assert trained.experiment.network == cut
    count = sum(x[0].size for x in jax.tree.leaves(trained.params))
    assert count == int(size(network, found.structure).parameters)
    after = evaluate(trained, datasets, "validation", ONE)
    for task_id, task in network.tasks.items():
        np.testing.assert_allclose(
            after[task_id].metrics[task.primary],
            before[task_id].metrics[task.primary] * 2,
            atol=1e-3,
        )
    other = dataclasses.replace(network, width=16)
    with pytest.raises(InputError, match=r"weights in .* are those of another network"):
        outcome.begin(found, other, inherit=True)
    outcome.begin(found, other, inherit=False)
    for change, words in (
        ({"depth": 2}, "depth=2, but the genome .* is for depth=1"),
        ({"sharing": "imputed"}, "sharing=imputed, but the genome .* is for sharing=whole"),
        ({"tasks": dict(reversed(network.tasks.items()))}, "for the tasks talks:score, talks:tags"),
    ):
        with pytest.raises(InputError, match=words):
            outcome.begin(found, dataclasses.replace(network, **change), inherit=False)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not JSON"),
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
