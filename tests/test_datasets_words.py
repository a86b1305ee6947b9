"""Data sets of words: label.csv of MOSI and MOSEI, MELD; as published and in their formats."""

import csv
import os
import re
from pathlib import Path

import numpy as np
import pytest

import haemsa_datasets
from haemsa_datasets.summary import to_table
from haemsa_jax.errors import InputError
from haemsa_jax.models.haemsa import HaemsaConfig

REAL = Path(os.environ.get("HAEMSA_DATA") or Path(__file__).parents[2] / "shared" / "data")
real_data = pytest.mark.skipif(not REAL.is_dir(), reason="real data: none at $HAEMSA_DATA")

MOSI = [
    ["id", "text", "label", "mode"],
    ["a_b_2", "later", "1.5", "train"],
    ["a_b_1", "earlier", "-3.0", "train"],
    ["c_1", "käse", "0", "dev"],
    ["d_1", "last words", "2.2", "test"],
]
MOSEI = [
    ["video_id", "clip_id", "text", "label", "mode"],
    ["v", "119_919", "third", "1.0", "train"],
    ["v", "4_84", "first", "-0.3333333", "train"],
    ["v", "27_031", "second", "0.6666667", "train"],
    ["w", "0", "a", "0", "valid"],
    ["x", "0", "b", "3", "test"],
]
MELD = [
    ["Sr No.", "Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID"],
    ["1", "You must\u2019ve had your hands full.", "Ross", "neutral", "neutral", "0", "1"],
    ["2", "also", "Chandler", "joy", "positive", "0", "0"],
    ["3", "No!", "Rachel", "fear", "negative", "10", "0"],
]


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)


def write_meld(folder, rows=MELD):
    for name in ("train", "dev", "test"):
        write(folder / f"{name}_sent_emo.csv", rows)


def prepared(name, tmp_path):
    haemsa_datasets.prepare(name, tmp_path / "raw", tmp_path / "data")
    return haemsa_datasets.load(name, tmp_path / "data")


def failure(name, tmp_path):
    with pytest.raises(InputError) as caught:
        haemsa_datasets.prepare(name, tmp_path / "raw", tmp_path / "data")
    return str(caught.value)


def test_mosi_in_its_format(tmp_path):
    write(tmp_path / "raw" / "label.csv", MOSI)
    dataset = prepared("cmu_mosi/standard", tmp_path)
    train = dataset.splits["train"]
    assert dataset.widths == {} and dataset.conversational
    assert train.ids == ["a_b_1", "a_b_2"]
    assert train.words == ["earlier", "later"]
    np.testing.assert_array_equal(train.labels["sentiment"], np.float32([-3.0, 1.5]))
    assert dataset.splits["validation"].words == ["käse"]


SIMS = [
    ["video_id", "clip_id", "text", "english", "label", "mode"],
    ["video_0018", "0004", "闭嘴", "Shut up.", "-1.0", "train"],
    ["video_0018", "0005", "好", "Fine.", "0.4", "valid"],
    ["video_0029", "0010", "听得见吗", "Can you hear me?", "0.0", "test"],
]


@pytest.mark.parametrize(
    ("config", "file", "first"),
    [("standard", "label.csv", "闭嘴"), ("v2_english", "label_v2.csv", "Shut up.")],
)
def test_ch_sims_in_its_format(tmp_path, config, file, first):
    write(tmp_path / "raw" / file, SIMS)
    dataset = prepared(f"ch_sims/{config}", tmp_path)
    assert dataset.splits["train"].words == [first] and not dataset.conversational
    assert dataset.splits["test"].ids == ["video_0029_0010"]
    assert dataset.tasks["sentiment"].range == (-1.0, 1.0)


@real_data
@pytest.mark.parametrize(
    ("config", "counts"),
    [("standard", [1368, 456, 457]), ("v2", [2722, 647, 1034])],
)
def test_ch_sims_as_published(tmp_path, config, counts):
    haemsa_datasets.prepare(f"ch_sims/{config}", REAL / "ch_sims", tmp_path)
    dataset = haemsa_datasets.load(f"ch_sims/{config}", tmp_path)
    assert [len(dataset.splits[name]) for name in ("train", "validation", "test")] == counts


def test_mosei_clips_follow_time(tmp_path):
    write(tmp_path / "raw" / "label.csv", MOSEI)
    dataset = prepared("cmu_mosei/standard", tmp_path)
    assert dataset.splits["train"].words == ["first", "second", "third"]
    assert dataset.splits["train"].ids[0] == "v_4_84"
    assert len(set(dataset.splits["train"].group)) == 1


