"""What a predictor says is what evaluation says, of whatever there is, or a clear word."""

import csv
import dataclasses
import json
import re
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import MODELS, as_model, made
from samples import BERT, LENGTHS, WIDTHS, utterances

from haemsa_jax import InputError, Prediction, Predictor, evaluate
from haemsa_jax.config import TaskSpec
from haemsa_jax.encoders import specify, with_tokens, with_vectors
from haemsa_jax.encoders.text import read_pretrained
from haemsa_jax.inference.files import Row, pieces, read_rows
from haemsa_jax.inference.inputs import Reader
from haemsa_jax.inference.memory import Capacity
from haemsa_jax.inference.results import TaskPrediction
from haemsa_jax.inference.writer import Writer
from haemsa_jax.structure.parts import shut


@pytest.fixture(scope="module")
def trained(small, talks):
    return made(dataclasses.replace(small, sharing="split"), talks)


@pytest.fixture(scope="module")
def predictor(trained):
    return Predictor(trained)


@pytest.fixture(scope="module")
def clip(talks):
    return utterances(talks.splits["test"], [0])[0]


def test_a_dialogue_is_read_as_in_evaluation(trained, predictor, talks):
    split, said = talks.splits["test"], []
    for group in np.unique(split.group):
        rows = np.flatnonzero(split.group == group)
        said += predictor.predict_dialogue(utterances(split, rows))
    expected = evaluate(trained, {"talks": talks})
    score, mood, tags = (expected[f"talks:{name}"] for name in ("score", "mood", "tags"))
    values = [one.tasks["score"].value for one in said]
    np.testing.assert_allclose(values, score.predictions.mean(axis=0), rtol=1e-5, atol=1e-5)
    spread = [one.tasks["score"].spread for one in said]
    np.testing.assert_allclose(spread, score.predictions.std(axis=0, ddof=1), rtol=1e-5, atol=1e-5)
    shares = [list(one.tasks["mood"].probabilities.values()) for one in said]
    np.testing.assert_allclose(shares, mood.predictions.mean(axis=0), atol=1e-5)
    best = mood.predictions.mean(axis=0).argmax(axis=1)
    assert [one.tasks["mood"].value for one in said] == [mood.spec.classes[k] for k in best]
    labelled = np.flatnonzero(split.labelled["tags"])
    likely = tags.predictions.mean(axis=0) > 0.5
    for row, on in zip(labelled, likely, strict=True):
        assert said[row].tasks["tags"].value == tuple(np.array(tags.spec.classes)[on])
    weights = [one.tasks["score"].gates["fusion"]["concat"] for one in said]
    np.testing.assert_allclose(np.mean(weights), score.gates["fusion"][0], atol=1e-5)


def test_long_dialogues_go_in_pieces(predictor, talks, monkeypatch):
    turns = utterances(talks.splits["train"], range(11))
    whole = predictor.predict_dialogue(turns)
    monkeypatch.setattr("haemsa_jax.inference.predictor.BATCH", 4)
    for one, other in zip(whole, predictor.predict_dialogue(turns), strict=True):
        assert one.tasks["score"].value == pytest.approx(
            other.tasks["score"].value, rel=1e-5, abs=1e-5
        )


def test_one_sample_a_batch_and_padding_agree(predictor, talks):
    clips = utterances(talks.splits["test"], range(5))
    names = list(WIDTHS)
    batch = predictor.predict(**{m: [one.get(m) for one in clips] for m in names})
    for one, of_batch in zip(clips, batch, strict=True):
        alone = predictor.predict(**one)
        assert isinstance(alone, Prediction)
        assert set(alone.modalities) == set(one) == set(of_batch.modalities)
        assert alone.tasks["score"].value == pytest.approx(
            of_batch.tasks["score"].value, rel=1e-5, abs=1e-5
        )
        assert json.loads(json.dumps(alone.to_json()))["tasks"]["score"]["value"]
    same = np.stack([clips[0]["text"][:1]] * 3)
    assert len(predictor.predict(text=same)) == 3


