"""CMU-MOSI: bc-LSTM's files as published, and MMSA's pickles written in exactly their format."""

import csv
import json
import os
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest

import haemsa_datasets
from haemsa_datasets.cmu_mosi.folds import FOLDS
from haemsa_datasets.mmsa import span_mask, text_mask
from haemsa_jax.errors import InputError

REAL = Path(os.environ.get("HAEMSA_DATA") or Path(__file__).parents[2] / "shared" / "data")
real_data = pytest.mark.skipif(
    not (REAL / "cmu_mosi").is_dir(), reason="real data: none at $HAEMSA_DATA"
)


def failure(config, raw, tmp_path):
    with pytest.raises(InputError) as caught:
        haemsa_datasets.prepare(f"cmu_mosi/{config}", raw, tmp_path / "data")
    return str(caught.value)


# --- contextual ---------------------------------------------------------------------------------


@real_data
def test_contextual_as_published(tmp_path):
    metadata = haemsa_datasets.prepare("cmu_mosi/contextual", REAL / "cmu_mosi", tmp_path)
    assert metadata["summary"]["samples"] == {"train": 1193, "validation": 254, "test": 752}
    assert metadata["summary"]["groups"] == {"train": 52, "validation": 10, "test": 31}
    dataset = haemsa_datasets.load("cmu_mosi/contextual", tmp_path)
    assert dataset.widths == {"text": 100, "audio": 73, "vision": 100} and dataset.conversational
    assert {mask.shape[1] for mask in dataset.splits["train"].masks.values()} == {1}
    test = dataset.splits["test"]
    np.testing.assert_allclose(
        test.labels["sentiment"][:5], [2.4, -0.8, -1.0, -1.75, 0.0], rtol=1e-6
    )
    assert test.ids[:3] == ["03bSnISJMiM_1", "03bSnISJMiM_2", "03bSnISJMiM_3"]
    assert test.ids[9:11] == ["03bSnISJMiM_10", "03bSnISJMiM_11"]  # 10 after 9, not after 1
    assert test.words[0] == "ANYHOW IT WAS REALLY GOOD"
    np.testing.assert_allclose(
        [test.features[m][0, 0, 0] for m in ("text", "audio")], [-0.571784, 211.09], rtol=1e-5
    )
    splits = json.loads((REAL / "cmu_mosi" / "splits.json").read_text())["contextual"]
    assert list(map(sorted, splits.values())) == list(map(sorted, FOLDS.values()))


@real_data
def test_official_labels_agree_with_the_label_file(tmp_path):
    haemsa_datasets.prepare("cmu_mosi/contextual", REAL / "cmu_mosi", tmp_path)
    splits = haemsa_datasets.load("cmu_mosi/contextual", tmp_path).splits.values()
    ours = {n: y for s in splits for n, y in zip(s.ids, s.labels["sentiment"], strict=True)}
    with (REAL / "cmu_mosi" / "label.csv").open(encoding="utf-8") as file:
        theirs = {row["id"]: float(row["label"]) for row in csv.DictReader(file)}
    assert len(theirs) == 2195 and set(theirs) < set(ours)
    assert max(abs(ours[name] - label) for name, label in theirs.items()) < 1e-6


VIDEOS = {"v_1": "train", "v2": "valid", "v3": "test"}
CLIPS = 3
WIDTHS = {"text": 100, "audio": 73, "video": 100}


@pytest.fixture
def raw(tmp_path):
    """Three videos of three clips in bc-LSTM's files; the transcripts are in another order."""
    folder = tmp_path / "raw" / "bclstm"
    folder.mkdir(parents=True)
    names = [f"{video}_{clip}" for video in VIDEOS for clip in range(1, CLIPS + 1)]
    lines = sorted(names, reverse=True)
    binary = {name: str(place % 2) for place, name in enumerate(names)}
    write_csv(folder / "transcripts.csv", [[n, f"words of {n}", "3", binary[n]] for n in lines])
    for part in ("train", "test"):
        mine = [n for n in names if (VIDEOS[n.rpartition("_")[0]] == "test") == (part == "test")]
        for modality, width in WIDTHS.items():
            rows = [[names.index(name) + 0.5] * width for name in mine]
            labelled = [[*row, binary[n]] for row, n in zip(rows, mine, strict=True)]
            write_csv(folder / f"{modality}_{part}0.csv", labelled)
            if modality == "text":
                numbered = [[lines.index(n), *row] for row, n in zip(rows, mine, strict=True)]
                write_csv(folder / f"text_{part}.csv", numbered)
    write_labels(tmp_path / "raw", {video: [-1.0, 0.0, 2.4] for video in VIDEOS})
    fold = {key: [v for v, where in VIDEOS.items() if where == key] for key in VIDEOS.values()}
    (tmp_path / "raw" / "splits.json").write_text(json.dumps({"contextual": fold}))
    return tmp_path / "raw"