def test_meld_in_its_format(tmp_path):
    write_meld(tmp_path / "raw")
    dataset = prepared("meld", tmp_path)
    test = dataset.splits["test"]
    assert test.ids == ["test_0_0", "test_0_1", "test_10_0"]
    assert test.words[1] == "You must\u2019ve had your hands full."
    assert test.speakers == ["Chandler", "Ross", "Rachel"]
    assert test.group.tolist() == [0, 0, 1]
    assert [dataset.tasks["emotion"].classes[c] for c in test.labels["emotion"]] == [
        "joy", "neutral", "fear"
    ]  # fmt: skip
    assert test.labels["sentiment"].tolist() == [2, 1, 0]


@pytest.mark.parametrize(
    ("row", "column", "value", "message"),
    [
        (0, 2, "score", "column 'label' is missing; it has id, text, score, mode"),
        (2, 3, "training", "row 3: mode 'training' is none of train, dev, valid, test"),
        (2, 2, "good", "row 3: label 'good' is not a number"),
        (2, 2, "nan", "label nan of sample 'a_b_1'"),
        (2, 2, "7", "is not a number in [-3, 3]"),
        (2, 0, "a_b_x", "row 3: clip 'x' of video a_b is no number"),
        (2, 0, "a_b_2", "id 'a_b_2' was already used"),
        (2, 1, " ", "sample 'a_b_1' has no modality at all; at least one of its words must"),
    ],
)
def test_a_label_file_that_does_not_fit(tmp_path, row, column, value, message):
    rows = [list(cells) for cells in MOSI]
    rows[row][column] = value
    write(tmp_path / "raw" / "label.csv", rows)
    assert message in failure("cmu_mosi/standard", tmp_path)


@pytest.mark.parametrize(
    ("row", "column", "value", "message"),
    [
        (2, 0, "#NAME?", "row 3: id is #NAME?, which a spreadsheet wrote"),
        (2, 1, "#REF!", "row 3: text is #REF!, which a spreadsheet wrote"),
        (2, 0, "", "row 3: id '' is not of the form VIDEO_CLIP"),
        (2, 0, "_1", "row 3: id '_1' is not of the form"),
        (2, 0, "a_b_02", "'a_b_02' and 'a_b_2' are both at place 2 of 'a_b'"),
        (2, 0, "a_b_²", "clip '²' of video a_b is no number"),
        (2, 2, "1_5", "row 3: label '1_5' is not a number"),
        (0, 3, "text", "column 'text' is there twice"),
    ],
)
def test_a_label_file_that_a_spreadsheet_changed(tmp_path, row, column, value, message):
    rows = [list(cells) for cells in MOSI]
    rows[row][column] = value
    write(tmp_path / "raw" / "label.csv", rows)
    assert message in failure("cmu_mosi/standard", tmp_path)


@pytest.mark.parametrize("clip", ["119_919", "0119_919", ""])
def test_mosei_clips_of_one_time_or_none(tmp_path, clip):
    rows = [list(cells) for cells in MOSEI]
    rows[2][1] = clip
    write(tmp_path / "raw" / "label.csv", rows)
    message = failure("cmu_mosei/standard", tmp_path)
    expected = "begins where another clip of it does" if clip else "row 3: clip_id is empty"
    assert expected in message


def test_a_quote_takes_no_row_along(tmp_path):
    path = tmp_path / "raw" / "label.csv"
    write(path, MOSI)
    text = path.read_text("utf-8")
    path.write_text(text.replace("later", '"later').replace("käse", 'käse"'), "utf-8")
    message = failure("cmu_mosi/standard", tmp_path)
    assert f"{path}, row 2: a quote that opens here is closed on line 4" in message
    path.write_text(text.replace("last words", '"last words'), "utf-8")
    assert "row 5: a quote opens here and is not closed" in failure("cmu_mosi/standard", tmp_path)


def test_control_characters_of_words_are_replaced_and_counted(tmp_path):
    rows = [list(cells) for cells in MOSI]
    rows[1][1], rows[2][1] = "it\x97was\x85 ", "two\nlines"
    rows[3][1] = "long " * 40_000
    write(tmp_path / "raw" / "label.csv", rows)
    splits = prepared("cmu_mosi/standard", tmp_path).splits
    assert splits["train"].words == ["two lines", "it—was…"]
    assert len(splits["validation"].words[0]) > 131_072
    about = haemsa_datasets.metadata("cmu_mosi/standard", tmp_path / "data")
    assert about["summary"]["words"]["controls"] == {"characters": 3, "samples": 2}
    table = to_table("cmu_mosi/standard", about, tmp_path)
    assert "words: 3 control characters of 2 samples" in table


def test_a_short_row(tmp_path):
    write(tmp_path / "raw" / "label.csv", [*MOSI, ["e_1", "words"]])
    assert "row 6: not as many columns" in failure("cmu_mosi/standard", tmp_path)


