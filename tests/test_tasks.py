"""Task kinds by hand, and one of a user's that goes through everything."""

import csv
import dataclasses
import json
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from matplotlib.figure import Figure
from networks import bare
from samples import TASKS, utterances

from haemsa_jax import (
    InputError,
    Predictor,
    TaskSpec,
    TrainConfig,
    evaluate,
    make_constants,
    make_train,
)
from haemsa_jax.config import from_json, to_json
from haemsa_jax.data.batches import device_split
from haemsa_jax.evolution.problem import _costs
from haemsa_jax.inference.export import export
from haemsa_jax.inference.standalone import load
from haemsa_jax.reporting import baselines, samples
from haemsa_jax.reporting.figures import TaskReport
from haemsa_jax.reporting.predictions import (
    confusion,
    error_histogram,
    label_bars,
    plot_of,
    register_plot,
)
from haemsa_jax.structure.parts import declare
from haemsa_jax.tasks import Classification, kind_of, kinds, register
from haemsa_jax.tasks.probabilities import sigmoid
from haemsa_jax.testing import check_kind

ONE = jax.local_devices()[:1]
HEAD = {"scale": jnp.array([2.0]), "offset": jnp.array([0.0])}
SPECS = dict(zip(("regression", "classification", "multilabel"), TASKS.values(), strict=True))
by_kind = pytest.mark.parametrize("name", SPECS)


# --- a kind of a user's: ordered classes by cumulative logits ------------------------------------


class Ordinal(Classification):
    """Of C ordered classes C - 1 logits, that the label is above each of the first C - 1."""

    name = "ordinal"

    def outputs(self, task):
        return len(task.classes) - 1

    def head_statistics(self, task, labels):
        above = labels[:, None] > np.arange(self.outputs(task))
        share = (above.sum(axis=0) + 1.0) / (len(labels) + 2.0)
        offset = np.log(share / (1.0 - share)).astype(np.float32)
        return {"offset": offset, "scale": np.ones(len(offset), np.float32)}

    def loss(self, task, config, settings, head, logits, label):
        above = (label > jnp.arange(len(logits))).astype(logits.dtype)
        return optax.sigmoid_binary_cross_entropy(logits, above).mean()

    def distillation_loss(self, task, head, logits, teacher):
        return kind_of("multilabel").distillation_loss(task, head, logits, teacher)

    def readable(self, task, logits):
        xp = logits.__array_namespace__()
        above = sigmoid(-xp.sort(-logits, axis=-1))
        ends = xp.ones_like(above[..., :1])
        return xp.concat([ends, above], axis=-1) - xp.concat([above, 0 * ends], axis=-1)


@pytest.fixture(scope="module")
def ordinal():
    return kind_of("ordinal") if "ordinal" in kinds() else register(Ordinal())


@pytest.fixture(scope="module")
def level(ordinal):
    return TaskSpec("mood", "ordinal", ("accuracy", "f1_weighted"), ("sad", "calm", "gay"))


@pytest.fixture(scope="module")
def ordered(solo, level):
    """Levels that the text alone decides."""

    def labelled(split):
        sums = (split.features["text"][..., 0] * split.masks["text"]).sum(axis=1)
        labels = {"mood": np.digitize(sums, (-0.2, 0.2)).astype(np.int32)}
        return dataclasses.replace(
            split, labels=labels, labelled={"mood": np.ones(len(sums), bool)}
        )

    splits = {name: labelled(split) for name, split in solo.splits.items()}
    return dataclasses.replace(solo, tasks={"mood": level}, splits=splits)


@pytest.fixture(scope="module")
def trained(ordered, small, level):
    network = bare(small, widths={"talks": dict(ordered.widths)}, tasks={"talks:mood": level})
    config = TrainConfig(
        epochs=40, batch_size=16, learning_rate=1e-2, warmup=0.0, dropout=0.0, input_dropout=0.0,
        distillation=0.1, ema=0.0, seeds=2,
    )  # fmt: skip
    return make_train(network, config, {"talks": ordered}, ONE)()


@pytest.fixture(scope="module")
def evaluated(trained, ordered):
    return evaluate(trained, {"talks": ordered}, devices=ONE)


