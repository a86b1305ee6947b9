"""How long is trained and on how much at a time where nobody says, and what is said of it."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from haemsa_jax.config import TaskSpec, TrainConfig
from haemsa_jax.data.folds import make_partition
from haemsa_jax.errors import InputError
from haemsa_jax.models.haemsa import HaemsaConfig
from haemsa_jax.reporting.progress import TrainingBar
from haemsa_jax.training.engine.budget import fitted
from haemsa_jax.training.engine.drawing import batch_sizes, usual_batch
from haemsa_jax.training.engine.progress import fresh_progress, summary, with_scores
from haemsa_jax.training.measurement.doubts import doubts
from haemsa_jax.training.persistence.experiment import Experiment, check_same


@pytest.mark.parametrize(
    ("count", "batch", "epochs", "every"),
    [(72, 8, 100, 3), (10, 8, 450, 15), (300, 16, 48, 1), (1284, 32, 22, 1), (16_000, 32, 12, 1)],
)
def test_batch_and_steps_follow_the_data(count, batch, epochs, every):
    found = fitted(TrainConfig(), {"d:t": count})
    assert (found.batch_size, found.epochs, found.evaluate_every) == (batch, epochs, every)
    assert fitted(found, {"d:t": 10_000}) == found  # numbers that are kept stay
    assert batch_sizes({"d:t": count}, TrainConfig()) == {"d:t": batch}


def test_what_is_given_stays():
    given = TrainConfig(batch_size=24, epochs=5, evaluate_every=2)
    assert fitted(given, {"d:t": 72}) == given
    assert fitted(TrainConfig(epochs=3), {"d:t": 72}) == TrainConfig(
        epochs=3, batch_size=8, evaluate_every=1
    )
    assert usual_batch({"a:t": 72, "b:t": 700}) == 32  # the largest task's
    assert usual_batch({"d:t": 72}, devices=3) == 9


def test_a_training_has_an_end():
    with pytest.raises(InputError, match="epochs=1000000000 of 9 steps each are more than"):
        fitted(TrainConfig(epochs=10**9), {"d:t": 72})


def test_the_best_at_the_last_step_asks_for_more():
    progress = {**fresh_progress(60, {"d:t": 8}, 2), "step": 60}
    progress = with_scores({**progress, "step": 40}, np.array([True, True]), 40, [0.1, 0.1])
    progress = with_scores({**progress, "step": 60}, np.array([False, True]), 60, [0.0, 0.2])
    assert summary(progress, 0) == "at step 40 of 60"
    assert summary(progress, 1) == "at the last step, 60: longer training may help"
    # Where a run was stopped, there is more to come.
    assert summary({**progress, "total": 90}, 1) == "at step 60 of 60"


def test_few_samples_and_groups_are_named(solo, lone):
    data = {"talks": solo}
    sentences = doubts(lone, make_partition(data, 0))
    assert len(sentences) == len(lone.tasks)
    assert sentences[0].startswith(
        "talks:score is judged by 21 samples of validation, in 5 groups: the standard error of a "
        "mean absolute error over so few is about 34 % of it, "
    )
    assert sentences[0].endswith("; --folds=5 judges by the training samples as well")
    # 91 samples in 19 groups.
    score = lone.changed(tasks={"talks:score": lone.tasks["talks:score"]})
    (out_of_fold,) = doubts(score, make_partition(data, 4))
    assert "91 samples out of fold, in 19 groups" in out_of_fold and "--folds" not in out_of_fold


def test_enough_samples_in_enough_groups_are_no_doubt(solo, lone, monkeypatch):
    monkeypatch.setattr("haemsa_jax.training.measurement.doubts.SAMPLES", 70)
    score = lone.changed(tasks={"talks:score": lone.tasks["talks:score"]})
    assert doubts(score, make_partition({"talks": solo}, 4)) == []


def test_a_longer_schedule_is_refused_with_the_command_that_goes_on(lone):
    def checked(config, origin, **changes):
        begun = Experiment(lone, config, origin)
        with pytest.raises(InputError) as caught:
            check_same(
                Path("runs/a b"), begun.to_json(),
                Experiment(lone, dataclasses.replace(config, **changes), origin),
            )  # fmt: skip
        return str(caught.value)

    config = TrainConfig(epochs=5, batch_size=8)
    again = "begin another run from there: --epochs=40 --init_from='runs/a b' --run_dir=ANOTHER"
    assert checked(config, {}, epochs=40).endswith(again)
    assert "begin another run" not in checked(config, {}, epochs=3)
    assert "begin another run" not in checked(config, {"search": {}}, epochs=40)
    bag = checked(dataclasses.replace(config, folds=2), {}, epochs=40)
    assert bag.endswith("begin another run: --epochs=40 --run_dir=ANOTHER")


def test_defaults_are_one_set():
    """A genome that is trained anew is trained as its search trained it."""
    task = TaskSpec("t", "regression", ("mae",), range=(0, 1))
    network = HaemsaConfig({"d": {"text": 3}}, {"d:t": task})
    assert (network.width, network.depth, network.heads, network.link_width) == (32, 1, 4, 32)


def test_a_plan_is_said_before_training_and_the_time_after_some_blocks(capfd):
    plan = {
        "step": 0, "kind": "plan", "total": 150, "epochs": 10, "batch_size": 8, "networks": 2,
        "samples": {"d:a": 120, "d:b": 120}, "doubts": ["d:a is judged by few"],
    }  # fmt: skip
    with TrainingBar() as bar:
        bar(plan)
        first = capfd.readouterr().err
        for done in (30, 60, 90):
            bar({"kind": "train", "step": done, "done": done, "total": 150, "loss": [0.5]})
        assert "training 2 networks on 120 samples: 10 epochs, 150 steps of 8 samples" in first
        assert "d:a is judged by few" in first
        assert capfd.readouterr().err.count("s to go") == 1