def test_a_mosei_clip_without_time(tmp_path):
    rows = [list(cells) for cells in MOSEI]
    rows[1][1] = "first"
    write(tmp_path / "raw" / "label.csv", rows)
    assert "clip 'first' of video v is neither" in failure("cmu_mosei/standard", tmp_path)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (3, "rage", "emotion 'rage' is none of neutral, joy"),
        (4, "mixed", "sentiment 'mixed' is none of negative"),
        (5, "two", "Dialogue_ID 'two' and Utterance_ID '0' must be numbers"),
    ],
)
def test_a_meld_file_that_does_not_fit(tmp_path, column, value, message):
    rows = [list(cells) for cells in MELD]
    rows[2][column] = value
    write_meld(tmp_path / "raw", rows)
    assert message in failure("meld", tmp_path)


def test_a_short_meld_row(tmp_path):
    write_meld(tmp_path / "raw", [*MELD, ["4", "cut o"]])
    assert "row 5: not as many columns as the first row names" in failure("meld", tmp_path)


@pytest.mark.parametrize("name", ["meld", "cmu_mosi/standard"])
def test_another_encoding(tmp_path, name):
    write_meld(tmp_path / "raw")
    write(tmp_path / "raw" / "label.csv", MOSI)
    for path in (tmp_path / "raw").iterdir():
        path.write_bytes(path.read_text("utf-8").encode("cp1252"))
    assert "is not UTF-8 (" in failure(name, tmp_path)


def test_missing_files(tmp_path):
    write(tmp_path / "raw" / "other.csv", MOSI)
    for name in ("cmu_mosi/standard", "cmu_mosei/standard", "meld"):
        assert "is missing; nothing is downloaded, get it yourself" in failure(name, tmp_path)
    write_meld(tmp_path / "raw", [row[:4] for row in MELD])
    assert "column 'Sentiment' is missing" in failure("meld", tmp_path)


def test_words_alone_need_an_encoder(tmp_path):
    write(tmp_path / "raw" / "label.csv", MOSI)
    dataset = prepared("cmu_mosi/standard", tmp_path)
    tasks = {f"{dataset.name}:{name}": task for name, task in dataset.tasks.items()}
    with pytest.raises(InputError, match="has no modality; if it has words, name an encoder"):
        HaemsaConfig({dataset.name: dataset.widths}, tasks)


@real_data
def test_mosi_as_published(tmp_path):
    """The four clips that label.csv lacks come from the files of the contextual line."""
    about = haemsa_datasets.prepare("cmu_mosi/standard", REAL / "cmu_mosi", tmp_path)
    assert about["summary"]["samples"] == {"train": 1284, "validation": 229, "test": 686}
    splits = haemsa_datasets.load("cmu_mosi/standard", tmp_path).splits
    test = {i: (w, y) for s in splits.values() for i, w, y in
            zip(s.ids, s.words, s.labels["sentiment"], strict=True)}  # fmt: skip
    assert test["03bSnISJMiM_1"][0] == "anyhow it was really good"
    assert test["2WGyTLYerpo_44"][0] == "shes beautiful"


@real_data
def test_mosei_and_meld_as_published(tmp_path):
    about = haemsa_datasets.prepare("cmu_mosei/standard", REAL / "cmu_mosei", tmp_path)
    assert about["summary"]["samples"] == {"train": 16274, "validation": 1861, "test": 4653}
    about = haemsa_datasets.prepare("meld", REAL / "meld", tmp_path)
    assert about["summary"]["samples"] == {"train": 9989, "validation": 1109, "test": 2610}
    assert about["summary"]["labels"]["emotion"]["test"]["joy"] == 402


def runs_of_words(sentence, length=8):
    """All so many words that follow each other, without case and punctuation."""
    words = re.findall(r"[a-z']+", sentence.lower())
    return {tuple(words[at : at + length]) for at in range(len(words) - length + 1)}


@real_data
def test_who_learns_on_mosei_has_not_seen_mosi(tmp_path):
    """Neither a video nor eight words in a row, so that its test split tells what transfers."""
    splits = {}
    for name in ("cmu_mosi", "cmu_mosei"):
        haemsa_datasets.prepare(f"{name}/standard", REAL / name, tmp_path)
        splits[name] = haemsa_datasets.load(f"{name}/standard", tmp_path).splits
    videos = tuple({i.rpartition("_")[0] for s in splits["cmu_mosi"].values() for i in s.ids})
    assert len(videos) == 93
    for split in splits["cmu_mosei"].values():
        assert not [i for i in split.ids if i.startswith(videos)]
    learnt = [splits["cmu_mosei"][name].words for name in ("train", "validation")]
    seen = set().union(*(runs_of_words(words) for split in learnt for words in split))
    for split in splits["cmu_mosi"].values():
        assert not [words for words in split.words if runs_of_words(words) & seen]
