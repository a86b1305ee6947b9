"""Acoustic features of recordings: a network knows those it was trained on, and refuses others."""

import csv
import json
import os
import shutil
import sys
import tarfile
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile
from networks import made

from haemsa_jax import Dataset, InputError, Predictor, Split, TaskSpec
from haemsa_jax.data import recordings
from haemsa_jax.inference.files import read_rows
from haemsa_jax.models.haemsa import HaemsaConfig

REAL = Path(os.environ.get("HAEMSA_DATA") or Path(__file__).parents[2] / "shared" / "data")
IS09 = "384 openSMILE IS09 functionals"
RATE = 16_000


def record(path: Path, seconds: float) -> Path:
    """A voice of a kind: a wavering tone that comes and goes."""
    time = np.arange(int(RATE * seconds)) / RATE
    pitch = 150 + 30 * np.sin(3 * time)
    tone = 0.3 * np.sin(2 * np.pi * np.cumsum(pitch) / RATE) * (np.sin(9 * time) > -0.5)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((tone * 32767).astype("<i2").tobytes())
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return record(tmp_path_factory.mktemp("clips") / "clip.wav", 1.5)


@pytest.fixture(scope="module")
def heard() -> Dataset:
    """Utterances of which one vector of openSMILE is known."""
    rng = np.random.default_rng(0)

    def split(name, count):
        return Split(
            {"audio": rng.normal(size=(count, 1, 384)).astype(np.float32)},
            {"audio": np.ones((count, 1), bool)},
            {"mood": rng.uniform(-1, 1, count).astype(np.float32)}, {"mood": np.ones(count, bool)},
            np.arange(count, dtype=np.int32), [f"{name} {k}" for k in range(count)],
        )  # fmt: skip

    splits = {name: split(name, 20) for name in ("train", "validation")}
    task = TaskSpec("mood", "regression", ("mae", "corr"), range=(-1, 1))
    return Dataset("heard", {"audio": 384}, {"mood": task}, splits, {"audio": IS09})


@pytest.fixture(scope="module")
def trained(heard):
    network = HaemsaConfig(
        {"heard": heard.widths}, {"heard:mood": heard.tasks["mood"]}, width=8, depth=1, heads=2,
        link_width=4, fusion_rank=2,
    )  # fmt: skip
    return made(network, heard)


def test_features_have_a_name(clip):
    assert recordings.provenance("IS09") == IS09
    assert recordings.extract(clip, IS09).shape == (1, 384)
    np.testing.assert_array_equal(recordings.extract(clip, "IS09"), recordings.extract(clip, IS09))
    each = recordings.provenance("eGeMAPSv02", "low-level descriptors")
    assert each == "25 openSMILE eGeMAPSv02 low-level descriptors"
    features = recordings.extract(clip, each)
    assert features.dtype == np.float32 and features.shape[1] == 25
    assert 140 <= len(features) <= 150  # one every 10 ms, less the ends
    for wrong, words in (
        (("GeMAPSv99",), "no 'GeMAPSv99'; choose"),
        (("IS09", "all"), "level='all'"),
    ):
        with pytest.raises(InputError, match=words):
            recordings.provenance(*wrong)


def voice(seconds: float = 1.5) -> np.ndarray:
    """A voice in steps of 1/128, which 8 bits hold, at most half as loud as can be."""
    time = np.arange(int(RATE * seconds)) / RATE
    return np.round(64 * np.sin(2 * np.pi * 150 * time) * (np.sin(9 * time) > -0.5)) / 128


@pytest.mark.parametrize("channels", [(1, 1), (2, 0), (0, 2), (0, 0, 1.5, 2.5), (3, 0, 0)])
def test_what_is_heard_is_the_mean_of_the_channels(tmp_path, channels):
    """Whoever speaks on the right alone is heard as well; so is nothing but their difference."""
    expected = tmp_path / "mono.wav"
    soundfile.write(expected, voice() / 2, RATE, subtype="PCM_24")
    soundfile.write(
        tmp_path / "several.wav", voice()[:, None] / 2 * channels, RATE, subtype="PCM_24"
    )
    np.testing.assert_array_equal(
        recordings.extract(tmp_path / "several.wav", IS09), recordings.extract(expected, IS09)
    )


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_any_precision_of_samples_is_heard_alike(tmp_path, subtype):
    for name, kind in (("expected.wav", "PCM_16"), ("clip.wav", subtype)):
        soundfile.write(tmp_path / name, voice(), RATE, subtype=kind)
    np.testing.assert_array_equal(
        recordings.extract(tmp_path / "clip.wav", IS09),
        recordings.extract(tmp_path / "expected.wav", IS09),
    )


def test_samples_beyond_the_loudest_stay_the_loudest(tmp_path):
    """Numbers may be larger than 1; in 16 bits they would change their sign."""
    loud, limit = 4 * voice(), 1 - 2.0**-15
    soundfile.write(tmp_path / "loud.wav", loud, RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "cut.wav", np.clip(loud, -1, limit), RATE, subtype="PCM_16")
    np.testing.assert_array_equal(
        recordings.extract(tmp_path / "loud.wav", IS09),
        recordings.extract(tmp_path / "cut.wav", IS09),
    )
    soundfile.write(tmp_path / "bad.wav", np.append(loud, np.nan), RATE, subtype="FLOAT")
    with pytest.raises(InputError, match=r"bad.wav holds samples that are no finite numbers"):
        recordings.extract(tmp_path / "bad.wav", IS09)