def test_an_ordinal_task_by_hand(ordinal, level):
    assert level.outputs == 2 and level.prediction_shape == (3,) and level.label_shape == ()
    logits = np.array([np.log(3.0), -np.log(3.0)])  # above sad 3/4, above calm 1/4
    np.testing.assert_allclose(ordinal.readable(level, logits), [0.25, 0.5, 0.25])
    loss = ordinal.loss(level, TrainConfig(), None, HEAD, jnp.asarray(logits), jnp.int32(1))
    assert loss == pytest.approx(-np.log(0.75), rel=1e-5)
    right = ordinal.rightness(level, HEAD, jnp.asarray(logits), jnp.int32(0))
    assert right == pytest.approx(0.25)
    assert ordinal.describe(level) == "ordinal: sad, calm, gay"
    statistics = ordinal.head_statistics(level, np.array([0, 1, 1, 2]))
    np.testing.assert_allclose(statistics["offset"], np.log([4 / 2, 2 / 4]), rtol=1e-6)


def test_every_kind_keeps_the_interface(ordinal, level):
    for name, spec in {**SPECS, "ordinal": level}.items():
        check_kind(kind_of(name), spec)


def test_an_ordinal_task_is_trained_and_measured(trained, evaluated, ordered, level):
    task = evaluated["talks:mood"]
    assert task.predictions.shape == (2, 33, 3)
    np.testing.assert_allclose(task.predictions.sum(axis=-1), 1.0, rtol=1e-6)
    yardsticks = baselines.evaluate(ordered, "mood", split="test")
    assert list(yardsticks) == ["majority", "ridge text", "ridge all + context"]
    assert min(task.metrics["accuracy"]) > yardsticks["majority"]["accuracy"] + 0.15
    assert task.classes.keys() == {"sad", "calm", "gay"}
    assert len(trained.progress["best_score"]) == 2
    head = make_constants(trained.experiment.network, {"talks": ordered})
    assert any(value["offset"].shape == (2,) for value in head.values() if "offset" in value)


def test_a_search_costs_what_the_metrics_say(trained, ordered, level):
    split = ordered.splits["test"]
    logits = np.random.default_rng(0).normal(size=(len(split), 2)).astype(np.float32)
    readable = kind_of("ordinal").readable(level, logits)
    first = np.arange(len(split)) < 12
    data = {
        "held_out": {"talks": device_split(split)},
        "references": {"talks:mood": np.float32(1)},
        "left_out": {"talks": np.stack([~first, first])},
    }
    network = trained.experiment.network
    costs = jax.jit(lambda x: _costs(network, data, "talks:mood", x))(readable[None])
    wrong = readable.argmax(axis=-1) != split.labels["mood"]
    expected = [wrong.mean(), wrong[~first].mean(), wrong[first].mean()]
    np.testing.assert_allclose(costs, expected, atol=1e-6)


def test_an_ordinal_task_is_predicted_and_exported(trained, evaluated, ordered, tmp_path):
    clip = utterances(ordered.splits["test"], [4])[0]
    predicted = Predictor(trained).predict(**clip).tasks["mood"]
    mean = np.array(list(predicted.probabilities.values()))
    assert predicted.value == ("sad", "calm", "gay")[mean.argmax()]
    assert mean.sum() == pytest.approx(1.0, abs=1e-6)
    assert predicted.spread.keys() == predicted.probabilities.keys() == {"sad", "calm", "gay"}
    config = export(trained, tmp_path / "export", platforms=("cpu",))
    assert config["interface"]["tasks"]["mood"]["kind"] == "ordinal"
    # A window of three utterances, of which the first and the last are absent.
    window = np.stack([clip["text"]] * 3)[None]
    mask = np.zeros(window.shape[:-1], bool)
    mask[:, 1] = True
    exported = load(tmp_path / "export")(text=window, text_mask=mask)
    np.testing.assert_allclose(exported["mood"]["mean"], mean[None], atol=1e-5)


def test_an_ordinal_task_is_written_and_drawn(trained, evaluated, tmp_path):
    task = evaluated["talks:mood"]
    samples.write(tmp_path / "samples.csv", evaluated, {})
    rows = list(csv.DictReader((tmp_path / "samples.csv").read_text("utf-8").splitlines()))
    first = task.predictions.mean(axis=0)[0]
    assert rows[0]["truth"] == task.spec.classes[task.truth[0]]
    assert rows[0]["prediction"] == f"{task.spec.classes[first.argmax()]} {first.max():.2f}"
    assert float(rows[0]["error"]) == pytest.approx(1 - first[task.truth[0]], abs=1e-4)
    assert len(json.loads(rows[0]["network 1"])) == 3
    declaration = declare(trained.experiment.network)
    mean = task.predictions.mean(axis=0)
    report = TaskReport("talks:mood", task.spec, task.truth, mean, 2, declaration, task.gates)
    assert plot_of("ordinal") is confusion  # a classification's, from which it derives
    register_plot("ordinal", error_histogram)
    assert plot_of("ordinal") is error_histogram
    assert plot_of("multilabel") is label_bars
    with pytest.raises(InputError, match="'ordinal' already has a plot"):
        register_plot("ordinal", confusion)
    with pytest.raises(InputError, match="kind 'rank' is unknown"):
        register_plot("rank", confusion)
    for plot in (error_histogram, confusion):
        axes = Figure().subplots()
        plot(axes, report)
        assert axes.get_xlabel() in ("error of a sample", "predicted")
        counts = [patch.get_height() for patch in axes.patches]
        assert sum(counts) == len(task.truth) or len(axes.texts) == 9