def test_absent_modalities_say_nothing(predictor, clip):
    alone = predictor.predict(text=clip["text"])
    assert alone.modalities == ("text",)
    gates = alone.tasks["mood"].gates
    assert {name for name in gates if name.startswith("local/")} == {"local/text/0"}
    assert "links" not in gates
    assert sum(gates["local/text/0"].values()) == pytest.approx(1.0, abs=1e-5)
    assert gates["specific"] == pytest.approx({"text": 1.0}, abs=1e-5)
    assert alone.tasks["mood"].probabilities.keys() == {"sad", "calm", "gay"}


def test_what_no_task_reads_is_ignored(trained, clip):
    """Of vision nothing is read, for the mood nothing but text: as a search may find."""
    network = trained.experiment.network
    closed = shut(network, trained.structures, ["modality/vision"])
    closed["modalities/talks:mood"][:, network.modalities.index("audio")] = 0
    predictor = Predictor(dataclasses.replace(trained, structures=closed))
    assert list(predictor.modalities) == ["text", "audio"]
    vision, audio = np.ones((2, WIDTHS["vision"])), np.ones((1, WIDTHS["audio"]))
    with pytest.raises(InputError, match="nothing to predict from; give at least one of text, aud"):
        predictor.predict(vision=vision)
    said = predictor.predict(text=clip["text"], vision=vision)
    assert said.modalities == ("text",)
    assert said == predictor.predict(text=clip["text"])
    heard = predictor.predict(audio=audio)
    assert heard.tasks.keys() == {"score", "tags"}
    # With neighbours that have words there is something to say.
    talk = predictor.predict_dialogue([{"audio": audio}, {"text": clip["text"]}])
    assert talk[0].tasks.keys() == {"score", "mood", "tags"}


def test_only_the_end_of_a_dialogue_is_predicted_where_that_is_asked(predictor, talks):
    turns = utterances(talks.splits["train"], range(4))
    whole, end = predictor.predict_dialogue(turns), predictor.predict_dialogue(turns, last=3)
    values = [[said.tasks["score"].value for said in some] for some in (whole[1:], end)]
    np.testing.assert_allclose(*values, atol=1e-5)
    assert len(predictor.predict_dialogue(turns, last=9)) == 4


def test_an_utterance_that_is_not_known_keeps_its_place(trained, predictor, talks):
    turns = utterances(talks.splits["train"], range(3))
    said = predictor.predict_dialogue([turns[0], None, turns[2]])
    assert said[1] is None
    alone = predictor.predict_dialogue([turns[0]])
    assert said[0].tasks["score"].value == pytest.approx(alone[0].tasks["score"].value, abs=1e-5)
    beside = predictor.predict_dialogue([turns[0], turns[2]])
    assert abs(said[0].tasks["score"].value - beside[0].tasks["score"].value) > 1e-4


def test_longer_than_in_training(predictor, clip):
    long = np.resize(clip["text"], (9, WIDTHS["text"]))
    assert np.isfinite(predictor.predict(text=long).tasks["score"].value)


@pytest.mark.parametrize("name", MODELS)
def test_longer_than_in_training_in_context(small, name):
    """There is room for what convolutions see beyond the last token; not every model has any."""
    network, known = as_model(name, small), {"tokens": LENGTHS, "provenance": {}}
    reader = Reader(network, "talks", known, {}, tuple(WIDTHS))
    lengths = reader.lengths([{"text": np.ones((8, WIDTHS["text"]), np.float32)}])
    assert lengths == {**LENGTHS, "text": 16 if name == "haemsa" else 8}


