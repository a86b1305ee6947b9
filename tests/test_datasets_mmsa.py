"""MMSA's pickles, written in exactly their format."""

import os
import pickle

import numpy as np
import pytest
from test_datasets_cmu_mosi import failure

import haemsa_datasets
from haemsa_datasets.cmu_mosi.cmu_mosi_dataset_builder import CARDS, PUBLISHED
from haemsa_datasets.mmsa.reading import span_mask, text_mask, unlike
from haemsa_jax.errors import InputError

TOTAL = {"text": 6, "audio": 9, "vision": 12}
DIMS = {"text": 768, "audio": 5, "vision": 20}
LENGTHS = {"text": [6, 2, 3], "audio": [4, 9, 1], "vision": [5, 3, 12]}


def measured(modality, row):
    """What was measured: [length, width], no zero vector at either end."""
    length, width = LENGTHS[modality][row], DIMS[modality]
    return np.arange(1, length * width + 1, dtype=np.float32).reshape(length, width) / 100 + row


def pad(tokens, total, front):
    gap = [(total - len(tokens), 0) if front else (0, total - len(tokens)), (0, 0)]
    return np.pad(tokens, gap)


def mmsa_split(key, front, aligned):
    """Three samples in MMSA's format, the second video's clips out of order."""
    total = dict.fromkeys(TOTAL, 12) if aligned else TOTAL
    text_bert = np.zeros((3, 3, total["text"]), np.float32)
    for row, length in enumerate(LENGTHS["text"]):
        place = slice(-length, None) if front else slice(length)
        text_bert[row, 0, place], text_bert[row, 1, place] = 101, 1
    fields = {
        "raw_text": np.array(["the first", "later", "earlier"]),
        "id": [f"{key}A$_$1", f"{key}B$_$10", f"{key}B$_$9"],
        "text_bert": text_bert,
        "regression_labels": np.array([-3.0, 0.4, 2.0]),
        "annotations": ["Negative", "Positive", "Positive"],
        "classification_labels": np.array([0, 2, 2]),
        **{m: np.stack([pad(measured(m, r), total[m], front) for r in range(3)]) for m in DIMS},
    }
    if not aligned:
        fields |= {f"{m}_lengths": LENGTHS[m] for m in ("audio", "vision")}
    return fields


def write_mmsa(tmp_path, front, aligned, change=lambda content: None, folder="Processed"):
    content = {key: mmsa_split(key, front, aligned) for key in ("train", "valid", "test")}
    change(content)
    name = "aligned_50.pkl" if aligned else "unaligned_50.pkl"
    path = tmp_path / "raw" / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content))
    return path


@pytest.mark.parametrize("front", [False, True], ids=["behind", "in front"])
@pytest.mark.parametrize("aligned", [False, True], ids=["unaligned", "aligned"])
@pytest.mark.parametrize("folder", ["", "Processed"])
def test_mmsa_round_trip_however_padded(tmp_path, front, aligned, folder):
    write_mmsa(tmp_path, front, aligned, folder=folder)
    name = f"cmu_mosi/mmsa_{'aligned' if aligned else 'unaligned'}"
    haemsa_datasets.prepare(name, tmp_path / "raw", tmp_path)
    dataset = haemsa_datasets.load(name, tmp_path)
    test = dataset.splits["test"]
    order = [0, 2, 1]
    assert test.ids == ["testA$_$1", "testB$_$9", "testB$_$10"]
    assert test.words == ["the first", "earlier", "later"]
    np.testing.assert_array_equal(test.group, [0, 1, 1])
    np.testing.assert_allclose(test.labels["sentiment"], [-3.0, 2.0, 0.4])
    for modality, lengths in LENGTHS.items():
        assert test.features[modality].shape == (3, max(lengths), DIMS[modality])
        for place, row in enumerate(order):
            np.testing.assert_array_equal(
                test.features[modality][place][test.masks[modality][place]],
                measured(modality, row),
            )