# --- kinds of the library, by hand ---------------------------------------------------------------


LOSSES = {
    "regression": ([5.0], 1.0, 1.5),  # residual of 2 standard deviations, Huber
    "classification": (np.log([1.0, 2.0, 1.0]), 1, np.log(2.0)),
    "multilabel": ([0.0, np.log(3.0)], [1.0, 0.0], (np.log(2.0) + np.log(4.0)) / 2),
}


@by_kind
def test_losses_by_hand(name):
    logits, label, expected = LOSSES[name]
    arguments = TrainConfig(regression_loss="huber"), None, HEAD
    loss = kind_of(name).loss(SPECS[name], *arguments, jnp.array(logits), jnp.asarray(label))
    assert loss.shape == () and loss == pytest.approx(expected, rel=1e-5)


READABLE = {
    "regression": ([[1.5], [-2.0]], [1.5, -2.0]),
    "classification": (np.log([[1.0, 2.0, 1.0]]), [[0.25, 0.5, 0.25]]),
    "multilabel": ([[0.0, np.log(3.0)]], [[0.5, 0.75]]),
}


@by_kind
def test_logits_are_readable_in_numpy_and_jax(name):
    task, (logits, expected) = SPECS[name], READABLE[name]
    exact = kind_of(name).readable(task, np.array(logits))
    assert exact.dtype == np.float64
    np.testing.assert_allclose(exact, expected, rtol=1e-14)
    assert exact.shape[1:] == task.prediction_shape
    rounded = jax.jit(lambda x: kind_of(name).readable(task, x))(jnp.array(logits))
    np.testing.assert_allclose(rounded, expected, rtol=1e-6)


STATISTICS = {
    "regression": ([1.0, 5.0], [3.0], [2.0]),
    "classification": ([1, 1, 1], np.log([1 / 6, 4 / 6, 1 / 6]), [1.0] * 3),
    "multilabel": ([[1, 0], [1, 0]], np.log([3.0, 1 / 3]), [1.0] * 2),
}


@by_kind
def test_statistics_of_heads(name):
    labels, offset, scale = STATISTICS[name]
    labels = np.array(labels, kind_of(name).label_dtype)
    statistics = kind_of(name).head_statistics(SPECS[name], labels)
    np.testing.assert_allclose(statistics["offset"], offset, rtol=1e-6)
    np.testing.assert_allclose(statistics["scale"], scale)
    assert {x.dtype for x in statistics.values()} == {np.dtype(np.float32)}


WORDS = {
    # value, words of the prediction; label and its words; error; how far it moves
    "regression": (2.5, 2.5, "2.5", 1.0, "1", 1.5, 3.0),
    "classification": ([0.2, 0.7, 0.1], "calm", "calm 0.70", 0, "sad", 0.8, 0.2),
    "multilabel": ([0.9, 0.3], ("a",), "a 0.90", [1, 1], "a, b", 0.4, 0.1),
}
MOVED = {"regression": 5.5, "classification": [0.3, 0.5, 0.2], "multilabel": [0.9, 0.5]}


@by_kind
def test_words_errors_and_moves(name):
    kind, task = kind_of(name), SPECS[name]
    prediction, value, words, label, label_words, error, moved = WORDS[name]
    prediction, label = np.array(prediction), np.array(label)
    summary = kind.summary(task, prediction, 0.5 * prediction)
    assert summary.value == value
    assert list(summary.probabilities) == list(task.classes)
    assert kind.prediction_words(task, prediction) == words
    assert kind.label_words(task, label) == label_words
    assert kind.errors(task, prediction[None], label[None]) == pytest.approx([error])
    pair = np.stack([prediction[None], np.array(MOVED[name])[None]])
    # One label does not vary: of a regression in units of two that do, half of them 1 apart.
    labels = np.stack([label - 1.0, label + 1.0]) if name == "regression" else label[None]
    assert kind.moved(task, pair, labels) == pytest.approx([moved])


