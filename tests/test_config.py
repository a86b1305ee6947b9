"""Configurations say what is wrong with them, and survive JSON."""

import dataclasses
import functools
import json

import jax
import numpy as np
import pytest

from haemsa_jax import config
from haemsa_jax.config import TaskSpec, TrainConfig, check_together
from haemsa_jax.errors import InputError
from haemsa_jax.models import build
from haemsa_jax.models.emt import EmtConfig
from haemsa_jax.models.haemsa import HaemsaConfig
from haemsa_jax.models.late_fusion import LateFusionConfig
from haemsa_jax.models.mfn import MfnConfig
from haemsa_jax.models.mult import MultConfig
from haemsa_jax.structure.parts import declare
from launch.tasks import context_of, per_dataset

SCORE = TaskSpec("score", "regression", ("mae",), range=(-3, 3))


def network(**changes):
    return HaemsaConfig(**{"widths": {"a": {"text": 3}}, "tasks": {"a:score": SCORE}, **changes})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: TaskSpec("x", "ranking", ("mae",)), ["'ranking'", "choose from regression"]),
        (lambda: TaskSpec("x", "regression", ()), ["at least one metric"]),
        (lambda: TaskSpec("x", "regression", ("accuracy",), range=(0, 1)), ["'accuracy'", "mae"]),
        (lambda: TaskSpec("x", "regression", ("mae",)), ["range None"]),
        (lambda: TaskSpec("x", "classification", ("accuracy",), ("one",)), ["class names"]),
        (lambda: network(width=0), ["width=0", "positive"]),
        (lambda: network(width=30), ["width=30", "heads=4"]),
        (lambda: network(kernel=2), ["kernel=2", "odd"]),
        (lambda: network(tasks={}), ["at least one task"]),
        (lambda: network(tasks={"b:score": SCORE}), ["'b:score'", "data sets are a"]),
        (lambda: network(context={"a": (-1, 0)}), ["-1+0", "negative"]),
        (lambda: network(context={"a": (2**31, 0)}), ["2147483648+0", "huge"]),
        (lambda: network(width=10**30), ["width=1000", f"below {2**32}"]),
        (lambda: network(widths={"a": {}}), ["'a'", "no modality"]),
        (lambda: network(widths={"a": {"text": 3}, "b": {"text": 3}}), ["'b'", "no task"]),
        (
            lambda: network(tasks={"a:score": SCORE, "a:score_text": SCORE}),
            ["head of 'a:score' for text alone", "head of 'a:score_text'", "head_a-score_text"],
        ),
        (
            lambda: network(
                widths={"a/b": {"text": 3}, "a-b": {"text": 3}},
                tasks={"a/b:score": SCORE, "a-b:mood": SCORE},
            ),
            ["'a/b'", "'a-b'", "stem_a-b_text", "rename"],
        ),
        (
            lambda: check_together(network(), TrainConfig(task_weights={"a:mood": 2.0})),
            ["'a:mood'", "its tasks are a:score"],
        ),
        (
            lambda: check_together(network(), TrainConfig(task_weights={"a:score": 0.0})),
            ["every task of a:score weighs 0"],
        ),
        (lambda: network(width=8.0), ["width=8.0", "whole number"]),
        (lambda: network(depth=True), ["depth=True", "whole number"]),
        (lambda: network(clip="wide"), ["clip='wide'", "a number"]),
        (lambda: network(widths={"a": {"text": 3.5}}), ["width of text in 'a'=3.5", "whole"]),
        (lambda: network(widths={"a": {"text": 0}}), ["width of text in 'a'=0"]),
        (lambda: network(context={"a": (1.5, 0)}), ["context of 'a'=1.5", "whole"]),
        (
            lambda: network(kept={"modalities/a:score": ("audio",)}),
            ["'a:score' 'audio'", "from text"],
        ),
        (lambda: network(experts=()), ["experts=", "names, each once"]),
        (lambda: network(operators=("concat", "concat")), ["operators=concat, concat", "once"]),
        (lambda: declare(network(experts=("mamba",))), ["'mamba'", "choose from pointwise"]),
        (lambda: declare(network(operators=("sum",))), ["'sum'", "choose from concat"]),
        (lambda: TrainConfig(batch_size=2.5), ["batch_size=2.5", "whole number"]),
        (lambda: TrainConfig(seeds=True), ["seeds=True", "whole number"]),
        (lambda: TrainConfig(dropout="0.1"), ["dropout='0.1'", "a number"]),
        (lambda: TrainConfig(task_weights={"a:b": "2"}), ["'a:b'='2'", "a number"]),
        (lambda: TrainConfig(seed=2**32), ["seed=4294967296", "below 4294967296"]),
        (lambda: TrainConfig(seed=2**32 - 2, seeds=3), ["seeds=3", "last seed"]),
        (lambda: TrainConfig(seed=-1), ["seed=-1", "negative"]),
        (lambda: TrainConfig(batch_size=-1), ["batch_size=-1", "negative"]),
        (lambda: TrainConfig(dropout=1.0), ["dropout=1.0", "[0, 1)"]),
        (lambda: TrainConfig(weight_decay=-1.0), ["weight_decay=-1.0", "negative"]),
        (lambda: TrainConfig(regression_loss="cauchy"), ["'cauchy'", "l1, l2, huber"]),
        (lambda: TrainConfig(task_weights={"a:b": -1}), ["-1", "'a:b'"]),
    ],
)
def test_errors_name_value_and_rule(make, words):
    with pytest.raises(InputError) as error:
        make()
    for word in words:
        assert word in str(error.value)


