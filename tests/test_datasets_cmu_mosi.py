"""CMU-MOSI: bc-LSTM's files as published."""

import csv
import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

import haemsa_datasets
from haemsa_datasets.cmu_mosi.folds import FOLDS
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


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [(0, "v_1_last", "'v_1_last' is no VIDEO_CLIP"), (3, "yes", "'yes' is neither 0 nor 1")],
)
def test_transcripts_of_another_kind(raw, tmp_path, column, value, words):
    change_cell(raw / "bclstm" / "transcripts.csv", 1, column, value)
    message = failure("contextual", raw, tmp_path)
    assert "transcripts.csv, row 2: " in message and words in message


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
    with h5py.File(path, "w") as file:
        file["Opinion Segment Labels/data/v_1/features"] = np.zeros((3, 2))
    assert f"{path}, v_1: features has shape (3, 2); expected (N, 1)" in failure(
        "contextual", raw, tmp_path
    )


@pytest.mark.parametrize("line", ["2.7", "nan", "inf", "-1", "99"])
def test_lines_that_transcripts_do_not_have(raw, tmp_path, line):
    change_cell(raw / "bclstm" / "text_train.csv", 1, 0, line)
    message = failure("contextual", raw, tmp_path)
    assert f"text_train.csv, row 2: there is no line {line} in transcripts.csv" in message
