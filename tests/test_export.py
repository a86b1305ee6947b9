"""An exported network says the same, where this library is not there."""

import dataclasses
import json
import subprocess

import numpy as np
import pytest
from networks import made
from safetensors.numpy import load_file
from samples import utterances

from haemsa_jax import InputError, Predictor
from haemsa_jax.inference import standalone
from haemsa_jax.inference.export import export
from haemsa_jax.reporting.card import COMMANDS, model_card

ELSEWHERE = """
import sys
for name in ("haemsa_jax", "flax", "optax", "orbax", "safetensors"): sys.modules[name] = None
import numpy as np, standalone
model = standalone.load(".")
with np.load("in.npz") as file: arrays = dict(file)
said = model(**arrays)
half = model(**{name: x[:1] for name, x in arrays.items() if name.startswith("text")})
np.savez("out.npz", **{f"{task}_{what}": x for task, of in said.items() for what, x in of.items()},
         text_alone=half["score"]["mean"])
bad = arrays["audio"].copy()
bad[3, 1, 2, 0] = np.nan
one = np.zeros(bad.shape[:3], bool)
one[3, 1, 2] = True
model(audio=bad, audio_mask=~one)  # what the mask leaves out is not read
for wrong in ({"smell": arrays["text"]}, {"text": arrays["text"][..., :2]},
              {"audio": bad, "audio_mask": one}):
    try: model(**wrong)
    except ValueError as error: print(error)
"""


READS = {"score": ["text"], "mood": ["text", "audio"], "tags": ["text"]}
TOKENS = {"text": 4, "audio": 5, "vision": 6}


@pytest.fixture(scope="module")
def trained(small, talks):
    return made(dataclasses.replace(small, sharing="imputed"), talks)


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    directory = tmp_path_factory.mktemp("exported")
    return directory, export(trained, directory, networks=2)


