"""Emotions: IEMOCAP in both lines' pickles, MOSEI's six; and MISA's pickle of MOSI."""

import pickle

import numpy as np
import pytest
from test_datasets_words import REAL, failure, prepared, real_data

import haemsa_datasets
from haemsa_datasets.cmu_mosi.misa import read_file
from haemsa_datasets.iemocap.conversational import read_conversational
from haemsa_datasets.iemocap.mult import read_mult
from haemsa_jax.errors import InputError

VIDEOS = [f"Ses0{1 + (i > 7) * 4}F_{i:02d}" for i in range(12)]
RNG = np.random.default_rng(0)
CONVERSATIONS = {"mmgcn": (100, 1582, 342), "dialoguernn": (100, 100, 512)}


def save(tmp_path, name, content, protocol=2):
    path = tmp_path / "raw" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol))
    return path


# --- utterances as a table -----------------------------------------------------------------------

TABLE = """id,dialogue,order,split,speaker,label6,text,val,act,dom
Ses01F_impro01_F000,Ses01F_impro01,0,train,F,neutral,Excuse me.,2.5,3,2
Ses01F_impro01_M001,Ses01F_impro01,1,train,M,happy,"Yes, of course.",4,3.5,3
Ses02F_impro01_F000,Ses02F_impro01,0,dev,F,angry,No.,1,5,5
Ses05F_impro01_F000,Ses05F_impro01,0,test,F,excited,Go!,5.5,4,0.5
"""


def save_table(tmp_path, table=TABLE, ids=None):
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "utterances.csv").write_text(table)
    ids = ids or [line.partition(",")[0] for line in TABLE.splitlines()[1:]]
    x = np.tile(np.arange(len(ids), dtype=np.float16)[:, None], (1, 1024))
    np.savez(raw / "whisper_base.npz", ids=ids, x=x)


def test_iemocap_utterances(tmp_path):
    save_table(tmp_path)
    dataset = prepared("iemocap/utterances", tmp_path)
    train, test = dataset.splits["train"], dataset.splits["test"]
    assert dataset.conversational and dict(dataset.widths) == {"audio": 1024}
    assert train.words == ["Excuse me.", "Yes, of course."] and train.speakers == ["F", "M"]
    assert test.features["audio"][0, 0].tolist() == [3.0] * 1024
    assert [dataset.tasks["emotion"].classes[n] for n in train.labels["emotion"]] == [
        "neutral", "happy",
    ]  # fmt: skip
    assert test.labels["valence"].tolist() == [5.5] and test.labels["dominance"].tolist() == [0.5]


def test_iemocap_utterances_without_sound(tmp_path):
    save_table(tmp_path, ids=["Ses01F_impro01_M001"])
    assert "no vector of 'Ses01F_impro01_F000'" in failure("iemocap/utterances", tmp_path)
    (tmp_path / "raw" / "whisper_base.npz").write_bytes(b"no archive")
    assert "whisper_base.npz, as numpy.savez writes it: " in failure("iemocap/utterances", tmp_path)
    (tmp_path / "raw" / "whisper_base.npz").unlink()
    assert "whisper_base.npz is missing" in failure("iemocap/utterances", tmp_path)


# --- the official tree ---------------------------------------------------------------------------

EVALUATION = """% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]

[14.8872 - 18.0175]	{0}_F001	xxx	[2.5000, 2.5000, 2.5000]
C-E2:	Neutral;	()
A-E3:	val 3; act 2; dom  2;	()

[6.2901 - 8.2357]	{0}_M000	fru	[2.0000, 3.5000, 4.0000]
C-F1:	Frustration;	()
"""
TRANSCRIPT = """{0}_M000 [006.2901-008.2357]: Excuse me.
M: Go on.
{0}_F001 [014.8872-018.0175]: Do you have your forms?
{0}_FXX0 [019.0000-020.0000]: Hm.
"""


