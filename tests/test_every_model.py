"""Every model beside HAEMSA goes through all that one can do with a network."""

import dataclasses

import jax
import numpy as np
import pytest
from networks import OTHERS, as_model, made
from samples import utterances
from test_specialise import SIZES

from haemsa_jax.config import TrainConfig
from haemsa_jax.data import missing
from haemsa_jax.data.dataset import splits_of
from haemsa_jax.evolution import SearchConfig, make_problem, make_search, search_data
from haemsa_jax.inference.export import export
from haemsa_jax.inference.predictor import Predictor
from haemsa_jax.reporting import architecture, diagnosis
from haemsa_jax.structure.ablation import ablate, possible
from haemsa_jax.structure.parts import declare, default_structure
from haemsa_jax.training.engine.loop import make_train
from haemsa_jax.training.measurement.evaluation import evaluate

ONE = jax.local_devices()[:1]


@pytest.fixture(scope="module", params=OTHERS)
def network(request, small, pair):
    tasks = {"talks:score": pair.tasks["score"]}
    widths = {"talks": dict(pair.widths)}
    return as_model(request.param, small, widths=widths, tasks=tasks, **SIZES[request.param])


@pytest.fixture(scope="module")
def trained(network, pair):
    config = TrainConfig(epochs=1, batch_size=16, seeds=2, folds=2)
    return make_train(network, config, {"talks": pair}, ONE)()


@pytest.fixture(scope="module")
def evaluated(trained, pair):
    return evaluate(trained, {"talks": pair}, devices=ONE)


def test_bags_are_judged_with_modalities_missing(trained, evaluated, pair):
    lost = missing.drop_utterances(pair.splits["test"], 0.5, 0)
    partial = dataclasses.replace(pair, splits={**pair.splits, "test": lost})
    whole, some = (
        of["talks:score"].predictions
        for of in (evaluated, evaluate(trained, {"talks": partial}, devices=ONE))
    )
    assert whole.shape == some.shape == (2, 33) and np.isfinite([whole, some]).all()
    assert not np.allclose(whole, some)


def test_it_predicts_what_is_evaluated_and_is_exported(trained, evaluated, pair, tmp_path):
    split, expected = pair.splits["test"], evaluated["talks:score"].predictions
    rows = np.flatnonzero(split.group == split.group[0])
    said = Predictor(trained).predict_dialogue(utterances(split, rows))
    said = [one.tasks["score"].value for one in said]
    np.testing.assert_allclose(said, expected.mean(axis=0)[rows], atol=1e-4)
    assert export(trained, tmp_path, platforms=["cpu"])["interface"]["dataset"] == "talks"


def test_it_is_searched(network, pair):
    config, train = SearchConfig(population=2, generations=1, steps=2, head_start=0), TrainConfig()
    train = dataclasses.replace(train, batch_size=8, folds=2)
    search = make_search(make_problem(network, train, config), config, ONE)
    found = search(jax.random.key(0), search_data(network, train, {"talks": pair}))
    assert np.isfinite(found.fitness).all()


def test_it_is_diagnosed_drawn_and_ablated(network, evaluated, pair, tmp_path):
    trained = made(network, pair, seeds=1)
    shown = diagnosis.diagnose(trained, splits_of({"talks": pair}, "test"))
    masks = {gene.name for gene in declare(network).genes if gene.kind == "mask"}
    opened = {p.kind for p in declare(network).parts if {gene for gene, _ in p.opened} & masks}
    assert opened <= {kind for kind, _ in shown.influence["talks:score"]}
    gates = {task_id: task.gates for task_id, task in evaluated.items()}
    architecture.figure(network, trained.network(0)[1], gates, tmp_path / "network.png")
    assert (tmp_path / "network.png").stat().st_size > 5000
    config, structure = TrainConfig(), default_structure(network)
    for name in possible(network):
        assert ablate(name, network, structure, config, config, {"talks:score": 70})
