"""Who speaks: the speaker of the target or another, as tokens of the context say it."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import as_model, made, params_of
from samples import utterances
from test_specialise import SIZES

from haemsa_jax import InputError, Predictor
from haemsa_jax.data.batches import device_split, gather, piece
from haemsa_jax.inference import standalone
from haemsa_jax.inference.export import export
from haemsa_jax.models import Rates, build, default_structure
from haemsa_jax.sample import OTHER, SAME, UNKNOWN
from haemsa_jax.structure.size import parameters
from haemsa_jax.structure.specialise import specialise
from haemsa_jax.testing import check_model
from haemsa_jax.training.measurement.evaluation import evaluate
from haemsa_jax.training.measurement.normalization import make_constants
from launch import tasks

NAMES = ("ann", "", "ben", "ann", "cleo", "ben", "ann")


def with_speakers(dataset, names=NAMES):
    """Seven names over and over, in dialogues of five."""
    splits = {
        name: dataclasses.replace(split, speakers=[names[k % 7] for k in range(len(split))])
        for name, split in dataset.splits.items()
    }
    return dataclasses.replace(dataset, splits=splits)


@pytest.fixture(scope="module")
def told(solo):
    return with_speakers(solo)


@pytest.fixture(scope="module")
def network(lone, told):
    return lone.changed(speakers=(told.name,), context={told.name: (2, 1)})


def test_a_window_says_who_speaks(told):
    split = device_split(told.splits["train"])
    expected = {
        5: [UNKNOWN, UNKNOWN, SAME, OTHER],  # those before are of another dialogue
        7: [OTHER, SAME, SAME, UNKNOWN],  # ben, ann, ann, nobody known
        8: [UNKNOWN] * 4,
    }
    cut = piece(split, {"score": np.array([5, 7, 8])}, 2, 1, capacity=12)
    for place, relations in expected.items():
        for of in (split, cut):
            sample = gather(jax.device_put(of), of.rows["score"][place], jnp.int32(0), 2, 1)
            seen = np.where(sample.masks["text"], sample.speakers["text"], -1)
            wanted = np.repeat(relations, 3)
            np.testing.assert_array_equal(seen, np.where(sample.masks["text"], wanted, -1))


def test_without_names_samples_say_nothing(solo):
    split = jax.device_put(device_split(solo.splits["train"]))
    assert gather(split, 7, jnp.int32(0), 2, 1).speakers == {}


def outputs(network, params, dataset, structure=None):
    constants = make_constants(network, {"talks": dataset})
    data = jax.device_put(device_split(dataset.splits["train"]))
    window = network.context_of("talks")

    @jax.jit
    def run(params, structure):
        samples = jax.vmap(lambda row: gather(data, row, row % 3, *window))(jnp.arange(40))
        variables = {"params": params, "constants": constants}
        return build(network).apply(variables, samples, structure, Rates(), "talks").predictions

    return run(params, default_structure(network) if structure is None else structure)


def differ(left, right):
    return {task_id: bool(np.abs(left[task_id] - right[task_id]).max() > 1e-4) for task_id in left}


@pytest.mark.parametrize("name", sorted(SIZES))
def test_every_model_is_told(small, solo, told, name):
    widths, sizes = {"talks": dict(solo.widths)}, SIZES[name]
    silent = as_model(name, small, widths=widths, context={"talks": (2, 1)}, **sizes)
    network = silent.changed(speakers=("talks",))
    params = params_of(network)
    names = with_speakers(solo, ("ann", "ben", "ann", "ann", "ben", "ben", "ann"))
    of_names, of_others = (outputs(network, params, data) for data in (told, names))
    assert all(differ(of_names, of_others).values())
    # Of those whom nobody knows nothing is added: the network is the one that is never told.
    unknown = outputs(network, params, solo)
    stem = {k: v for k, v in params["stem_talks_text"].items() if k != "speakers"}
    without = outputs(silent, {**params, "stem_talks_text": stem}, told)
    for task_id, expected in without.items():  # another program, so to rounding
        np.testing.assert_allclose(unknown[task_id], expected, rtol=1e-5, atol=1e-5)
    # A task whose gene shuts speakers out.
    structure = {**default_structure(network), "speakers/talks:mood": np.int32(0)}
    deaf = outputs(network, params, told, structure)
    for task_id, rows, expected in (
        ("talks:mood", slice(1, None, 3), unknown),
        ("talks:score", slice(0, None, 3), of_names),
    ):
        np.testing.assert_allclose(
            deaf[task_id][rows], expected[task_id][rows], rtol=1e-5, atol=1e-5
        )


def test_it_keeps_the_protocol(slim):
    check_model(slim.changed(speakers=("talks",)), structures=4)


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({}, True),
        ({"speakers/talks:score": 0}, True),
        ({f"speakers/talks:{task}": 0 for task in ("score", "mood", "tags")}, False),
        ({f"{side}/talks:{task}": 0 for side in ("past", "future")
          for task in ("score", "mood", "tags")}, False),
        ({"past/talks:mood": 0, "future/talks:mood": 0, "speakers/talks:score": 0,
          "speakers/talks:tags": 0}, False),
    ],
)  # fmt: skip
def test_the_small_network_is_told_what_is_used(network, told, changes, kept):
    params = params_of(network)
    structure = {**default_structure(network), **{k: np.int32(v) for k, v in changes.items()}}
    small = specialise(network, params, make_constants(network, {"talks": told}), structure)
    assert small.network.reads_speakers("talks") is kept
    assert ("speakers" in small.params["stem_talks_text"]) is kept
    count = sum(x.size for x in jax.tree.leaves(small.params))
    assert parameters(network, structure) == count
    before = outputs(network, params, told, structure)
    after = outputs(small.network, small.params, told, small.structure)
    for place, task_id in enumerate(network.tasks):
        np.testing.assert_allclose(
            after[task_id][place::3], before[task_id][place::3], rtol=1e-5, atol=1e-5
        )


def test_prediction_and_export_hear_who_speaks(network, told, tmp_path):
    trained = made(network, told)
    predictor, split = Predictor(trained), told.splits["test"]
    expected = evaluate(trained, {"talks": told})["talks:score"].predictions.mean(axis=0)
    rows = np.arange(10)
    turns = [
        {**turn, "speaker": split.speakers[row]}
        for row, turn in zip(rows, utterances(split, rows), strict=True)
    ]
    predictions = predictor.predict_dialogue(turns[:5]) + predictor.predict_dialogue(
        [predictor.read(turn) for turn in turns[5:]]
    )
    values = [one.tasks["score"].value for one in predictions if one is not None]
    np.testing.assert_allclose(values, expected[rows], rtol=1e-5, atol=1e-5)
    assert predictions[0].modalities == ("text",)
    silent = predictor.predict_dialogue(utterances(split, range(5)))
    assert abs(silent[3].tasks["score"].value - values[3]) > 1e-4

    assert export(trained, tmp_path, platforms=["cpu"])["interface"]["speakers"] is True
    model = standalone.load(tmp_path)
    text, mask = (x[None, 1:5] for x in (split.features["text"], split.masks["text"]))
    names = [split.speakers[1:5]]
    exported = model(text=text, text_mask=mask, speaker=names)["score"]["mean"][0]
    np.testing.assert_allclose(exported, values[3], rtol=1e-5, atol=1e-5)
    alone = model(text=text, text_mask=mask)["score"]["mean"][0]
    np.testing.assert_allclose(alone, silent[3].tasks["score"].value, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match=r"speaker is .*\[1, 2\]; expected names \[1, 4\]"):
        model(text=text, text_mask=mask, speaker=[["ann", "ben"]])


def test_a_data_set_that_is_not_read_has_no_speakers(lone):
    with pytest.raises(InputError, match=r"speakers of 'films'.*talks"):
        lone.changed(speakers=("films",))


def test_the_flag_finds_speakers_or_says_why_not(monkeypatch, told, solo):
    monkeypatch.setattr(tasks.flags, "FLAGS", types.SimpleNamespace(speakers=True))
    window, alone = {solo.name: (2, 1)}, {solo.name: (0, 0)}
    assert tasks._speakers({solo.name: told}, window, None) == (solo.name,)
    for dataset, context in ((solo, window), (told, alone)):
        with pytest.raises(InputError, match="in talks no speakers are known, or"):
            tasks._speakers({solo.name: dataset}, context, None)