def write_release(root, *dialogues):
    for name in dialogues:
        folder = root / f"Session{name[4]}" / "dialog"
        for part, text in (("EmoEvaluation", EVALUATION), ("transcriptions", TRANSCRIPT)):
            (folder / part).mkdir(parents=True, exist_ok=True)
            (folder / part / f"{name}.txt").write_text(text.format(name))
        # What macOS leaves beside every file, and annotators' own folder.
        (folder / "EmoEvaluation" / f"._{name}.txt").write_bytes(b"\x00\x05\x16\x07\xff")
        (folder / "EmoEvaluation" / "Categorical").mkdir(exist_ok=True)
        (folder / "EmoEvaluation" / "Categorical" / f"{name}_e2_cat.txt").write_text("x")


RELEASED = "Ses01F_impro01", "Ses01M_impro01", "Ses05F_impro01"


def test_iemocap_as_it_is_released(tmp_path):
    write_release(tmp_path / "raw" / "IEMOCAP_full_release", *RELEASED)
    dataset = prepared("iemocap/release", tmp_path)
    train = dataset.splits["train"]
    assert train.ids == ["Ses01F_impro01_M000", "Ses01F_impro01_F001"]
    assert train.words == ["Excuse me.", "Do you have your forms?"]
    assert train.speakers == ["M", "F"] and dataset.conversational
    assert train.labelled["emotion"].tolist() == [True, False]
    assert dataset.tasks["emotion"].classes[train.labels["emotion"][0]] == "frustrated"
    assert train.labels["valence"].tolist() == [2.0, 2.5]
    assert train.labels["dominance"].tolist() == [4.0, 2.5]
    assert [dataset.splits[name].ids[0][:14] for name in ("validation", "test")] == [*RELEASED[1:]]


def test_a_release_that_is_not_whole(tmp_path):
    (tmp_path / "raw" / "Session1").mkdir(parents=True)
    assert "no Session*/dialog/EmoEvaluation" in failure("iemocap/release", tmp_path)
    write_release(tmp_path / "raw", *RELEASED)
    dialog = tmp_path / "raw" / "Session1" / "dialog"
    evaluation = dialog / "EmoEvaluation" / "Ses01F_impro01.txt"
    evaluation.write_text("[6.29 - 8.2]\tSes01F\tneu\n")
    assert "line 1: '[6.29 - 8.2]\\tSes01F\\tneu' is no utterance" in failure(
        "iemocap/release", tmp_path
    )
    write_release(tmp_path / "raw", *RELEASED)
    transcript = dialog / "transcriptions" / "Ses01F_impro01.txt"
    transcript.write_text(TRANSCRIPT.format("Ses01F_impro01").replace("_M000", "_M007"))
    assert "has no Ses01F_impro01_M000" in failure("iemocap/release", tmp_path)
    write_release(tmp_path / "raw", *RELEASED)
    whole = evaluation.read_text()
    for right, wrong in (("6.2901", "6..2901"), ("2.5000, 2", "., 2"), ("[6", "6")):
        evaluation.write_text(whole.replace(right, wrong, 1))
        message = failure("iemocap/release", tmp_path)
        assert "is no utterance" in message, (wrong, message)
    evaluation.write_text(whole.replace("fru", "fur"))
    assert "the emotion 'fur' is none of hap, sad, neu" in failure("iemocap/release", tmp_path)
    evaluation.write_text(whole)
    words = transcript.read_text()
    transcript.write_text(words + words.replace("Excuse", "Forgive"))
    assert "line 5: Ses01F_impro01_M000 has other words" in failure("iemocap/release", tmp_path)
    transcript.unlink()
    assert "Ses01F_impro01.txt is missing; copy the whole tree" in failure(
        "iemocap/release", tmp_path
    )


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"ids": ["a"]}, "field 'x' is missing"),
        ({"ids": ["a"], "x": np.zeros((2, 1024))}, "x has shape (2, 1024); expected (1, 1024)"),
        ({"ids": [["a", "b"]], "x": np.zeros((1, 1024))}, "ids is an array of shape (2,)"),
        ({"ids": ["a"], "x": np.full((1, 1024), "0.5")}, "x is '0.5'; expected numbers"),
    ],
)
def test_iemocap_sounds_of_another_kind(tmp_path, arrays, words):
    save_table(tmp_path)
    np.savez(tmp_path / "raw" / "whisper_base.npz", **arrays)
    message = failure("iemocap/utterances", tmp_path)
    assert "whisper_base.npz" in message and words in message, message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("train,M,happy", "valid,M,happy"), ["row 3", "split 'valid'", "train, dev, test"]),
        (("M,happy", "M,xxx"), ["row 3", "label6 'xxx'", "frustrated"]),
        (("5.5,4,0.5", "5.5,four,0.5"), ["row 5", "act 'four' is not a number"]),
        (("impro01,1,train", "impro01,inf,train"), ["row 3", "order 'inf' is no whole number"]),
        (("impro01,1,train", "impro01,2.7,train"), ["row 3", "order '2.7' is no whole number"]),
        (("speaker,label6", "who,label6"), ["column 'speaker' is missing"]),
    ],
)
def test_iemocap_utterances_that_cannot_be(tmp_path, change, words):
    save_table(tmp_path, TABLE.replace(*change))
    message = failure("iemocap/utterances", tmp_path)
    assert all(word in message for word in words), message