def test_compiled_once_a_bucket_also_by_many_threads(trained, clip):
    predictor = Predictor(trained)
    predictor.warm_up(text=LENGTHS["text"], audio=1)
    assert len(predictor._compiled) == 1
    given = {"text": clip["text"][:2], "audio": np.ones((1, WIDTHS["audio"]))}
    with jax.log_compiles(False), ThreadPoolExecutor(8) as pool:
        said = list(pool.map(lambda _: predictor.predict(**given), range(32)))
    assert len({one.tasks["score"].value for one in said}) == 1
    assert len(predictor._compiled) == 1
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: predictor.predict(text=[clip["text"]] * 3), range(8)))
    assert len(predictor._compiled) == 2


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "nothing to predict from; give at least one of text, audio, vision"),
        ({"smell": np.ones(3)}, "'smell' is unknown; the network reads text, audio, vision"),
        ({"audio": np.ones((2, 5))}, r"audio has shape 2x5; expected \[tokens, 4\]"),
        ({"audio": np.ones((0, 4))}, "audio has no token; leave it out"),
        ({"audio": {"loud": 1}}, "audio is no array of numbers .* but {'loud': 1}"),
        (
            {"audio": np.array(["1", "2", "3", "4"])},
            "audio is no array of numbers .* an array of sh",
        ),
        ({"audio": [[10**400, 0, 0, 0]]}, "audio is no array of numbers"),
        ({"audio": [[1e39, 0, 0, 0]]}, "audio is inf at token 0, column 0"),
        ({"audio": [[None, 0, 0, 0]]}, "audio is no array of numbers"),
        ({"audio": [[1, 2, 3, 4], [1]]}, r"sample 1: audio has shape 1; expected \[tokens, 4\]"),
        ({"text": np.ones(6), "speaker": {"name": "um"}}, "speaker is {'name': 'um'}"),
        ({"text": np.ones(6), "speaker": "cut \ud83d"}, "speaker .* holds half of a character"),
        ({"audio": "loud.wav"}, "loud.wav is a recording, but the audio wanted is 'not known'"),
        ({"vision": "dark.mp4"}, r"vision is 'dark.mp4', .* give an array \[tokens, 5\]"),
        ({"text": "how nice"}, r"text is 'how nice', .* width 6 .*, or train with --text$"),
        ({"text": [np.ones((1, 6)), None]}, "sample 1: there is nothing to predict from"),
        ({"text": np.full((2, 6), [[1], [np.nan]])}, "text is nan at token 1, column 0"),
        ({"text": [np.ones(6)] * 2, "audio": np.ones(4)}, "not {'text': 2} and one of audio"),
        ({"text": [np.ones(6)] * 2, "audio": [np.ones(4)]}, "not {'text': 2, 'audio': 1}"),
    ],
)
def test_bad_input_is_told(predictor, given, words):
    with pytest.raises(InputError, match=words):
        predictor.predict(**given)


def test_one_vector_in_training_is_one_vector(small, talks):
    """As many tokens as there were decides what a convolution sees of the neighbours."""
    network = made(small, talks)
    data = {"talks": {"tokens": {"text": 1, "audio": 5, "vision": 4}, "provenance": {}}}
    told = dataclasses.replace(network.experiment, data=data)
    predictor = Predictor(dataclasses.replace(network, experiment=told))
    with pytest.raises(InputError, match="text has 2 tokens; the network was trained on one"):
        predictor.predict(text=np.ones((2, 6)))


def test_the_largest_array_is_found_before_anything_runs():
    """Also in loops and conditions, at any length."""

    def forward(split, rows):
        def attend(x, _):
            scores = jax.lax.cond(
                x.sum() > 0, lambda x: x @ x.T, lambda x: jnp.zeros(2 * x.shape[:1]), x
            )
            return scores @ x, None

        return jax.lax.scan(attend, split.features["text"][rows[0]], length=3)[0]

    capacity = Capacity(
        jax.jit(forward), widths={"text": 6}, window=(0, 0), usual={"text": 128}, most=64
    )
    assert capacity.bytes_of({"text": 65536}) == 4 * 65536**2
    powers = (4, 128, 4096, 16384, 32768)
    assert [capacity({"text": n}) for n in powers] == [64, 64, 32, 2, 0]
    places = capacity.batches([{"text": n} for n in (16384, 4, 16384, 128, 16384)])
    assert list(places) == [[0, 2], [4], [1, 3]]


