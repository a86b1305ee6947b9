"""A family of encoders from outside, for audio, beside one of words: frozen and tuned."""

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import params_of
from samples import BERT, utterances

from haemsa_jax.config import TrainConfig, encoder_name, network_from_json, to_json
from haemsa_jax.data.batches import device_split, gather
from haemsa_jax.data.folds import make_partition
from haemsa_jax.encoders import (
    encoder_named,
    read_like,
    register,
    relocated,
    specify,
    with_tokens,
    with_vectors,
)
from haemsa_jax.encoders.places import folders_from
from haemsa_jax.errors import InputError
from haemsa_jax.inference import Predictor
from haemsa_jax.models import LateFusionConfig, Rates, build, constants_at, variables_of
from haemsa_jax.structure.parts import declare, default_structure, shut
from haemsa_jax.structure.specialise import specialise
from haemsa_jax.structure.warm_start import take, trained_encoder
from haemsa_jax.training.engine.loop import Start, make_train
from haemsa_jax.training.measurement.evaluation import evaluate
from haemsa_jax.training.measurement.normalization import begin_with
from haemsa_jax.training.persistence.trained import load_trained

BANDS, WIDTH, LIMIT = 4, 7, 3
CONFIG = TrainConfig(epochs=1, batch_size=16, encoder_rate=0.5)
ONE = jax.local_devices()[:1]


@dataclass(frozen=True)
class Bands:
    """Shapes of the toy."""

    bands: int
    width: int

    marks: ClassVar[bool] = False


class Filter(nn.Module):
    """One layer on frames of a spectrum."""

    shapes: Bands

    @nn.compact
    def __call__(self, x, mask):
        return jnp.where(mask[..., None], jnp.tanh(nn.Dense(self.shapes.width, name="out")(x)), 0.0)


@dataclass(frozen=True)
class Frames:
    """N clips of frames."""

    values: np.ndarray
    mask: np.ndarray


@dataclass(frozen=True)
class Filters:
    """Weights of the toy, by the number that is its name."""

    folder: Path
    family: ClassVar[str] = "filter"
    config: ClassVar[Bands] = Bands(BANDS, WIDTH)

    @property
    def fingerprint(self):
        return f"filter {self.folder.name}"

    @property
    def params(self):
        rng = np.random.default_rng(int(self.folder.name))
        kernel = rng.normal(size=(BANDS, WIDTH)).astype(np.float32)
        return {"out": {"kernel": kernel, "bias": np.zeros(WIDTH, np.float32)}}

    placed = params

    def tokenise(self, raw, max_tokens):
        lengths = np.array([min(len(clip), max_tokens) for clip in raw])
        values = np.zeros((len(raw), max(1, lengths.max()), BANDS), np.float32)
        for row, clip, length in zip(values, raw, lengths, strict=True):
            row[:length] = clip[:length]
        return Frames(values, np.arange(values.shape[1]) < lengths[:, None])


class FilterFamily:
    """What the library asks of a family, and no more."""

    family, modality, raw = "filter", "audio", "frames"
    modes, shapes = ("frozen", "pooled", "tuned"), Bands

    def read(self, name):
        return Filters(Path(name))

    def has_raw(self, dataset):
        return "audio" in dataset.widths

    def raw_of(self, split):
        rows = zip(split.features["audio"], split.masks["audio"], strict=True)
        return [frames[mask] for frames, mask in rows]

    def given(self, value, speaker):
        return value if np.ndim(value) == 2 and np.shape(value)[1] == BANDS else None

    def module(self, shapes, *, rank=0, precision="float32", marks=False, name=None):
        assert not rank and not marks
        return Filter(shapes, name=name)

    def encode(self, module, values, mask, *, dropout=0.0, longest=None, marked=None, adapters=1.0):
        return module(values, mask)

    def split(self, params):
        return {}, dict(params)

    def fold(self, params, weight=1.0):
        return dict(params)

    def unmark(self, params):
        return dict(params)

    def slow(self, updates, rate, decay):
        return jax.tree.map(lambda x: rate * x, dict(updates))


FILTER = register(FilterFamily())