def test_it_runs_without_the_library(trained, exported, talks, environment):
    """A window is an utterance before, the target and one after; some lack a modality."""
    directory, _ = exported
    split = talks.splits["test"]
    arrays = {}
    for m, values in split.features.items():
        arrays[m], arrays[f"{m}_mask"] = (
            values[:30].reshape(10, 3, *values.shape[1:]),
            (split.masks[m][:30].reshape(10, 3, -1)),
        )
    np.savez(directory / "in.npz", **arrays)
    bare = {name: x for name, x in environment.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [environment["PYTHON"], "-W", "error", "-c", ELSEWHERE],
        cwd=directory, env=bare, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "got ['smell']; expected some of ['audio', 'text', 'vision']" in done.stdout
    assert "text has shape (10, 3, 3, 2); expected (10, 3, T, 6), T from 1 to 3 t" in done.stdout
    assert "audio is nan at sample, utterance, token, column [3, 1, 2, 0]" in done.stdout
    predictor = Predictor(trained)
    windows = [predictor.predict_dialogue(utterances(split, range(3 * k, 3 * k + 3)))[1]
               for k in range(10)]  # fmt: skip
    with np.load(directory / "out.npz") as said:
        for what, got in (("mean", "value"), ("spread", "spread")):
            expected = [getattr(one.tasks["score"], got) for one in windows]
            np.testing.assert_allclose(said[f"score_{what}"], expected, rtol=1e-5, atol=1e-5)
        for task in ("mood", "tags"):
            expected = [list(one.tasks[task].probabilities.values()) for one in windows]
            np.testing.assert_allclose(said[f"{task}_mean"], expected, atol=1e-5)
        expected = [list(one.tasks["mood"].spread.values()) for one in windows]
        np.testing.assert_allclose(said["mood_spread"], expected, atol=1e-5)
        assert abs(said["text_alone"] - said["score_mean"][:1]) > 1e-3


def test_a_single_network_has_no_spread(trained, talks, tmp_path):
    export(trained, tmp_path, networks=1, platforms=["cpu"])
    text = np.zeros((2, 3, 3, talks.widths["text"]), np.float32)
    said = standalone.load(tmp_path)(text=text)
    assert said["score"]["spread"] is said["mood"]["spread"] is None
    assert said["score"]["mean"].shape == (2,)


def test_weights_and_configuration_lie_beside_it(trained, exported):
    directory, config = exported
    ours, theirs = (
        standalone.read_safetensors(directory / standalone.WEIGHTS),
        load_file(directory / standalone.WEIGHTS),
    )
    assert ours.keys() == theirs.keys()
    for name, values in theirs.items():
        np.testing.assert_array_equal(ours[name], values)
    np.testing.assert_array_equal(ours["params/queries"], trained.params["queries"])
    told = json.loads((directory / standalone.CONFIG).read_text())
    assert told["interface"]["context"] == [1, 1]
    assert told["interface"]["reads"] == {task: ["text", "audio", "vision"] for task in READS}
    assert told["experiment"]["network"]["sharing"] == "imputed"
    assert told["jax"]["platforms"] == ["cpu", "cuda", "tpu"]
    assert config["jax"]["calling_convention"] == told["jax"]["calling_convention"] > 8
    damaged = (directory / standalone.WEIGHTS).read_bytes()[:-4]
    (directory / "damaged").write_bytes(damaged)
    with pytest.raises(ValueError, match="is damaged at"):
        standalone.read_safetensors(directory / "damaged")


class Called:
    """In place of a program: returns what it is given."""

    def call(self, weights, features, masks):
        return {"seen": {m: (features[m], masks[m]) for m in features}}


def model_of(context):
    tasks = {"ui": {}}
    interface = {"widths": {"text": 2}, "tokens": {"text": 4}, "context": context, "tasks": tasks}
    return standalone.Model({**interface, "reads": {"ui": ["text"]}}, Called(), {})


def test_any_length_up_to_the_limit_is_padded():
    text = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    mask = np.array([[True, True, False], [True, True, True]])
    features, masks = model_of([0, 0])(text=text, text_mask=mask)["seen"]["text"]
    assert features.shape == (2, 1, 4, 2) and masks.shape == (2, 1, 4)
    np.testing.assert_array_equal(features[:, 0, :3], np.where(mask[..., None], text, 0))
    np.testing.assert_array_equal(masks[:, 0, :3], mask)
    assert not masks[:, 0, 3].any() and not features[:, 0, 3].any()


@pytest.mark.parametrize(
    ("context", "shape", "message"),
    [
        (
            [0, 0],
            (2, 9, 2),
            "(2, 9, 2); expected (2, T, 2), T from 1 to 4 tokens; cut it, or export",
        ),
        ([0, 0], (2, 0, 2), "(2, 0, 2); expected (2, T, 2), T from 1 to 4 tokens; "),
        ([0, 0], (2, 3), "(2, 3); expected (2, T, 2), T from 1 to 4 tokens"),
        ([0, 0], (2, 3, 5), "(2, 3, 5); expected (2, T, 2), T from 1 to 4 tokens"),
        ([1, 0], (2, 3, 2), "(2, 3, 2); expected (2, 2, T, 2), T from 1 to 4 tokens, 1 utterances"),
        ([1, 0], (2, 2, 9, 2), "1 utterances before the target, it, 0 after it; cut it: with con"),
    ],
)
def test_a_shape_that_does_not_fit_is_told_as_it_was_given(context, shape, message):
    with pytest.raises(ValueError) as caught:
        model_of(context)(text=np.zeros(shape, np.float32))
    assert message in str(caught.value)


def test_a_mask_of_another_shape():
    with pytest.raises(ValueError, match=r"text_mask has shape \(2, 4\); expected \(2, 3\), as te"):
        model_of([0, 0])(text=np.zeros((2, 3, 2), np.float32), text_mask=np.ones((2, 4), bool))


def test_what_cannot_be_exported_is_told(trained, tmp_path):
    with pytest.raises(InputError, match="tokens text=9: with context it is 3"):
        export(trained, tmp_path, tokens={"text": 9})
    with pytest.raises(InputError, match="tokens smell=9: expected a positive number for one of"):
        export(trained, tmp_path, tokens={"smell": 9})
    with pytest.raises(InputError, match="platforms: 'abacus' is unknown; choose from cpu"):
        export(trained, tmp_path, platforms=["abacus"])
    with pytest.raises(InputError, match="platforms: '' is unknown"):
        export(trained, tmp_path, platforms=[])
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write .*under: Not a directory; name another"):
        export(trained, tmp_path / "file" / "under", platforms=["cpu"], networks=1)


def test_its_card(trained, tmp_path):
    blank = model_card(trained, tmp_path, "talks", 1, READS, TOKENS)
    for said in (
        "- `score`: a number in [-9, 9]; from text\n",
        "- `mood`: classification: sad, calm, gay; from text, audio",
        "| audio | 4 | 5 | not known |", "1 utterances before and 1 after", "Not measured: ",
        "The mean of 1 of 2 networks",
    ):  # fmt: skip
        assert said in blank, said
    assert "| vision |" not in blank
    (tmp_path / COMMANDS).write_text("python -m launch.train --tasks=talks\n")
    (tmp_path / "test.json").write_text(
        '{"talks:score": {"<b>net": {"mae": [0.5, 0.7]}}, "radio:score": {"x": {}}}'
    )
    told = model_card(trained, tmp_path, "talks", 1, READS, TOKENS | {"audio": 17})
    assert "| audio | 4 | 17 | not known |" in told
    assert "    python -m launch.train --tasks=talks" in told
    assert "radio" not in told
    assert "|  | MAE ↓ |" in told and "| \\<b>net (2 seeds) | 0.600 ± 0.141 |" in told