def test_mmsa_values_that_are_not_finite(tmp_path):
    def spoil(content):
        content["train"]["audio"][0, 1, 2] = np.nan
        content["train"]["audio"][1, 0, :] = -np.inf
        content["test"]["audio"][2, 0, 3] = -np.inf

    write_mmsa(tmp_path, front=False, aligned=False, change=spoil)
    metadata = haemsa_datasets.prepare("cmu_mosi/mmsa_unaligned", tmp_path / "raw", tmp_path)
    assert metadata["summary"]["replaced"]["audio"] == {"values": 7, "samples": 3}
    assert metadata["summary"]["replaced"]["text"] == {"values": 0, "samples": 0}
    assert metadata["summary"]["lengths"]["audio"] == {"min": 1, "median": 4.0, "max": 9}
    train = np.concatenate([measured("audio", row) for row in range(3)]).astype(float)
    train[1, 2] = np.nan
    train[4] = np.nan
    splits = haemsa_datasets.load("cmu_mosi/mmsa_unaligned", tmp_path).splits
    mean = np.nanmean(train, axis=0)
    np.testing.assert_allclose(splits["train"].features["audio"][0, 1, 2], mean[2], rtol=1e-6)
    np.testing.assert_allclose(splits["train"].features["audio"][2, 0], mean, rtol=1e-6)
    np.testing.assert_allclose(splits["test"].features["audio"][1, 0, 3], mean[3], rtol=1e-6)


def test_mmsa_zeros_alone_are_an_absent_modality(tmp_path):
    def drop(content):
        content["train"]["vision"][1] = 0

    write_mmsa(tmp_path, front=False, aligned=False, change=drop)
    haemsa_datasets.prepare("cmu_mosi/mmsa_unaligned", tmp_path / "raw", tmp_path)
    train = haemsa_datasets.load("cmu_mosi/mmsa_unaligned", tmp_path, ["train"]).splits["train"]
    np.testing.assert_array_equal(train.presence["vision"], [True, True, False])


def first(**fields):
    """A change of fields in the training split."""
    return lambda content: content["train"].update(fields)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("valid"), "expected a dict of train, valid, test; no 'valid'"),
        (lambda c: c["test"].pop("audio"), "'test': field 'audio' is missing; it has raw_text, id"),
        (
            first(audio=np.ones((3, 9, 74), np.float32)),
            "audio has shape (3, 9, 74); expected (3, T, 5); a file of other widths is read by "
            "--dataset=mmsa/NAME",
        ),
        (
            first(regression_labels=np.array([0.0, np.nan, 1.0])),
            "'train', sample 1: label nan of sample 'trainB$_$10' for task 'sentiment' is not",
        ),
        (
            first(regression_labels=np.array([0.0, 1.0])),
            "'train': regression_labels has 2 values; expected 3, one a sample",
        ),
        (
            first(id=["a$_$1", "b[2]", "c$_$3"]),
            "'train', sample 1: id 'b[2]' is not of the form VIDEO$_$CLIP",
        ),
        (
            first(**{m: np.zeros((3, TOTAL[m], DIMS[m])) for m in DIMS}),
            "sample 'trainA$_$1' has no modality at all; at least one of text, audio, vision",
        ),
        (first(id=["testA$_$1", "x$_$1", "y$_$1"]), "id 'testA$_$1' was already used in"),
        (first(id=["a$_$1", "a$_$01", "b$_$2"]), "'a$_$01' and 'a$_$1' are both at place 1 of 'a'"),
        (first(id=["a$_$1", "a$_$", "b$_$2"]), "sample 1: id 'a$_$' is not of the form"),
        (first(id=["a$_$1", None, "b$_$2"]), "'train', sample 1: id is None; expected a string"),
        (first(id=None), "'train': id is None; expected a list of values, one a sample"),
        (first(raw_text=[["a"], "b", "c"]), "sample 0: raw_text is ['a']; expected a string"),
        (first(raw_text=["a", None, "c"]), "sample 1: raw_text is None; expected a string"),
        (first(raw_text=["a", "b", b"\xe9"]), "sample 2: raw_text is b'\\xe9', which is not UTF-8"),
        (first(raw_text=["a\ud83d", "b", "c"]), "sample 0: raw_text 'a\\ud83d' holds half of a"),
        (first(raw_text=list("abcd")), "raw_text has 4 values; expected 3, one a sample"),
        (first(raw_text="abc"), "raw_text is 'abc'; expected a list of 3 values"),
        (first(audio_lengths=[4, 9]), "audio_lengths has 2 values; expected 3, one a sample"),
        (first(audio_lengths=4), "audio_lengths has shape (); expected (3,)"),
        (first(audio_lengths=["a", "b", "c"]), "sample 0: audio_lengths is 'a'; expected numbers"),
        (first(audio=[np.ones((n, 5)) for n in (4, 9, 1)]), "audio has shape (9, 5) in sample 1"),
        (first(regression_labels=["1", "2", "3"]), "regression_labels is '1'; expected numbers"),
        (first(regression_labels=[1.0, None, 2.0]), "sample 1: regression_labels is None"),
        (first(text_bert=np.ones((2, 3, 6))), "text_bert has shape (2, 3, 6); expected (3, 3, T)"),
        (first(text_bert=[[[1]] * 3, [[1, 2]] * 3, [[1]] * 3]), "text_bert has shape (3, 2) in"),
        (
            lambda c: c.update(valid={name: field[:0] for name, field in c["valid"].items()}),
            "split 'validation' is empty",
        ),
    ],
)
def test_mmsa_files_that_do_not_fit(tmp_path, change, message):
    path = write_mmsa(tmp_path, front=False, aligned=False, change=change)
    found = failure("mmsa_unaligned", tmp_path / "raw", tmp_path)
    assert message in found
    assert str(path) in found or "is empty" in found