# openSMILE's own word on it.
@pytest.mark.filterwarnings("ignore:Segment too short")
@pytest.mark.parametrize(
    ("content", "provenance", "words"),
    [
        (1.5, "74 COVAREP, a mean a word", "is a recording, but the audio wanted is '74 COVAREP"),
        (1.5, "383 openSMILE IS09 functionals", "openSMILE's IS09 has 384 functionals"),
        (0.0, IS09, "too short or holds no sound"),
        (b"no sound", IS09, "cannot be read as a recording"),
        (None, IS09, "there is no recording"),
    ],
)
def test_what_cannot_be_heard(tmp_path, content, provenance, words):
    path = tmp_path / "clip.wav"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        record(path, content)
    with pytest.raises(InputError, match=words):
        recordings.extract(path, provenance)


def test_without_the_package(clip, monkeypatch):
    monkeypatch.setitem(sys.modules, "opensmile", None)
    with pytest.raises(InputError, match="pip install opensmile"):
        recordings.extract(clip, IS09)


def test_a_clip_is_predicted_from_its_recording(trained, clip, tmp_path):
    predictor = Predictor(trained)
    expected = predictor.predict(audio=recordings.extract(clip, IS09))
    assert predictor.predict(audio=clip) == predictor.predict(audio=str(clip)) == expected
    both = predictor.predict(audio=[clip, record(tmp_path / "longer.wav", 2.0)])
    assert both[0].tasks["mood"].value == pytest.approx(expected.tasks["mood"].value, abs=1e-5)
    assert both[1] != both[0]
    with pytest.raises(InputError, match="there is no recording"):
        predictor.predict(audio="nowhere.wav")


def test_features_of_another_origin_are_refused(trained, clip):
    about = trained.experiment.data["heard"]
    about["provenance"], kept = {"audio": "384 of our own"}, about["provenance"]
    try:
        with pytest.raises(InputError, match="the audio wanted is '384 of our own'"):
            Predictor(trained).predict(audio=clip)
    finally:
        about["provenance"] = kept


def test_recordings_and_transcripts_of_a_file(clip, tmp_path):
    (clip.parent / "said.txt").write_text("so well\n")
    rows = [
        {"audio": clip.name, "transcript": "said.txt"},
        {"text": "well", "transcript": "said.txt"},
        {"transcript": "none.txt"},
        {"audio": [0.5, 1.0]},
    ]
    (clip.parent / "in.jsonl").write_text("\n".join(map(json.dumps, rows)))
    read = list(read_rows(clip.parent / "in.jsonl", {"audio": 384, "text": 8}))
    assert read[0].utterance == {"audio": clip, "text": "so well"}
    assert "a text and a transcript" in read[1].error and read[1].utterance is None
    assert "its transcript cannot be read" in read[2].error
    assert read[3].utterance == {"audio": [0.5, 1.0]}
    (clip.parent / "in.csv").write_text(f"id,audio\na,{clip.name}\n")
    (row,) = read_rows(clip.parent / "in.csv", {"audio": 384})
    assert (row.id, row.utterance) == ("a", {"audio": clip})


def test_a_table_names_files_of_its_own_folder_alone(clip, tmp_path):
    """Whoever predicts a table that somebody else made does not mean files of other folders."""
    table, inside = tmp_path / "table", tmp_path / "table" / "clips"
    inside.mkdir(parents=True)
    shutil.copy(clip, inside / "own.wav")
    (tmp_path / "secret.txt").write_text("secret")
    (table / "link.txt").symlink_to(tmp_path / "secret.txt")
    rows = [
        {"audio": "clips/own.wav"}, {"audio": str(inside / "own.wav")}, {"audio": str(clip)},
        {"transcript": "../secret.txt"}, {"transcript": "link.txt"}, {"transcript": "a\0b"},
    ]  # fmt: skip
    (table / "in.jsonl").write_text("\n".join(map(json.dumps, rows)))
    first, second, *outside, garbled = read_rows(table / "in.jsonl", {"audio": 384, "text": 8})
    assert first.utterance == second.utterance == {"audio": inside / "own.wav"}
    for row, name in zip(outside, (str(clip), "../secret.txt", "link.txt"), strict=True):
        assert row.utterance is None and f"{name!r} lies outside of {table}" in row.error
        assert "--files_from" in row.error
    assert garbled.utterance is None and "null" in garbled.error
    (table / "in.csv").write_text("audio\nown.wav\nclips/own.wav\n")
    rows = list(read_rows(table / "in.csv", {"audio": 384}, files_from=inside))
    assert rows[0].utterance == {"audio": inside / "own.wav"}
    with pytest.raises(InputError, match="there is no folder"):
        read_rows(table / "in.csv", {"audio": 384}, files_from=tmp_path / "none")


def test_hazumi_was_heard_by_the_same_set():
    """Its columns bear openSMILE's own names of IS09, in openSMILE's order."""
    archive = REAL / "hazumi" / "Hazumi2010.tar.xz"
    if not archive.exists():
        found = sorted((REAL / "hazumi").glob("*2010*"))
        if not found:
            pytest.skip(f"no Hazumi at {REAL}")
        archive = found[0]
    import opensmile

    with tarfile.open(archive) as files:
        name = next(n for n in files.getnames() if n.endswith(".csv") and "dumpfiles" in n)
        text = files.extractfile(name).read().decode("utf-8-sig")
    header = [column.strip() for column in next(csv.reader(text.splitlines(keepends=True)))]
    names = opensmile.Smile("IS09", "Functionals").feature_names
    first = header.index(names[0])
    assert header[first : first + 384] == names