@pytest.fixture(scope="module")
def recorded(pair):
    """Words and frames; both say what the score is."""

    def tell(split):
        good = split.labels["score"] > 0
        words = ["good" if g else "the plot was bad" + " !" * (i % 3) for i, g in enumerate(good)]
        return dataclasses.replace(split, words=words)

    splits = {name: tell(split) for name, split in pair.splits.items()}
    return dataclasses.replace(pair, splits=splits, tasks={"score": pair.tasks["score"]})


@pytest.fixture(scope="module", params=["tuned", "frozen"])
def made(request, recorded, pretrained, tmp_path_factory):
    """Both encoders in one mode, trained for an epoch: data, network, first weights, result."""
    mode, filters = request.param, FILTER.read("1")
    encoders = {
        "text": specify(pretrained, BERT, max_tokens=8, mode=mode, datasets=("talks",)),
        "audio": specify(filters, "1", max_tokens=LIMIT, mode=mode, datasets=("talks",)),
    }
    read = with_tokens if mode == "tuned" else with_vectors
    data = read(read(recorded, pretrained, 8), filters, LIMIT)
    network = LateFusionConfig(
        widths={"talks": dict(data.widths)},
        tasks={"talks:score": data.tasks["score"]},
        context={"talks": (1, 0)},
        width=8,
        encoders=encoders,
    )
    given = {}
    if mode == "tuned":
        given = {"encoder_text": pretrained.params, "encoder_audio": filters.params}
    directory = tmp_path_factory.mktemp(mode)
    start = Start(default_structure(network), given, {})
    make_train(network, CONFIG, {"talks": data}, ONE, start=start)(directory)
    return mode, data, network, given, load_trained(directory)


def test_two_encoders_side_by_side(made):
    mode, data, network, given, trained = made
    within = ("text", "audio") if mode == "tuned" else ()
    assert network_from_json(to_json(network)) == network == trained.experiment.network
    assert network.encoded() == network.encoded("talks") == within
    assert [network.marks(m) for m in ("text", "audio")] == [mode == "tuned", False]
    assert data.widths == ({"text": 1, "audio": BANDS} if within else {"text": 12, "audio": WIDTH})
    assert network.width_of("talks", "audio") == WIDTH
    parts = {part.name for part in declare(network).parts if part.kind == "encoder"}
    assert parts == ({"encoder/text", "encoder/text/mark", "encoder/audio"} if within else set())
    for name, before in given.items():
        moved = jax.tree.map(
            lambda new, old: np.abs(new[0] - old).max(),
            *({key: tree[key] for key in before} for tree in (trained.params[name], before)),
        )
        assert max(jax.tree.leaves(moved)) > 1e-5, name
    assert not {encoder_name(m) for m in network.encoders} - {*given} & {*trained.params}


def test_without_audio_its_encoder_is_gone(made):
    _, data, network, given, trained = made
    structure = shut(network, default_structure(network), ["modality/audio"])
    params = params_of(network)
    constants = constants_at(trained.constants, 0)
    cut = specialise(network, params, constants, structure)
    assert "encoder_audio" not in cut.params
    assert ("encoder_text" in cut.params) == bool(given)
    rows, split = jnp.arange(12), jax.device_put(device_split(data.splits["test"]))

    @jax.jit
    def both(split):
        def of(network, params, constants, structure):
            window = network.context_of("talks")
            samples = jax.vmap(lambda row: gather(split, row, jnp.int32(0), *window))(rows)
            variables = variables_of(params, constants)
            out = build(network).apply(variables, samples, structure, Rates(), "talks")
            return out.predictions["talks:score"]

        return of(network, params, constants, structure), of(
            cut.network, cut.params, cut.constants, cut.structure
        )

    whole, small = both(split)
    np.testing.assert_allclose(small, whole, atol=1e-5)
    assert np.std(whole) > 1e-3


def test_raw_input_is_predicted_as_it_was_evaluated(made, recorded):
    _, data, _, _, trained = made
    split = recorded.splits["test"]
    expected = evaluate(trained, {"talks": data}, "test", ONE)["talks:score"].predictions[0]
    rows = np.flatnonzero(split.group == split.group[0])
    dialogue = [
        {"text": split.words[row], **{m: x for m, x in clip.items() if m == "audio"}}
        for row, clip in zip(rows, utterances(split, rows), strict=True)
    ]
    predictor = Predictor(trained)
    predictions = predictor.predict_dialogue(dialogue)
    values = [prediction.tasks["score"].value for prediction in predictions]
    np.testing.assert_allclose(values, expected[rows].ravel(), atol=2e-3)
    folders = {"audio": "1", "text": BERT}
    again = Predictor(trained, encoder=folders).predict_dialogue(dialogue)
    assert again == predictions
    # What was read stands in the place of what was given.
    assert predictor.predict_dialogue([predictor.read(clip) for clip in dialogue]) == predictions