def write_csv(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows(rows)


def write_labels(raw, labels):
    with h5py.File(raw / "CMU_MOSI_Opinion_Labels.csd", "w") as file:
        for video, values in labels.items():
            data = file.create_group(f"Opinion Segment Labels/data/{video}")
            data["features"] = np.array(values, np.float32)[:, None]


def change_cell(path, row, column, value):
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    rows[row][column] = value
    write_csv(path, rows)


def test_contextual_rows_meet_their_words_and_labels(raw, tmp_path):
    haemsa_datasets.prepare("cmu_mosi/contextual", raw, tmp_path)
    dataset = haemsa_datasets.load("cmu_mosi/contextual", tmp_path)
    train = dataset.splits["train"]
    assert train.ids == ["v_1_1", "v_1_2", "v_1_3"] and len(dataset.splits["validation"]) == 3
    assert train.words == ["words of v_1_1", "words of v_1_2", "words of v_1_3"]
    np.testing.assert_allclose(train.labels["sentiment"], [-1.0, 0.0, 2.4])
    for modality in ("text", "audio", "vision"):
        np.testing.assert_array_equal(train.features[modality][:, 0, -1], [0.5, 1.5, 2.5])
    np.testing.assert_array_equal(dataset.splits["test"].features["text"][:, 0, 0], [6.5, 7.5, 8.5])


@pytest.mark.parametrize(
    "name",
    [
        "bclstm/transcripts.csv",
        "bclstm/text_train.csv",
        "bclstm/audio_test0.csv",
        "bclstm/video_train0.csv",
        "CMU_MOSI_Opinion_Labels.csd",
    ],
)
def test_missing_file(raw, tmp_path, name):
    (raw / name).unlink()
    message = failure("contextual", raw, tmp_path)
    assert message.startswith(f"{raw / name} is missing; nothing is downloaded, get it yourself: ")
    assert "declare-lab/contextual-utterance-level-multimodal-sentiment-analysis" in message


@pytest.mark.parametrize("row", [1, 3])
def test_wrong_number_of_columns(raw, tmp_path, row):
    path = raw / "bclstm" / "audio_train0.csv"
    lines = path.read_text().splitlines()
    lines[row - 1] += ',"1"'
    path.write_text("\n".join(lines))
    message = failure("contextual", raw, tmp_path)
    assert message == f"{path}, row {row}: 75 columns; expected 74"


def test_a_word_for_a_number(raw, tmp_path):
    path = raw / "bclstm" / "video_test0.csv"
    change_cell(path, 1, 6, "high")
    message = failure("contextual", raw, tmp_path)
    assert message == f"{path}, row 2, column 7: 'high' is not a number"


def test_rows_that_are_missing(raw, tmp_path):
    path = raw / "bclstm" / "video_test0.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
    message = failure("contextual", raw, tmp_path)
    assert f"{path}: 2 rows; expected 3, as many as the text file" in message


def test_rows_in_another_order(raw, tmp_path):
    change_cell(raw / "bclstm" / "audio_train0.csv", 1, -1, "0")
    message = failure("contextual", raw, tmp_path)
    assert (
        "text_train.csv, row 2: the binary label of v_1_2 is 1 in transcripts.csv, 0 in" in message
    )


@pytest.mark.parametrize(
    ("fold", "found"),
    [
        ({"train": ["v3"], "valid": ["v2"], "test": ["v_1"]}, "'test'"),
        ({"train": [], "valid": ["v2"], "test": ["v3"]}, "'no split'"),
    ],
)
def test_a_training_video_elsewhere_would_be_a_leak(raw, tmp_path, fold, found):
    (raw / "splits.json").write_text(json.dumps({"contextual": fold}))
    message = failure("contextual", raw, tmp_path)
    assert f"video v_1 belongs to the train files, but splits.json puts it in {found}" in message
    assert "so the test split is exactly the test files" in message


def test_missing_and_impossible_labels(raw, tmp_path):
    write_labels(raw, {"v_1": [0.0, 1.0], "v2": [0.0] * 3, "v3": [0.0] * 3})
    message = failure("contextual", raw, tmp_path)
    assert "text_train.csv, row 3: no official label for clip 3 of video v_1" in message
    write_labels(raw, {"v_1": [0.0, np.nan, 1.0], "v2": [0.0] * 3, "v3": [0.0] * 3})
    message = failure("contextual", raw, tmp_path)
    assert "row 2: label nan of sample 'v_1_2' for task 'sentiment' is not a number in" in message


def test_labels_in_another_format(raw, tmp_path):
    path = raw / "CMU_MOSI_Opinion_Labels.csd"
    path.write_bytes(b"no HDF5")
    assert f"{path}: not the labels of the CMU" in failure("contextual", raw, tmp_path)


# --- MMSA ---------------------------------------------------------------------------------------

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
            "'train': audio has shape (3, 9, 74); expected (3, T, 5)",
        ),
        (
            first(regression_labels=np.array([0.0, np.nan, 1.0])),
            "'train', sample 1: label nan of sample 'trainB$_$10' for task 'sentiment' is not",
        ),
        (
            first(regression_labels=np.array([0.0, 1.0])),
            "'train': 2 regression_labels; expected 3, one a sample",
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