@by_kind
def test_scores_of_the_best_constant(name, talks):
    """0 of the MAE of the median; other metrics are their own score."""
    kind, task, split = kind_of(name), SPECS[name], talks.splits["train"]
    labels = split.labels[task.name][split.labelled[task.name]]
    constant = kind.constant(task, labels)
    assert constant.shape == task.prediction_shape
    reference = kind.reference(task, labels)
    score = kind.score(task, {task.primary: reference}, reference)
    assert score == pytest.approx(0.0 if name == "regression" else 1.0)
    if name == "regression":
        assert reference == pytest.approx(np.abs(labels - constant).mean(), rel=1e-6)


REFUSED = [
    ({"kind": "rank"}, "kind 'rank' is unknown; choose from regression, classification, multi"),
    ({"kind": "regression", "metrics": ("accuracy",)}, "'accuracy' does not fit a regression"),
    ({"kind": "regression", "metrics": ("mae",), "range": (1, 1)}, r"range \(1, 1\) must be"),
    ({"kind": "regression", "metrics": ("mae",), "classes": ("a",)}, "has no classes"),
    ({"kind": "classification", "metrics": ("accuracy",), "classes": ("a",)}, "needs its class"),
    ({"kind": "multilabel", "metrics": ("f1_mean",)}, "a multilabel needs its class names"),
    ({"kind": "multilabel", "metrics": ()}, "at least one metric"),
]


@pytest.mark.parametrize(("fields", "message"), REFUSED)
def test_specs_that_do_not_fit(fields, message):
    with pytest.raises(InputError, match=message):
        TaskSpec("x", **{"metrics": ("mae",), **fields})


LABELS = {
    "regression": (9.5, r"is not a number in \[-9, 9\]"),
    "classification": (3, "is not a class number from 0 to 2"),
    "multilabel": (0.5, "is not 0 or 1 for every label"),
}


@by_kind
def test_labels_that_do_not_fit(name, talks):
    value, message = LABELS[name]
    split, task = talks.splits["test"], SPECS[name]
    row = np.flatnonzero(split.labelled[task.name])[3]

    def changed(labels):
        labels = {**split.labels, task.name: labels}
        return dataclasses.replace(
            talks, splits={"test": dataclasses.replace(split, labels=labels)}
        )

    labels = split.labels[task.name].copy()
    labels[row] = value
    with pytest.raises(InputError, match=f"of sample '3-{row}' for task '{task.name}' {message}"):
        changed(labels)
    with pytest.raises(InputError, match=f"labels of task '{task.name}' have shape"):
        changed(labels[:, None])
    if kind_of(name).label_dtype == np.int32:
        with pytest.raises(InputError, match="type float32; expected int32"):
            changed(split.labels[task.name].astype(np.float32))


# --- the registry --------------------------------------------------------------------------------


def test_kinds_are_registered_once(ordinal):
    assert kinds()[:3] == tuple(SPECS) and kind_of("ordinal") is ordinal
    assert len({kind_of(name) for name in kinds()}) == len(kinds())
    with pytest.raises(InputError, match="task kind 'ordinal' is already registered"):
        register(Ordinal())

    class Unmeasured(Classification):
        name, metrics = "unmeasured", ("kappa",)

    with pytest.raises(InputError, match="metric 'kappa' is unknown"):
        register(Unmeasured())
    assert "unmeasured" not in kinds()


def test_specs_are_hashable_and_travel_as_json(level):
    listed = TaskSpec("mood", "ordinal", ["accuracy", "f1_weighted"], ["sad", "calm", "gay"])
    assert listed == level and hash(listed) == hash(level)
    assert from_json(TaskSpec, json.loads(json.dumps(to_json(level)))) == level
    score = from_json(TaskSpec, json.loads(json.dumps(to_json(TASKS["score"]))))
    assert score == TASKS["score"] and hash(score) == hash(TASKS["score"])


def test_configurations_are_imported_without_jax(environment):
    code = (
        "import sys, types\n"
        "package = types.ModuleType('haemsa_jax')\n"
        "package.__path__ = ['haemsa_jax']\n"
        "sys.modules['haemsa_jax'] = package\n"
        "import haemsa_jax.config\n"
        "assert 'jax' not in sys.modules\n"
    )
    command = [environment["PYTHON"], "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