# --- the conversational line ---------------------------------------------------------------------


def conversations(widths, change=lambda parts: None):
    """Twelve dialogues of two sessions, of two to four utterances."""
    videos = VIDEOS
    counts = {video: 2 + i % 3 for i, video in enumerate(videos)}
    each = lambda make: {v: [make(v, t) for t in range(n)] for v, n in counts.items()}  # noqa: E731
    text, audio, vision = (each(lambda v, t, w=w: RNG.normal(size=w)) for w in widths)
    parts = [
        {v: [f"{v}_{t}" for t in range(n)] for v, n in counts.items()},
        each(lambda v, t: "MF"[t % 2]),
        each(lambda v, t: (videos.index(v) + t) % 6),
        text, audio, vision,
        each(lambda v, t: f"caf\xe9 {t}"),
        set(videos[:8]), set(videos[8:]),
    ]  # fmt: skip
    change(parts)
    return tuple(parts)


@pytest.mark.parametrize("line", CONVERSATIONS)
def test_iemocap_dialogues(tmp_path, line):
    parts = conversations(CONVERSATIONS[line])
    save(tmp_path, "IEMOCAP_features.pkl", parts)
    dataset = prepared(f"iemocap/{line}", tmp_path)
    assert dataset.conversational
    assert dict(dataset.widths) == dict(zip(("text", "audio", "vision"), CONVERSATIONS[line],
                                            strict=True))  # fmt: skip
    # One in ten of the training dialogues, here the first, is kept for validation.
    assert set(dataset.splits["validation"].ids) == {"Ses01F_00_0", "Ses01F_00_1"}
    test = dataset.splits["test"]
    assert {name.rpartition("_")[0] for name in test.ids} == parts[8]
    assert test.words[0] == "caf\xe9 0" and test.speakers[:2] == ["M", "F"]
    place = test.ids.index("Ses05F_09_1")  # the tenth dialogue, second utterance: excited
    assert test.labels["emotion"][place] == 4
    assert test.labels["emotion4"][place] == 0 and test.labelled["emotion4"][place]
    frustrated = test.labels["emotion"] == 5
    assert frustrated.any() and not test.labelled["emotion4"][frustrated].any()
    np.testing.assert_allclose(test.features["audio"][place, 0], parts[4]["Ses05F_09"][1], 1e-6)


def test_iemocap_with_other_features(tmp_path):
    save(tmp_path, "IEMOCAP_features.pkl", conversations(CONVERSATIONS["mmgcn"]))
    message = failure("iemocap/dialoguernn", tmp_path)
    assert "1582 audio features, but this configuration has 100" in message
    assert "iemocap/mmgcn" in message