def test_long_utterances_go_by_fewer_and_the_longest_are_refused(lone, solo, monkeypatch):
    """What attention needs grows with the square of the tokens, beyond any memory."""
    predictor = Predictor(made(dataclasses.replace(lone, context={}), solo))
    rng = np.random.default_rng(0)
    lengths = (2, 40, 3, 33, 100, 1)
    texts = [rng.normal(size=(length, 6)).astype(np.float32) for length in lengths]
    expected = [one.tasks["score"].value for one in predictor.predict(text=texts)]
    bytes_of = predictor._capacity.bytes_of
    monkeypatch.setattr("haemsa_jax.inference.memory.LARGEST", bytes_of({"text": 128}))
    monkeypatch.setattr("haemsa_jax.inference.memory.SMALL", 0)
    assert [predictor._capacity({"text": n}) for n in (4, 64, 128, 256)] == [32, 2, 1, 0]
    ran, run = [], predictor._run
    monkeypatch.setattr(
        predictor, "_run", lambda read, span: ran.append(len(read)) or run(read, span)
    )
    again = [one.tasks["score"].value for one in predictor.predict(text=texts)]
    np.testing.assert_allclose(again, expected, rtol=1e-5, atol=1e-5)
    assert ran == [3, 2, 1]
    words = r"text: an utterance has 60,000 tokens, .* GiB; at most .* enough for about 128 tokens"
    for refused in (predictor.read, lambda one: predictor.predict(**one)):
        with pytest.raises(InputError, match=words):
            refused({"text": np.zeros((60_000, 6))})
    with pytest.raises(InputError, match="text: a sample has 999 tokens"):
        predictor.warm_up(text=999)
    whole = [{"text": text} for text in texts]
    assert len(predictor.predict_dialogue(whole)) == 6 and ran[3:] == [1] * 6