def test_numbers_of_numpy_and_the_last_seed_are_taken():
    assert TrainConfig(batch_size=np.int32(8), dropout=np.float32(0.5), seed=2**32 - 1).seed


def test_json_round_trip(small):
    text = json.dumps(config.to_json(small))
    assert config.network_from_json(json.loads(text)) == small
    train = TrainConfig(seed=3, task_weights={"talks:mood": 2.0})
    assert config.from_json(TrainConfig, json.loads(json.dumps(config.to_json(train)))) == train


def test_modalities_come_in_the_known_order():
    widths = {"a": {"vision": 1, "gaze": 1}, "b": {"text": 1, "audio": 1}}
    made = network(widths=widths, tasks={"a:score": SCORE, "b:score": SCORE})
    assert made.modalities == ("text", "audio", "vision", "gaze")
    assert made.task_index("a:score") == 0
    assert made.tasks_of("b") == ("b:score",)


def test_configurations_are_frozen(small):
    with pytest.raises(dataclasses.FrozenInstanceError):
        small.width = 3
    with pytest.raises(TypeError, match="cannot be changed"):
        small.widths["talks"] = {}


def test_configurations_and_modules_are_static_arguments(small):
    """Equal ones share a program, others do not, be it by the order of tasks alone."""
    traced = []

    @functools.partial(jax.jit, static_argnums=0)
    def width(module, x):
        traced.append(module)
        return x * module.config.width

    order = list(small.tasks)
    turned = small.changed(tasks={task_id: small.tasks[task_id] for task_id in order[::-1]})
    same = small.changed(tasks={task_id: small.tasks[task_id] for task_id in order})
    for each in (small, same, turned):
        assert width(build(each), 1.0) == small.width
    assert len(traced) == 2 and hash(same) == hash(small) and turned != small


def test_context_that_nobody_asks_about_stays():
    spec = TaskSpec("mood", "classification", ("accuracy",), ("a", "b"))
    base = HaemsaConfig(
        {"one": {"text": 2}, "two": {"text": 2}}, {"one:mood": spec, "two:mood": spec},
        context={"one": (8, 2), "two": (4, 0)},
    )  # fmt: skip
    talking = ["one", "two"]
    assert context_of(talking, ({}, {}), base) == {"one": (8, 2), "two": (4, 0)}
    assert context_of(talking, ({"two": 1}, {}), base) == {"one": (8, 2), "two": (1, 0)}
    assert context_of(talking, ({}, {"one": 0}), base) == {"one": (8, 0), "two": (4, 0)}
    assert context_of(talking, ({"two": 1}, {}), None) == {"one": (0, 0), "two": (1, 0)}


@pytest.mark.parametrize("number", ["-1", "", "\u00b2", "9" * 5000, "1e3", "other=1"])
def test_flags_of_data_sets_hold_small_whole_numbers(number):
    assert per_dataset("past", ["8", "a=4"], ["a", "b"]) == {"a": 4, "b": 8}
    with pytest.raises(InputError, match=f"^--past={number}: expected a number, or DATASET=number"):
        per_dataset("past", [number], ["a"])


def test_an_utterance_is_not_cut_without_end():
    task = {"d:m": TaskSpec("m", "regression", ("mae",), range=(-1.0, 1.0))}
    with pytest.raises(InputError, match="utterance_steps=1000000 must lie in 1 to 1024"):
        MfnConfig({"d": {"text": 3}}, task, utterance_steps=10**6)


@pytest.mark.parametrize("network", [HaemsaConfig, LateFusionConfig, MultConfig, EmtConfig])
def test_what_is_built_part_by_part_is_not_without_end(network):
    task = {"d:m": TaskSpec("m", "regression", ("mae",), range=(-1.0, 1.0))}
    name = "depth" if network is HaemsaConfig else "layers"
    with pytest.raises(InputError, match=f"{name}=1000000 must lie in 1 to 64"):
        network({"d": {"text": 3}}, task, **{name: 10**6})


@pytest.mark.parametrize("name", ["seeds", "batch_size"])
def test_seeds_and_batches_have_an_end(name):
    with pytest.raises(InputError, match=f"{name}=1000000 must be at most 65,536"):
        TrainConfig(**{name: 10**6})