def test_iemocap_that_does_not_fit(tmp_path):
    def shorten(parts):
        parts[5]["Ses01F_01"].pop()

    save(tmp_path, "IEMOCAP_features.pkl", conversations(CONVERSATIONS["mmgcn"], shorten))
    message = failure("iemocap/mmgcn", tmp_path)
    assert "dialogue Ses01F_01: the parts are of different lengths" in message

    def unknown(parts):
        parts[2]["Ses05F_10"][0] = 7

    save(tmp_path, "IEMOCAP_features.pkl", conversations(CONVERSATIONS["mmgcn"], unknown))
    assert "utterance 0: label 7 is none of 0 to 5" in failure("iemocap/mmgcn", tmp_path)
    save(tmp_path, "IEMOCAP_features.pkl", {"train": 1})
    assert "expected a tuple of nine" in failure("iemocap/mmgcn", tmp_path)


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        (2, 2.7, "utterance 1: label 2.7 is none of 0 to 5; give the number of the class"),
        (2, "xxx", "utterance 1: label 'xxx' is none"),
        (2, None, "utterance 1: label None is none"),
        (2, float("nan"), "utterance 1: label nan is none"),
        (2, [0, 1, 0, 0, 0, 0], "utterance 1: label [0, 1, 0, 0, 0, 0] is none"),
        (1, None, "utterance 1: speakers is None; expected a string"),
        (6, ["a", "b"], "utterance 1: words is ['a', 'b']; expected a string"),
        (4, [1.0, None], "utterance 1, row 1: audio is None; expected numbers"),
    ],
)
def test_iemocap_values_of_another_kind(tmp_path, part, value, message):
    def change(parts):
        parts[part]["Ses01F_01"][1] = value

    path = save(tmp_path, "IEMOCAP_features.pkl", conversations((1, 1, 1), change))
    with pytest.raises(InputError) as caught:
        read_conversational(path.parent, {"text": 1, "audio": 1, "vision": 1})
    assert f"{path}, dialogue Ses01F_01, {message}" in str(caught.value)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (7, ["Ses01F_00", 1.5], "train ids is 1.5; expected a string"),
        (8, None, "test ids is None; expected a list"),
        (
            0,
            dict.fromkeys([f"Ses01F_{i:02d}" for i in range(8)], "names"),
            "names is 'names'; expected a list of values",
        ),
    ],
)
def test_iemocap_parts_of_another_kind(tmp_path, place, value, message):
    def change(parts):
        parts[place] = value

    path = save(tmp_path, "IEMOCAP_features.pkl", conversations((1, 1, 1), change))
    with pytest.raises(InputError) as caught:
        read_conversational(path.parent, {"text": 1, "audio": 1, "vision": 1})
    assert message in str(caught.value)


def test_iemocap_of_bytes(tmp_path):
    def change(parts):
        for place in range(7):
            parts[place] = {video.encode(): x for video, x in parts[place].items()}
        for place in (1, 6):
            parts[place] = {v: [x.encode() for x in xs] for v, xs in parts[place].items()}
        parts[7] = {video.encode() for video in parts[7]}  # those of the test split are strings
        parts[2] = {video: np.array(x, float)[:, None] for video, x in parts[2].items()}

    path = save(tmp_path, "IEMOCAP_features.pkl", conversations((1, 1, 1), change))
    splits = read_conversational(path.parent, {"text": 1, "audio": 1, "vision": 1})
    first = splits["validation"][0]
    assert (first.id, first.words, first.speaker) == ("Ses01F_00_0", "caf\xe9 0", "M")
    assert [len(splits[name]) for name in ("train", "validation", "test")] == [21, 2, 13]


# --- MulT ----------------------------------------------------------------------------------------

WIDTHS = {"text": 300, "audio": 74, "vision": 35}


def mult(front, ids=True):
    def split(name):
        fields = {}
        for modality, width in WIDTHS.items():
            values = np.zeros((3, 20, width), np.float32)
            for row, length in enumerate((20, 3, 1)):
                place = slice(20 - length, 20) if front else slice(length)
                values[row, place] = RNG.normal(size=(length, width))
            fields[modality] = values
        fields["audio"][1, -1 if front else 0, 2] = -np.inf
        fields["audio"][0, 4, 5] = np.nan
        labels = np.zeros((3, 4, 2), np.int64)
        on = np.array([[1, 0, 0, 0], [0, 1, 0, 1], [0, 0, 1, 0]])
        labels[..., 1], labels[..., 0] = on, 1 - on
        fields["labels"] = labels
        return {**fields, "id": np.array([["a"], ["b"], ["c"]])} if ids else fields

    return {name: split(name) for name in ("train", "valid", "test")}