def test_a_device_without_enough_memory_is_told(predictor, clip, monkeypatch):
    def full(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.")

    monkeypatch.setattr(predictor, "_program", lambda *_: full)
    with pytest.raises(InputError, match="has not enough memory for 1 samples of 5 tokens"):
        predictor.predict(**clip)


def test_which_data_set_and_how_many_networks(trained, small):
    with pytest.raises(InputError, match="networks=3 are asked for, but the run holds 2"):
        Predictor(trained, networks=3)
    with pytest.raises(InputError, match="dataset='other': the network reads talks"):
        Predictor(trained, dataset="other")
    one = Predictor(trained, networks=1).predict(text=np.ones(6)).tasks
    assert one["score"].spread is None and one["mood"].spread is None


@pytest.mark.parametrize("mode", ["frozen", "pooled", "tuned"])
def test_words_are_read_as_in_training(lone, solo, mode):
    encoder = read_pretrained(BERT)
    text = specify(encoder, BERT, max_tokens=8, mode=mode, datasets=(solo.name,))
    said = ["the plot was good", "the plot", "bad"]
    words = {
        name: dataclasses.replace(
            split, words=[said[k % 3] for k in range(len(split))], speakers=["um"] * len(split)
        )
        for name, split in solo.splits.items()
    }
    spoken = dataclasses.replace(solo, splits=words)
    if mode == "tuned":
        spoken = with_tokens(spoken, encoder, 8)
    else:
        spoken = with_vectors(spoken, encoder, 8, pooled=mode == "pooled")
    network = dataclasses.replace(
        lone, widths={solo.name: dict(spoken.widths)}, encoders={"text": text}, context={}
    )
    params = {"encoder_text": dict(encoder.params)} if mode == "tuned" else {}
    trained = made(network, spoken, params=params)
    predictor = Predictor(trained)
    expected = evaluate(trained, {solo.name: spoken})["talks:score"].predictions.mean(axis=0)
    # As many at once as evaluation embeds: in another batch a number may differ by 1e-6, and be
    # rounded to another one of half precision.
    told = predictor.predict(text=words["test"].words, speaker=words["test"].speakers)
    np.testing.assert_allclose([one.tasks["score"].value for one in told], expected, atol=1e-5)
    with pytest.raises(InputError, match="text is empty"):
        predictor.predict(text="  ")
    with pytest.raises(InputError, match=r"text 'cut emoji .* holds half of a character"):
        predictor.predict(text="cut emoji \ud83d")
    if mode == "tuned":
        with pytest.raises(InputError, match="text must be words"):
            predictor.predict(text=np.ones((1, 1)))
    changed = dataclasses.replace(text, fingerprint="0")
    other = dataclasses.replace(trained.experiment.network, encoders={"text": changed})
    told = dataclasses.replace(trained.experiment, network=other)
    with pytest.raises(InputError, match="is another than the network was trained with"):
        Predictor(dataclasses.replace(trained, experiment=told))


def test_lines_of_json(tmp_path):
    lines = [
        {"id": "x", "text": [[1, 2]], "dialogue": 1}, [1], {"audio": [1.5], "speaker": "um"},
    ]  # fmt: skip
    path = tmp_path / "in.jsonl"
    path.write_text("\n".join([*map(json.dumps, lines), "", "{"]))
    rows = list(read_rows(path, WIDTHS))
    assert [row.place for row in rows] == ["line 1", "line 2", "line 3", "line 5"]
    assert (rows[0].id, rows[0].dialogue, rows[0].utterance) == ("x", "1", {"text": [[1, 2]]})
    assert rows[1].error == "it is no JSON object" and rows[3].error.startswith("it is not JSON")
    assert (rows[2].id, rows[2].utterance) == ("3", {"audio": [1.5], "speaker": "um"})


def test_a_bad_row_costs_no_other(tmp_path):
    good = b'{"text": "so", "id": 7}'
    bad = {
        b"[" * 100_000: "it is not JSON",
        b'{"a":' * 100_000: "it is not JSON",
        b'{"text": "caf\xe9"}': "it is not JSON: 'utf-8' codec can't decode",
        b'{"id": "cut \\ud83d"}': "the row: id .* holds half of a character",
        b'{"dialogue": ["a"]}': r"the row: dialogue is \['a'\]; expected",
        b'{"id": true}': "the row: id is True; expected",
        b'{"id": ' + b"[" * 900 + b"]" * 900 + b"}": "the row: id is",
        b'{"transcript": "\\ud83d"}': "the row: transcript",
        b"1" * 5000: "it is not JSON",
    }
    (tmp_path / "in.jsonl").write_bytes(b"\n".join([good, *(x + b"\n" + good for x in bad)]))
    rows = list(read_rows(tmp_path / "in.jsonl", WIDTHS))
    assert [row.utterance for row in rows[::2]] == [{"text": "so"}] * (1 + len(bad))
    for row, words in zip(rows[1::2], bad.values(), strict=True):
        assert row.utterance is None and re.match(words, row.error), row.error
    cells = b"text\n" + b"so\n" * 2000 + b"it\x92s\nso\n"
    (tmp_path / "in.csv").write_bytes(cells)
    *rows, bad, last = read_rows(tmp_path / "in.csv", WIDTHS)
    assert len(rows) == 2000 and last.utterance == {"text": "so"}
    assert bad.place == "line 2002" and "is not UTF-8" in bad.error
    words, names = np.array([b"so", b"cut", b"caf\xe9"]), np.array(["a", "\ud83d", "c"])
    np.savez(tmp_path / "in.npz", text=words, id=names)
    first, second, third = read_rows(tmp_path / "in.npz", WIDTHS)
    assert first.utterance == {"text": "so"} and "half of a character" in second.error
    assert "which is not UTF-8" in third.error and third.id == "c"
    np.savez(tmp_path / "in.npz", text=np.array([["so", "well"]]))
    (row,) = read_rows(tmp_path / "in.npz", WIDTHS)
    assert row.utterance["text"].shape == (2,)  # which whoever reads it refuses


def test_what_is_null_or_empty_is_not_there(tmp_path):
    said = {"audio": [1.5], "id": None, "dialogue": "", "transcript": None}
    (tmp_path / "in.jsonl").write_text(json.dumps(said))
    (row,) = read_rows(tmp_path / "in.jsonl", WIDTHS)
    assert (row.id, row.dialogue, row.utterance) == ("1", None, {"audio": [1.5]})
    names = np.array(["a", "a", "", ""])
    np.savez(tmp_path / "in.npz", audio=np.ones((4, 1, 4)), dialogue=names, id=names)
    rows = list(read_rows(tmp_path / "in.npz", WIDTHS))
    assert [row.dialogue for row in rows] == ["a", "a", None, None]
    assert [row.id for row in rows] == ["a", "a", "2", "3"]


def test_arrays_of_a_file(tmp_path, predictor, talks):
    split, path = talks.splits["test"], tmp_path / "in.npz"
    arrays = {**split.features, **{f"{m}_mask": mask for m, mask in split.masks.items()}}
    np.savez(path, id=split.ids, dialogue=split.group, **arrays)
    rows = list(read_rows(path, WIDTHS))
    assert [row.id for row in rows] == list(split.ids)
    assert [row.dialogue for row in rows] == [str(group) for group in split.group]
    for row, expected in zip(rows, utterances(split, range(len(split))), strict=True):
        given = {m: x for m, x in row.utterance.items() if x is not None}
        jax.tree.map(np.testing.assert_array_equal, given, expected)
        predictor.read(row.utterance)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("in.txt", b"", "'.txt' is unknown; give .jsonl, .csv, .npz"),
        (
            "in.csv",
            b"words\nhello\n",
            "has the columns words; expected text, transcript, audio or recording, and any of id",
        ),
        ("in.csv", b"te\xfft\nso\n", "is not UTF-8"),
        ("in.npz", b"PK", "cannot read"),
        ("in.npz", b"", "cannot read"),
        ("in.csv", b"id,text,text\n1,a,b\n", "column 'text' is there twice"),
        ("in.npz", {"sound": np.ones(3)}, "has the arrays {'sound': 3}; expected some of audio"),
        ("in.npz", {"text": np.ones((3, 2, 6)), "id": np.ones(2)}, "all of the same length"),
        ("in.npz", {"text": np.ones((3, 2, 6)), "text_mask": np.ones((3, 1))}, "text_mask has sha"),
        ("in.npz", {"text": np.array([{}, {}], dtype=object)}, "cannot read"),
        (
            "in.npz",
            {"text": np.ones((1, 2, 6)), "text_mask": np.array([[0.0, -10000.0]])},
            "text_mask holds -10000.0; expected booleans, or 1 where a token is there",
        ),
    ],
)
def test_files_that_are_something_else(tmp_path, name, content, words):
    if isinstance(content, dict):
        np.savez(tmp_path / name, **content)
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_rows(tmp_path / name, WIDTHS)  # before anybody opens a file for what is predicted


