"""Which runs are seeds of one another, which are rows of their own, and what their table says."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from haemsa_jax.config import TaskSpec, TrainConfig
from haemsa_jax.errors import InputError
from haemsa_jax.reporting import runs
from haemsa_jax.reporting.runs import load_contenders, parse_beside
from haemsa_jax.reporting.verdicts import chance, verdicts
from haemsa_jax.training.measurement.evaluation import TaskEvaluation
from haemsa_jax.training.persistence.experiment import Experiment


@pytest.fixture
def loaded(small, deep, monkeypatch):
    """Runs by directory, without their weights."""
    origin = {"genome": {"depth": "1"}}
    known = {
        "a": Experiment(small, TrainConfig(seed=0, seeds=3)),
        "copy of a": Experiment(small, TrainConfig(seed=1, seeds=1)),
        "b": Experiment(small, TrainConfig(seed=3, seeds=2)),
        "wide": Experiment(small.changed(width=16), TrainConfig()),
        "slow": Experiment(small, TrainConfig(learning_rate=1e-4)),
        "bag": Experiment(deep, TrainConfig(folds=4)),
        "genome": Experiment(small, TrainConfig(), origin),
    }
    load = lambda place: SimpleNamespace(experiment=known[str(place)])  # noqa: E731
    monkeypatch.setattr(runs, "load_trained", load)


def test_runs_that_differ_in_their_seeds_alone_are_one_row(loaded):
    (one,) = load_contenders([Path("a"), Path("b")])
    assert one.label == "HAEMSA" and len(one.runs) == 2
    # A seed counts once.
    assert [len(row.runs) for row in load_contenders([Path("a"), Path("copy of a")])] == [1, 1]


def test_other_runs_are_rows_of_their_own(loaded):
    rows = load_contenders([Path(name) for name in ("a", "wide", "b", "slow", "bag", "genome")])
    assert [row.label for row in rows] == [
        "HAEMSA of a", "HAEMSA of wide", "HAEMSA of slow", "HAEMSA of bag, bag of 4",
        "HAEMSA of genome",
    ]  # fmt: skip
    assert [str(run.directory) for run in rows[0].runs] == ["a", "b"]


def test_beside_has_names_of_its_own():
    assert parse_beside(["plain=runs/a", "b=c=d"], ["HAEMSA"], protocol=None) == {
        "plain": "runs/a", "b": "c=d",
    }  # fmt: skip
    for entries, words in (
        (["HAEMSA=a"], "HAEMSA is a row already"),
        (["a=b", "a=c"], "a is a row already"),
        (["only={pattern}"], "needs --protocol=patterns"),
    ):
        with pytest.raises(InputError, match=words):
            parse_beside(entries, ["HAEMSA"], protocol=None)


def table(network, ridge, **more):
    return {
        "d:mood": {
            "HAEMSA": {"mae": network}, **more, "median": {"mae": [0.9]},
            "ridge audio": {"mae": [ridge]}, "best possible": {"mae": [0.01]},
        }
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (table([0.319], 0.140), "ridge audio, which is no network, is better than HAEMSA by MAE"),
        (
            table([0.2, 0.3], 0.26),
            "level with HAEMSA by MAE, 0.260 against 0.250, no",
        ),
        (table([0.1401], 0.1404), "level with HAEMSA by MAE, 0.140 against 0.140."),
        (table([1.0], 2.0), "median, which is no network, is better than HAEMSA"),
        (
            table([0.1], 0.2),
            "HAEMSA is better than ridge audio, the best that is no network, by MAE, 0.100 against",
        ),
        (table([0.1], 0.2), "0.200; it is one seed, so chance is not measured (--seeds=5)."),
        (table([0.1, 0.12], 0.2), "0.110 against 0.200."),
        (table([0.3], 0.2, plain={"mae": [0.1]}), "mood: plain is better than ridge audio, "),
        ({"d:mood": {"HAEMSA": {"mae": [0.3]}, "late fusion network": {"mae": [0.1]}}}, None),
        ({"d:mood, by class": {"sad, n = 3": {"f1": [0.3]}}}, None),
    ],
)
def test_networks_are_compared_with_the_best_yardstick(rows, said):
    sentences = verdicts(rows)
    assert len(sentences) == (said is not None)
    assert said is None or said in sentences[0]


def test_higher_may_be_better():
    rows = {"HAEMSA": {"corr": [0.5]}, "ridge text": {"corr": [0.6]}}
    assert "0.600 against 0.500" in verdicts({"d:t": rows})[0]
    (better,) = verdicts({"d:t": {**rows, "ridge text": {"corr": [0.4]}}})
    assert "HAEMSA is better than ridge text" in better and "0.500 against 0.400" in better


def test_of_one_network_the_error_over_groups_is_said():
    # Absolute errors 1, 2, 3 and 6 in four groups: their mean has an error of s / sqrt(4).
    of = TaskEvaluation(
        TaskSpec("mood", "regression", ("mae",), range=(-9, 9)), "abcd", [""] * 4, np.arange(4),
        np.zeros(4), np.array([[1.0, -2.0, 3.0, 6.0]]), {}, {}, {}, {}, {}, {},
    )  # fmt: skip
    (sentence,) = chance({"d:mood": of})
    assert "there is no ± over seeds" in sentence
    assert f"standard error of {np.std([1, 2, 3, 6], ddof=1) / 2:.3f} (jackknife, 4" in sentence
    several = dataclasses.replace(of, predictions=np.zeros((2, 4)))
    assert chance({"d:mood": several}) == []