@pytest.mark.parametrize("front", [False, True], ids=["behind", "in front"])
@pytest.mark.parametrize("ids", [False, True], ids=["without ids", "with ids"])
def test_iemocap_of_mult(tmp_path, front, ids):
    content = mult(front, ids)
    save(tmp_path, "iemocap_data.pkl", content)
    dataset = prepared("iemocap/mult", tmp_path)
    test = dataset.splits["test"]
    assert test.masks["audio"].sum(axis=1).tolist() == [20, 3, 1]
    np.testing.assert_array_equal(test.labels["emotions"][1], [0, 1, 0, 1])
    assert np.isfinite(test.features["audio"]).all()
    found = test.features["vision"][1][test.masks["vision"][1]]
    place = slice(17, 20) if front else slice(3)
    np.testing.assert_array_equal(found, content["test"]["vision"][1, place])
    assert not dataset.conversational and len(set(test.group.tolist())) == 3


def test_mult_of_another_format(tmp_path):
    content = mult(False)
    content["valid"]["labels"] = content["valid"]["labels"][:, :3]
    save(tmp_path, "iemocap_data.pkl", content)
    assert "labels has shape (3, 3, 2); expected (N, 4, 2)" in failure("iemocap/mult", tmp_path)
    content = mult(False)
    content["train"]["id"] = content["train"]["id"][:2]
    save(tmp_path, "iemocap_data.pkl", content)
    assert "'train': id has 2 values; expected 3" in failure("iemocap/mult", tmp_path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"audio": [np.ones((n, 74)) for n in (3, 2, 3)]}, "audio has shape (2, 74) in sample 1"),
        ({"labels": None}, "labels is None; expected numbers"),
        ({"id": np.array([["a", "0.1"]] * 3)}, "sample 0: id is an array of shape (2,)"),
        ({"id": [b"a", b"b", b"\xff"]}, "sample 2: id is b'\\xff', which is not UTF-8"),
    ],
)
def test_mult_values_of_another_kind(tmp_path, fields, message):
    content = mult(False)
    content["train"] |= fields
    path = save(tmp_path, "iemocap_data.pkl", content)
    with pytest.raises(InputError) as caught:
        read_mult(path.parent, WIDTHS)
    assert f"{path}, 'train'" in str(caught.value) and message in str(caught.value)


def test_mult_of_bytes(tmp_path):
    content = mult(False)
    content["train"]["id"] = np.array([[b"a"], [b"b"], [b"c"]])
    content = {k.encode(): {n.encode(): x for n, x in f.items()} for k, f in content.items()}
    path = save(tmp_path, "iemocap_data.pkl", content)
    assert [x.id for x in read_mult(path.parent, WIDTHS)["train"]] == [
        "train_0_a", "train_1_b", "train_2_c"
    ]  # fmt: skip


# --- MOSEI's emotions ----------------------------------------------------------------------------


def mosei(emotions):
    def split(key):
        rows = {"text": 768, "audio": 74, "vision": 35}
        fields = {m: RNG.normal(size=(2, 5, w)).astype(np.float32) for m, w in rows.items()}
        fields |= {"raw_text": ["a", "b"], "id": [f"{key}$_$1", f"{key}$_$2"]}
        fields["regression_labels"] = [1.0, -2.0]
        return {**fields, **emotions}

    return {key: split(key) for key in ("train", "valid", "test")}


def test_emotions_of_mosei(tmp_path):
    intensities = [[0.0, 0.33, 0, 3, 0, 0], [2.0, 0, 0, 0, 0, 0]]
    save(tmp_path, "aligned_50.pkl", mosei({"emotion_labels": intensities}))
    dataset = prepared("cmu_mosei/mmsa_aligned_emotions", tmp_path)
    assert list(dataset.tasks) == ["sentiment", "emotions"]
    expected = [[0, 1, 0, 1, 0, 0], [1, 0, 0, 0, 0, 0]]
    np.testing.assert_array_equal(dataset.splits["test"].labels["emotions"], expected)
    intensities[0][3] = np.nan  # would count as an emotion that is not there
    save(tmp_path, "unaligned_50.pkl", mosei({"emotion_labels": intensities}))
    message = failure("cmu_mosei/mmsa_unaligned_emotions", tmp_path)
    assert "'train', sample 0: emotion_labels is not finite" in message
    save(tmp_path, "aligned_50.pkl", mosei({}))
    assert list(prepared("cmu_mosei/mmsa_aligned", tmp_path).tasks) == ["sentiment"]