def test_a_row_that_cannot_be_read_parts_no_dialogue():
    def rows(*dialogues):
        known = {"text": "so"}
        return iter(
            Row(str(k), str(k), None if d == "?" else d, None if d == "?" else known)
            for k, d in enumerate(dialogues)
        )

    def found(*dialogues):
        return [(d, [row.id for row in piece]) for d, piece in pieces(rows(*dialogues), 2)]

    assert found("a", "?", "a", "b") == [("a", ["0", "1", "2"]), ("b", ["3"])]
    assert found("?", "a", None, "?", None) == [
        (None, ["0"]), ("a", ["1"]), (None, ["2", "3"]), (None, ["4"]),
    ]  # fmt: skip


def test_words_of_an_archive(tmp_path):
    words = np.array(["so ä".encode(), b""])
    np.savez(tmp_path / "in.npz", text=words, id=np.array([b"a", b"b"]), audio=np.ones((2, 1, 4)))
    one, other = read_rows(tmp_path / "in.npz", WIDTHS)
    assert (one.id, one.utterance["text"]) == ("a", "so ä")
    assert other.utterance["text"] is None


def test_rows_of_a_table(tmp_path):
    (tmp_path / "in.csv").write_text('text,speaker\n"so, well",um\n,\nshort\n')
    rows = list(read_rows(tmp_path / "in.csv", WIDTHS))
    assert [row.utterance for row in rows] == [{"text": "so, well", "speaker": "um"}, {}, None]
    assert rows[2].place == "line 4" and "columns as the first row names: 1" in rows[2].error
    with pytest.raises(InputError, match="there is no file"):
        read_rows(tmp_path / "none.csv", WIDTHS)