def test_an_encoder_is_known_by_its_fingerprint(pretrained, tmp_path, monkeypatch):
    """Whatever its folder is called, and from wherever that is looked for."""
    shutil.copytree(BERT, tmp_path / "bert")
    monkeypatch.chdir(tmp_path)
    settings = {"max_tokens": 8, "mode": "frozen", "datasets": ("talks",)}
    spec, here = specify(pretrained, BERT, **settings), specify(pretrained, "bert", **settings)
    assert here == spec and hash(here) == hash(spec) and here.encoder == str(tmp_path / "bert")
    monkeypatch.chdir("/")
    assert read_like(here).fingerprint == spec.fingerprint
    (tmp_path / "bert").rename(tmp_path / "moved")
    with pytest.raises(
        InputError, match=f"'{tmp_path}/bert' is no folder.* by --encoder, or by --"
    ):
        read_like(here)
    (moved,) = relocated({"text": here}, tmp_path / "moved").values()
    assert read_like(moved).folder == tmp_path / "moved"
    # Its folder's name is no part of what was made with it.
    assert moved == here


def test_where_encoders_lie_is_told_by_modality(made):
    specs = made[2].encoders
    assert folders_from([], specs) is None
    assert folders_from(["a=b"], specs) == "a=b"
    both = folders_from(["text=a", "audio=b=c"], specs)
    assert {m: spec.encoder for m, spec in relocated(specs, both).items()} == {
        "text": "a", "audio": "b=c",
    }  # fmt: skip
    assert relocated(specs, {"audio": "2"})["text"].encoder == str(BERT)
    with pytest.raises(InputError, match="encoder vision=a: there are encoders of text, audio; l"):
        relocated(specs, {"vision": "a"})
    with pytest.raises(InputError, match="encoder=a: there are encoders of nothing; leave it away"):
        relocated({}, "a")


def test_what_does_not_fit(made):
    mode, data, network, _, trained = made
    with pytest.raises(InputError, match="the audio encoder 2 is another than the network was"):
        Predictor(trained, encoder={"audio": "2"})
    with pytest.raises(InputError, match="there are encoders of text, audio; give folders by mod"):
        Predictor(trained, encoder="1")
    if mode == "tuned":
        with pytest.raises(InputError, match="audio must be frames: the network has its own enc"):
            Predictor(trained).predict(audio=np.ones((2, 9)))
        adapted = dataclasses.replace(network.encoders["text"], mode="adapted")
        other = network.changed(encoders={**network.encoders, "text": adapted})
        with pytest.raises(InputError, match=r"weights are missing .* as 'encoder_text'"):
            begin_with(other, make_partition({"talks": data}), {})
    with pytest.raises(InputError, match="the encoder of 'vision' reads 'audio'"):
        network.changed(encoders={"vision": network.encoders["audio"]})
    with pytest.raises(
        InputError, match="of family 'filter' cannot be adapted; choose from frozen"
    ):
        specify(FILTER.read("1"), "1", max_tokens=2, mode="adapted", datasets=())
    with pytest.raises(InputError, match="family 'bert' is registered already"):
        register(dataclasses.make_dataclass("Other", [("family", str)])("bert"))
    with pytest.raises(InputError, match="the encoder family 'wav' is unknown; choose from "):
        encoder_named("wav")


def test_a_new_network_takes_the_encoders_that_are_its_own(made):
    mode, _, network, _, trained = made
    if mode == "frozen":
        with pytest.raises(InputError, match=r"the run trained no audio encoder .1 as published"):
            trained_encoder(trained, "audio")
        return
    taken = take(network, CONFIG, trained)
    assert not taken.new
    learnt = trained_encoder(trained, "audio")
    jax.tree.map(np.testing.assert_array_equal, taken.params["encoder_audio"], learnt)
    other = dataclasses.replace(network.encoders["audio"], fingerprint="filter 2")
    changed = network.changed(encoders={**network.encoders, "audio": other})
    assert take(changed, CONFIG, trained).new == ("encoder_audio",)