def test_emotions_that_are_not_there(tmp_path):
    save(tmp_path, "unaligned_50.pkl", mosei({}))
    message = failure("cmu_mosei/mmsa_unaligned_emotions", tmp_path)
    assert "field 'emotion_labels' is missing, the intensities of happy" in message


# --- MISA ----------------------------------------------------------------------------------------


@real_data
def test_misa_as_it_is_published():
    samples = read_file(REAL / "cmu_mosi" / "misa_dev.pkl")
    assert len(samples) == 229
    first = samples[0]
    assert (first.id, first.group, first.turn) == ("WKA5OygbEKI[0]", "WKA5OygbEKI", 0)
    assert first.labels["sentiment"] == pytest.approx(1.8)
    assert first.words.startswith("uh i really enjoyed doing them")
    assert first.features["vision"].shape == (18, 47) and first.features["audio"].shape == (18, 74)


@real_data
def test_misa_becomes_a_data_set(tmp_path):
    for name in ("train", "dev", "test"):
        path = tmp_path / "raw" / f"misa_{name}.pkl"
        path.parent.mkdir(exist_ok=True)
        content = (REAL / "cmu_mosi" / "misa_dev.pkl").read_bytes()
        samples = haemsa_datasets.pickles.read_pickle(REAL / "cmu_mosi" / "misa_dev.pkl")
        if name != "dev":  # a name may occur once
            samples = [(x, label, f"{name}{i}[0]") for i, (x, label, _) in enumerate(samples)]
            content = pickle.dumps(samples)
        path.write_bytes(content)
    dataset = prepared("cmu_mosi/misa", tmp_path)
    assert {name: len(split) for name, split in dataset.splits.items()} == {
        "train": 229, "validation": 229, "test": 229
    }  # fmt: skip
    assert dataset.has_words


def test_misa_of_another_format(tmp_path):
    for name in ("train", "dev", "test"):
        save(tmp_path, f"{name}.pkl", [(1, 2, "id")])
    assert "train.pkl, sample 0: expected ((word ids" in failure("cmu_mosi/misa", tmp_path)
    save(tmp_path, "train.pkl", {"a": 1})
    assert "expected a list of samples, not a dict" in failure("cmu_mosi/misa", tmp_path)


def misa_sample(words=("so", b"what"), counts=(2, 2, 2), label=((1.5,),), name="v[3]"):
    ids, vision, audio = counts
    features = np.ones((vision, 47), np.float32), np.ones((audio, 74), np.float32)
    return (
        (np.arange(ids), *features, words if isinstance(words, str) else list(words)),
        label,
        name,
    )


def test_misa_words_and_ids_may_be_bytes(tmp_path):
    (sample,) = read_file(save(tmp_path, "train.pkl", [misa_sample(name=b"v[3]")]))
    assert (sample.id, sample.group, sample.turn, sample.words) == ("v[3]", "v", 3, "so what")
    assert sample.labels == {"sentiment": 1.5}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"words": "so"}, "words is 'so'; expected a list of values, one a word"),
        ({"words": ["so", None]}, "word 1: words is None; expected a string"),
        ({"words": [["so"], "what"]}, "word 0: words is ['so']; expected a string"),
        ({"words": ["so", b"\xe9"]}, "word 1: words is b'\\xe9', which is not UTF-8"),
        ({"counts": (3, 2, 2)}, "word ids has 3 values; expected 2, one a word"),
        ({"counts": (2, 3, 2)}, "vision has shape (3, 47); expected (2, 47)"),
        ({"counts": (2, 2, 1)}, "audio has shape (1, 74); expected (2, 74)"),
        ({"label": "1.5"}, "label is '1.5'; expected numbers"),
        ({"label": [[1.0, 0.0]]}, "label has 2 values; expected one number"),
        ({"name": None}, "id is None; expected a string"),
        ({"name": "v[x]"}, "id 'v[x]' is not of the form VIDEO[segment]"),
    ],
)
def test_misa_values_of_another_kind(tmp_path, change, message):
    path = save(tmp_path, "train.pkl", [misa_sample(), misa_sample(**change)])
    with pytest.raises(InputError) as caught:
        read_file(path)
    assert f"{path}, sample 1" in str(caught.value) and message in str(caught.value)