def test_rows_of_a_table_that_cannot_be_read_cost_no_other(tmp_path):
    rows = ["id,text", 'a,"he said', "b,fine", "#NAME?,lost", "d,so\x97so", "e," + "x" * 200_000]
    (tmp_path / "in.csv").write_text("\n".join(rows), "utf-8")
    read = list(read_rows(tmp_path / "in.csv", WIDTHS))
    assert [row.place for row in read if row.error] == ["line 2", "line 4"]
    assert "a quote opens here" in read[0].error and "a spreadsheet wrote" in read[2].error
    words = {row.id: row.utterance["text"] for row in read if not row.error}
    assert words == {"b": "fine", "d": "so—so", "e": "x" * 200_000}


def test_predictions_as_a_table(tmp_path, predictor, clip):
    rows = [Row("line 1", "a", None, clip)]
    with Writer(tmp_path / "out.csv", predictor.tasks) as writer:
        writer.write(rows[0], predictor.predict(**clip))
    head, cells = (line.split(",") for line in (tmp_path / "out.csv").read_text().splitlines())
    assert head == [
        "id", "score", "score: spread", "mood", "mood: sad", "mood: calm", "mood: gay", "tags",
        "tags: a", "tags: b",
    ]  # fmt: skip
    assert sum(map(float, cells[4:7])) == pytest.approx(1.0)
    assert max(map(len, cells[1:3] + cells[4:7])) <= 14  # the digits of a float32
    less = predictor.predict(**clip)
    with Writer(tmp_path / "out.csv", predictor.tasks) as writer:
        writer.write(rows[0], dataclasses.replace(less, tasks={"score": less.tasks["score"]}))
    *_, line = (tmp_path / "out.csv").read_text().splitlines()
    assert line.endswith("," * 7) and line.split(",")[1:3] == cells[1:3]


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl"])
def test_earlier_predictions_stay_until_the_new_are_whole(tmp_path, predictor, clip, name):
    path, row = tmp_path / name, Row("line 1", "a", None, clip)
    path.write_text("earlier")
    with pytest.raises(KeyboardInterrupt), Writer(path, predictor.tasks) as writer:
        writer.write(row, predictor.predict(**clip))
        assert path.read_text() == "earlier"
        raise KeyboardInterrupt
    assert path.read_text() == "earlier" and [x.name for x in tmp_path.iterdir()] == [name]
    with Writer(path, predictor.tasks) as writer:
        writer.write(row, predictor.predict(**clip))
    assert "a" in path.read_text() and [x.name for x in tmp_path.iterdir()] == [name]


def test_words_of_a_table_are_no_formulas(tmp_path):
    task = TaskSpec("mood", "classification", ("accuracy",), ("-bad", "good"))
    names = ("=1+1", "+cmd", "@SUM(A1)", "-5", "a=b")
    prediction = Prediction(
        {"mood": TaskPrediction("-bad", {"-bad": 0.75, "good": 0.25}, {}, {})}, ("text",)
    )
    with Writer(tmp_path / "out.csv", {"mood": task}) as writer:
        for name in names:
            writer.write(Row("", name, None, {}), prediction)
    rows = list(csv.reader((tmp_path / "out.csv").read_text().splitlines()))[1:]
    assert [row[0] for row in rows] == ["'=1+1", "'+cmd", "'@SUM(A1)", "-5", "a=b"]
    assert {tuple(row[1:]) for row in rows} == {("'-bad", "0.75", "0.25")}