def test_mmsa_of_bytes_and_other_containers(tmp_path):
    """Byte ids kept their `b'...'`, which put clip 10 before clip 9."""

    def encode(content):
        for key, split in [*content.items()]:
            split["id"] = [name.encode() for name in split["id"]]
            split["raw_text"] = np.array([word.encode() for word in split["raw_text"]])
            split["audio_lengths"] = np.array(split["audio_lengths"])[:, None]
            split["vision_lengths"] = None
            split["audio"] = list(split["audio"])
            content[key.encode()] = {name.encode(): x for name, x in content.pop(key).items()}

    write_mmsa(tmp_path, front=False, aligned=False, change=encode)
    haemsa_datasets.prepare("cmu_mosi/mmsa_unaligned", tmp_path / "raw", tmp_path)
    test = haemsa_datasets.load("cmu_mosi/mmsa_unaligned", tmp_path, ["test"]).splits["test"]
    assert test.ids == ["testA$_$1", "testB$_$9", "testB$_$10"]
    assert test.words == ["the first", "earlier", "later"]
    assert test.masks["audio"].sum(axis=1).tolist() == [4, 1, 9]


def test_mmsa_file_that_runs_code(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'trace'}",)

    path = write_mmsa(tmp_path, False, True, lambda content: content.update(extra=Trap()))
    message = failure("mmsa_aligned", tmp_path / "raw", tmp_path)
    assert f"{path}: the pickle wants to call {os.system.__module__}.system" in message
    assert not (tmp_path / "trace").exists()


def test_mmsa_missing_file_names_both_places(tmp_path):
    write_mmsa(tmp_path, front=True, aligned=True)
    message = failure("mmsa_unaligned", tmp_path / "raw", tmp_path)
    raw = tmp_path / "raw"
    assert f"{raw / 'unaligned_50.pkl'} or {raw / 'Processed' / 'unaligned_50.pkl'} is missing" in (
        message
    )
    assert "GitHub thuiar/MMSA" in message


def test_bert_mask_counts_where_padding_is_not_zero():
    """Padded text can be non-zero; a zero vector inside the span of audio is no padding."""
    text = np.ones((1, 4, 2))
    bert = np.array([[[101, 7, 102, 0], [1, 1, 1, 0], [0, 0, 0, 0]]])
    np.testing.assert_array_equal(text_mask(text, bert), [[True, True, True, False]])
    audio = np.array([[0, 1, 0, 2, 0]])[..., None]
    np.testing.assert_array_equal(span_mask(audio, None), [[False, True, True, True, False]])


def test_bert_mask_gives_way_where_it_calls_zeros_a_token():
    """MMSA's aligned text is padded in front, while `text_bert` may be padded behind."""
    text = np.array([[0, 0, 1, 1, 1]])[..., None]
    bert = np.array([[[101, 7, 102, 0, 0], [1, 1, 1, 0, 0], [0] * 5]])
    np.testing.assert_array_equal(text_mask(text, bert), [[False, False, True, True, True]])
    other_length = np.zeros((1, 3, 8))
    np.testing.assert_array_equal(text_mask(text, other_length), [[False, False, True, True, True]])


@pytest.mark.parametrize(
    ("values", "length", "mask"),
    [
        ([1, 0, 0, 0, 0], 3, "11100"),  # quiet tokens inside the length stay
        ([0, 0, 0, 2, 0], 3, "00111"),
        ([0, 1, 2, 3, 0], 2, "01110"),  # the length does not fit: what is not zero counts
        ([1, 2, 3, 4, 5], 9, "11111"),
        ([0, 0, 0, 0, 0], 2, "00000"),
    ],
)
def test_lengths_say_where_a_sequence_ends(values, length, mask):
    found = span_mask(np.array([values])[..., None], np.array([length]))
    np.testing.assert_array_equal(found, [[bit == "1" for bit in mask]])


# --- anybody's ----------------------------------------------------------------------------------


def own_split(key, count=4):
    """Of CH-SIMS's form: other widths, labels of each modality, a video in all splits."""
    rng = np.random.default_rng(count)
    fields = {m: rng.normal(size=(count, 5, d)) for m, d in (("text", 6), ("audio", 3))}
    label = np.linspace(-0.8, 0.6, count)
    return {
        **fields,
        "vision": rng.normal(size=(count, 2)),  # one vector a sample
        "id": [f"video_{row}$_${key}{row}" for row in range(count)],
        "raw_text": [f"{key} {row}" for row in range(count)],
        "regression_labels": label,
        "regression_labels_T": np.where(np.arange(count) == 1, np.nan, label),
        "regression_labels_V": label / 2,
    }


def prepared_own(tmp_path, change=lambda content: None, name="mmsa/clips"):
    content = {key: own_split(key) for key in ("train", "valid", "test")}
    change(content)
    path = tmp_path / "clips.pkl"
    path.write_bytes(pickle.dumps(content))
    metadata = haemsa_datasets.prepare(name, path, tmp_path / "data", overwrite=True)
    return metadata, haemsa_datasets.load(name, tmp_path / "data")


def test_any_pickle_says_itself_what_it_holds(tmp_path):
    metadata, dataset = prepared_own(tmp_path)
    assert dataset.name == "mmsa/clips"
    assert dataset.widths == {"text": 6, "audio": 3, "vision": 2}
    assert [*dataset.tasks] == ["sentiment", "sentiment_text", "sentiment_vision"]
    sentiment = dataset.tasks["sentiment"]
    assert sentiment.range == (-1, 1) and "acc7" not in sentiment.metrics
    assert not dataset.conversational  # its videos are in all splits
    train = dataset.splits["train"]
    assert train.features["vision"].shape == (4, 1, 2)
    assert train.labelled["sentiment_text"].tolist() == [True, False, True, True]
    np.testing.assert_allclose(train.labels["sentiment"], np.linspace(-0.8, 0.6, 4), rtol=1e-6)
    assert metadata["description"] == "clips.pkl, a pickle in MMSA's form"
    assert "does not say what they are" in dataset.provenance["audio"]


@pytest.mark.parametrize(
    ("change", "check"),
    [
        (
            lambda of: of.update(id=[f"{of['raw_text'][0]}{row}" for row in range(4)]),
            lambda data: not data.conversational,
        ),
        (
            lambda of: of.update(id=[f"{of['raw_text'][0]}$_${row}" for row in range(4)]),
            lambda data: data.conversational,
        ),
        (
            lambda of: (of.pop("text"), of.pop("raw_text"), of.update(audio=None)),
            lambda data: data.widths == {"vision": 2} and not data.has_words,
        ),
        (
            lambda of: [of.pop(m) for m in ("text", "audio", "vision")],
            lambda data: data.widths == {} and data.has_words,
        ),
        (
            lambda of: of.update(regression_labels=[1, 4, 7, 2]),
            lambda data: (
                data.tasks["sentiment"].range == (1, 7)
                and data.tasks["sentiment"].metrics == ("mae", "corr")
            ),
        ),
        (
            lambda of: of.update(regression_labels=[-2.6, 0, 1.2, 2]),
            lambda data: (
                data.tasks["sentiment"].range == (-3, 3)
                and "acc7" in data.tasks["sentiment"].metrics
            ),
        ),
        (
            lambda of: (
                [of.pop(name) for name in [*of] if name.startswith("regression")],
                of.update(classification_labels=[0, 1, 2, 1], annotations=list("NOPO")),
            ),
            lambda data: data.tasks["sentiment"].classes == ("n", "o", "p"),
        ),
    ],
)
def test_pickles_of_other_contents(tmp_path, change, check):
    def everywhere(content):
        for of in content.values():
            change(of)
            if of["id"][0].startswith("video") and "regression_labels_T" not in of:
                of["id"] = [f"{of['id'][0]}-{row}" for row in range(4)]

    assert check(prepared_own(tmp_path, everywhere, name="mmsa")[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda of: of.update(audio=np.ones((4, 2, 5, 3))),
            "expected (N, T, width), or (N, width)",
        ),
        (lambda of: of.update(id=["a"] * 3), "text has shape (4, 5, 6); expected (3, T, 6)"),
        (lambda of: of.pop("id"), "field 'id' is missing"),
        (
            lambda of: [of.pop(name) for name in [*of] if name.startswith("regression")],
            "field 'regression_labels' is missing",
        ),
    ],
)
def test_pickles_that_do_not_fit(tmp_path, change, message):
    with pytest.raises(InputError) as caught:
        prepared_own(tmp_path, lambda content: change(content["train"]))
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert not [*(tmp_path / "data").glob("mmsa/*")]


def test_which_pickle_is_meant(tmp_path):
    prepared_own(tmp_path)
    raw = tmp_path / "raw"
    raw.mkdir()
    (tmp_path / "clips.pkl").rename(raw / "b.pkl")
    haemsa_datasets.prepare("mmsa/other", raw, tmp_path / "data")
    (raw / "a.pkl").write_bytes(b"")
    with pytest.raises(InputError, match=r"holds 2 pickles, a.pkl, b.pkl; name one: --raw_dir="):
        haemsa_datasets.prepare("mmsa/more", raw, tmp_path / "data")


def test_a_file_that_is_not_the_published_one_claims_nothing(tmp_path):
    write_mmsa(tmp_path, front=False, aligned=False)
    metadata = haemsa_datasets.prepare("cmu_mosi/mmsa_unaligned", tmp_path / "raw", tmp_path)
    assert metadata["description"] == (
        "a pickle in MMSA's form with 3/3/3 samples, not the published 1284/229/686"
    )
    assert "COVAREP" not in str(metadata)
    published = {
        key: [None] * count
        for key, count in zip(("train", "validation", "test"), PUBLISHED, strict=True)
    }
    assert unlike(published, PUBLISHED, CARDS["mmsa_unaligned"]) == {}
