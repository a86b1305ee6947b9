"""Builders and loading, on a small data set that is added by adding its folder."""

import dataclasses
import errno
import hashlib
import importlib
import json
import os
import tempfile
import textwrap
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

import haemsa_datasets
from haemsa_datasets import catalog
from haemsa_datasets.builder import record_features, to_record
from haemsa_datasets.samples import Sample
from haemsa_datasets.summary import to_table
from haemsa_jax.errors import InputError

TINY = '''
"""Three tasks of different kinds, dialogues, and sequences of unequal length."""
import tensorflow_datasets as tfds
from haemsa_datasets.builder import HaemsaBuilder
from haemsa_datasets.samples import Card
from haemsa_jax.config import TaskSpec

SPLITS = {}

class Builder(HaemsaBuilder):
    VERSION = tfds.core.Version("1.2.0")
    card = Card(
        description="a tiny data set",
        widths={"text": 3, "audio": 2},
        tasks=(
            TaskSpec("score", "regression", ("mae",), range=(-1.0, 1.0)),
            TaskSpec("mood", "classification", ("accuracy",), classes=("down", "up")),
            TaskSpec("tags", "multilabel", ("f1_mean",), classes=("a", "b", "c")),
        ),
        provenance={"text": "letters", "audio": "noises"},
        conversational=True,
    )

    def read(self, raw_dir):
        return {name: list(samples) for name, samples in SPLITS.items()}
'''


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The module of a builder whose folder has just been added; nothing else was edited."""
    root = tmp_path_factory.mktemp("package")
    (root / "tiny").mkdir()
    (root / "tiny" / "__init__.py").write_text("")
    (root / "tiny" / "tiny_dataset_builder.py").write_text(textwrap.dedent(TINY))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(haemsa_datasets, "__path__", [*haemsa_datasets.__path__, str(root)])
        yield importlib.import_module("haemsa_datasets.tiny.tiny_dataset_builder")


def sample(name, group="g", turn=0, text=1, audio=1, value=1.0, labels=None, **others):
    """A sample with `text` and `audio` tokens, all features `value`."""
    features = {
        "text": np.full((text, 3), value, np.float32),
        "audio": np.full((audio, 2), value, np.float32),
    }
    labels = {"score": 0.5, "mood": 1, "tags": [1, 0, 1]} if labels is None else labels
    return Sample(name, group, turn, features, labels, origin=f"file.csv, row {name}", **others)


@pytest.fixture
def splits(tiny):
    """Two dialogues in the training split, out of order; one sample has no labels."""
    tiny.SPLITS = {
        "train": [
            sample("b2", "b", 10, text=2, words="späť"),
            sample("a1", "a", 1, audio=0),
            sample("b1", "b", 9, text=0, audio=5, labels={}),
            sample("a0", "a", 0, value=3.0),
        ],
        "validation": [sample("c0", "c", text=4)],
        "test": [sample("d0", "d", audio=7, labels={"score": -1, "mood": 0, "tags": [0, 0, 0]})],
    }
    return tiny.SPLITS


def test_a_folder_is_all_it_takes(tiny, splits, tmp_path):
    assert haemsa_datasets.names()[-1] == "tiny"
    haemsa_datasets.prepare("tiny", None, tmp_path)
    assert haemsa_datasets.load("tiny", tmp_path).name == "tiny"


def test_the_data_sets_of_the_project():
    assert [name for name in haemsa_datasets.names() if name != "tiny"] == [
        "ch_sims/standard",
        "ch_sims/standard_english",
        "ch_sims/v2",
        "ch_sims/v2_english",
        "cmu_mosei/standard",
        "cmu_mosei/mmsa_aligned",
        "cmu_mosei/mmsa_aligned_emotions",
        "cmu_mosei/mmsa_unaligned",
        "cmu_mosei/mmsa_unaligned_emotions",
        "cmu_mosi/contextual",
        "cmu_mosi/standard",
        "cmu_mosi/misa",
        "cmu_mosi/mmsa_aligned",
        "cmu_mosi/mmsa_unaligned",
        "echoed",
        "hazumi",
        "iemocap/release",
        "iemocap/utterances",
        "iemocap/mmgcn",
        "iemocap/dialoguernn",
        "iemocap/mult",
        "meld",
        "mmsa",
        "planted",
    ]


def test_round_trip_in_order_of_conversation(splits, tmp_path):
    haemsa_datasets.prepare("tiny", None, tmp_path)
    dataset = haemsa_datasets.load("tiny", tmp_path)
    train, test = dataset.splits["train"], dataset.splits["test"]
    assert dataset.conversational and dataset.widths == {"text": 3, "audio": 2}
    assert dataset.provenance == {"text": "letters", "audio": "noises"}
    assert dataset.tasks["tags"].classes == ("a", "b", "c")
    assert train.ids == ["a0", "a1", "b1", "b2"]
    assert train.words == ["", "", "", "späť"]
    np.testing.assert_array_equal(train.group, [0, 0, 1, 1])
    np.testing.assert_array_equal(train.masks["text"].sum(axis=1), [1, 1, 0, 2])
    np.testing.assert_array_equal(train.presence["audio"], [True, False, True, True])
    np.testing.assert_array_equal(train.features["text"][0, 0], [3, 3, 3])
    assert not train.features["text"][2].any()
    for task in dataset.tasks:
        np.testing.assert_array_equal(train.labelled[task], [True, True, False, True])
    np.testing.assert_array_equal(train.labels["tags"][0], [1, 0, 1])
    np.testing.assert_array_equal(test.labels["score"], [-1])
    assert train.labels["mood"].dtype == np.int32 and train.labels["mood"][0] == 1


def test_lengths_are_the_longest_of_any_split_though_one_is_read(splits, tmp_path):
    haemsa_datasets.prepare("tiny", None, tmp_path)
    dataset = haemsa_datasets.load("tiny", tmp_path, splits=["train"])
    assert set(dataset.splits) == {"train"}
    assert dataset.splits["train"].masks["text"].shape == (4, 4)
    assert dataset.splits["train"].masks["audio"].shape == (4, 7)


def test_only_the_splits_asked_for_are_read(splits, tmp_path):
    haemsa_datasets.prepare("tiny", None, tmp_path)
    for file in tmp_path.glob("tiny/*/tiny-test.array_record*"):
        file.unlink()
    assert len(haemsa_datasets.load("tiny", tmp_path, ("train", "validation")).splits) == 2


def test_stored_as_declared_and_described(tiny, splits, tmp_path):
    """What TFDS's own test case would check: types, keys, splits, metadata."""
    metadata = haemsa_datasets.prepare("tiny", None, tmp_path)
    builder = tfds.builder_from_directory(str(catalog.prepared_path("tiny", tmp_path)))
    card = tiny.Builder.card
    assert repr(builder.info.features) == repr(record_features(card))
    ids = {}
    for split in builder.info.splits:
        records = list(builder.as_data_source(split))
        assert len(records) == builder.info.splits[split].num_examples == len(splits[split])
        for record in records:
            assert set(record) == set(builder.info.features)
            assert record["features"]["text"].dtype == np.float32
            assert ids.setdefault(record["id"], split) == split
    assert len(ids) == 6
    assert metadata == json.loads(json.dumps(metadata))
    assert {**metadata, **json.loads(json.dumps(card.to_json()))} == metadata
    assert metadata["max_lengths"] == {"text": 4, "audio": 7}
    summary = metadata["summary"]
    assert summary["samples"] == {"train": 4, "validation": 1, "test": 1}
    assert summary["groups"] == {"train": 2, "validation": 1, "test": 1}
    assert summary["lengths"]["text"] == {"min": 1, "median": 1.0, "max": 4}
    assert summary["absent"] == {"text": 1, "audio": 1}
    assert summary["labels"]["mood"]["train"] == {"down": 0, "up": 3}
    assert summary["labels"]["tags"]["train"] == {"a": 3, "b": 0, "c": 3}
    assert summary["labels"]["score"]["train"] == {
        "labelled": 3, "min": 0.5, "mean": 0.5, "max": 0.5,
    }  # fmt: skip


def test_registered_with_tfds_and_built_by_it_alone(tiny, splits, tmp_path):
    builder = tfds.builder("tiny", data_dir=str(tmp_path), file_format="array_record")
    assert isinstance(builder, tiny.Builder)
    builder.download_and_prepare()
    assert len(haemsa_datasets.load("tiny", tmp_path).splits["train"]) == 4


def test_a_division_into_splits_has_a_name(splits, tmp_path):
    """The same for the same samples in any order, another where one has moved."""
    names = []
    for change in (list.reverse, lambda train: train[0].labels.update(score=0.1), list.pop):
        change(splits["train"])
        haemsa_datasets.prepare("tiny", None, tmp_path, overwrite=True)
        names.append(haemsa_datasets.load("tiny", tmp_path, ["test"]).partition)
    assert names[0] == names[1] != names[2] and len(names[0]) == 16


def test_two_builds_give_the_same_bytes(splits, tmp_path):
    def digests(data_dir):
        haemsa_datasets.prepare("tiny", None, data_dir)
        files = sorted(data_dir.glob("tiny/1.2.0/*.array_record*"))
        assert len(files) == 3
        return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]

    assert digests(tmp_path / "one") == digests(tmp_path / "two")


def test_values_that_are_not_finite_become_the_training_mean(splits, tmp_path):
    splits["train"][0].features["text"][1] = [np.nan, -np.inf, 4.0]
    splits["test"][0].features["audio"][:3, 1] = np.inf
    metadata = haemsa_datasets.prepare("tiny", None, tmp_path)
    dataset = haemsa_datasets.load("tiny", tmp_path)
    # Finite training values of the first two columns: 1 (b2), 1 (a1), 3 (a0).
    np.testing.assert_allclose(dataset.splits["train"].features["text"][3, 1], [5 / 3, 5 / 3, 4])
    # The mean of audio column 1 is over six training tokens: five of b1 with 1, a0 3, b2 1.
    np.testing.assert_allclose(
        dataset.splits["test"].features["audio"][0, :4, 1], [9 / 7, 9 / 7, 9 / 7, 1]
    )
    assert metadata["summary"]["replaced"] == {
        "text": {"values": 2, "samples": 1},
        "audio": {"values": 3, "samples": 1},
    }
    table = to_table("tiny", metadata, Path("there"))
    assert "text: 2 values of 1 samples were not finite and are replaced by the training" in table
    assert "audio: 3 values of 1 samples" in table


def test_a_group_in_two_splits_is_named(tiny, splits, tmp_path, monkeypatch):
    card = dataclasses.replace(tiny.Builder.card, conversational=False)
    monkeypatch.setattr(tiny.Builder, "card", card)
    table = to_table("tiny", haemsa_datasets.prepare("tiny", None, tmp_path / "apart"), tmp_path)
    assert "warning" not in table
    splits["test"].append(sample("a2", "a", 2))
    table = to_table("tiny", haemsa_datasets.prepare("tiny", None, tmp_path / "mixed"), tmp_path)
    assert "warning: group 'a' is in the splits train, test: what is learnt of it" in table


def test_a_column_without_any_finite_training_value_becomes_zero(splits, tmp_path):
    for one in splits["train"]:
        one.features["audio"][:, 0] = np.nan
    haemsa_datasets.prepare("tiny", None, tmp_path)
    train = haemsa_datasets.load("tiny", tmp_path).splits["train"]
    assert not train.features["audio"][..., 0].any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.update(validation=[]), "split 'validation' is empty"),
        (lambda s: s.pop("test"), "split 'test' is empty"),
        (
            lambda s: s.update(test=[sample("d0", labels={"score": 0})]),
            "split 'test' has no sample with a label for 'mood'",
        ),
        (
            lambda s: s["test"].append(sample("c0")),
            "file.csv, row c0: id 'c0' was already used in file.csv, row c0",
        ),
        (
            lambda s: s["test"].append(sample("e0", text=0, audio=0)),
            "file.csv, row e0: sample 'e0' has no modality at all; at least one of text, audio",
        ),
        (
            lambda s: s["test"].append(sample("a2", "a", 2)),
            "file.csv, row a2: dialogue 'a' is in split 'test' and in 'train'; keep all of a",
        ),
        (
            lambda s: s["test"][0].features.update(text=np.zeros((4, 2), np.float32)),
            "file.csv, row d0: text features have shape (4, 2); expected (T, 3)",
        ),
        (
            lambda s: s["test"][0].labels.update(score=float("nan")),
            "file.csv, row d0: label nan of sample 'd0' for task 'score' is not a number",
        ),
        (lambda s: s["test"][0].labels.update(score=1.5), "is not a number in [-1, 1]"),
        (lambda s: s["test"][0].labels.update(mood=2), "is not a class number from 0 to 1"),
        (lambda s: s["test"][0].labels.update(tags=[1, 0]), "is not 3 times 0 or 1"),
        (
            lambda s: s["test"][0].labels.update(score=None),
            "row d0: label for task 'score' of sample 'd0' is None; expected numbers",
        ),
        (lambda s: s["test"][0].labels.update(score="0.5"), "is '0.5'; expected numbers"),
        (lambda s: s["test"][0].labels.update(anger=1), "labels 'anger' is missing or unknown"),
        (lambda s: s["test"][0].features.pop("audio"), "features 'audio' is missing or unknown"),
        (
            lambda s: s["test"][0].features.update(audio=np.array([["1", "2"]])),
            "row d0: audio features are an array of shape (1, 2); expected an array of numbers",
        ),
        (lambda s: s["test"].append(sample("e0", words=None)), "row e0: words is None; expected"),
        (lambda s: s["test"].append(sample("e0", words="\ud83d")), "holds half of a character"),
        (lambda s: s["test"].append(sample("e0", group=3)), "row e0: group is 3; expected a str"),
        (lambda s: s["test"].append(sample("e0", turn="1")), "row e0: turn is '1'; expected a w"),
        (lambda s: s["test"].append(sample("")), "id or group is empty"),
        (lambda s: s["train"].append(sample("a00", "a")), "'a00' and 'a0' are both at place 0"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_left(splits, tmp_path, change, message):
    change(splits)
    with pytest.raises(InputError) as caught:
        haemsa_datasets.prepare("tiny", None, tmp_path)
    assert message in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_build_cut_off_leaves_what_was_there(tiny, splits, tmp_path, monkeypatch):
    haemsa_datasets.prepare("tiny", None, tmp_path)

    def cut_off(self, samples):
        yield 0, to_record(samples[0], self.card.tasks)
        raise KeyboardInterrupt

    monkeypatch.setattr(tiny.Builder, "_generate_examples", cut_off)
    with pytest.raises(KeyboardInterrupt):
        haemsa_datasets.prepare("tiny", None, tmp_path, overwrite=True)
    assert len(haemsa_datasets.load("tiny", tmp_path).splits["train"]) == 4
    with pytest.raises(KeyboardInterrupt):
        haemsa_datasets.prepare("tiny", None, tmp_path / "new")
    with pytest.raises(InputError, match="not prepared"):
        haemsa_datasets.load("tiny", tmp_path / "new")
    assert not list((tmp_path / "new").iterdir())


def test_built_again_only_when_asked_to(splits, tmp_path):
    haemsa_datasets.prepare("tiny", None, tmp_path)
    splits["test"].append(sample("e0", "e"))
    lines = []
    haemsa_datasets.prepare("tiny", None, tmp_path, report=lines.append)
    assert lines == ["tiny: already prepared, nothing was read; --overwrite builds it again"]
    assert len(haemsa_datasets.load("tiny", tmp_path).splits["test"]) == 1
    with pytest.raises(InputError, match=r"tiny: there is no none\.pkl; .* is prepared already"):
        haemsa_datasets.prepare("tiny", "none.pkl", tmp_path)
    (tmp_path / "raw.pkl").touch()
    haemsa_datasets.prepare("tiny", tmp_path / "raw.pkl", tmp_path, report=lines.append)
    assert lines[1] == f"tiny: warning: {tmp_path / 'raw.pkl'} is newer than what was prepared"
    (tmp_path / "raw.pkl").unlink()
    haemsa_datasets.prepare("tiny", None, tmp_path, overwrite=True)
    assert len(haemsa_datasets.load("tiny", tmp_path).splits["test"]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_what_was_prepared_stays_where_the_new_cannot_take_its_place(splits, tmp_path, monkeypatch):
    haemsa_datasets.prepare("tiny", None, tmp_path)
    splits["test"].append(sample("e0", "e"))
    rename = Path.rename

    def failing(path, target):
        if ".preparing-" in str(path) and ".preparing-" not in str(target):
            raise OSError(errno.EIO, "Input/output error", str(target))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(InputError, match="Input/output error"):
        haemsa_datasets.prepare("tiny", None, tmp_path, overwrite=True)
    assert len(haemsa_datasets.load("tiny", tmp_path).splits["test"]) == 1
    assert [path.name for path in (tmp_path / "tiny").iterdir()] == ["1.2.0"]


def test_names_of_classes_that_never_end(splits, tmp_path):
    haemsa_datasets.prepare("tiny", None, tmp_path)
    (path,) = tmp_path.glob("tiny/1.2.0/labels-mood.*txt")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(InputError, match="is not a regular file"):
        haemsa_datasets.load("tiny", tmp_path)


@pytest.mark.parametrize("damage", ["cut", "empty", "garbage", "gone", "of another", "a FIFO"])
@pytest.mark.parametrize(
    "file", ["features.json", "metadata.json", "dataset_info.json", "tiny-train.array_record*"]
)
def test_a_damaged_file_is_named_and_how_to_make_it_again(splits, tmp_path, file, damage):
    haemsa_datasets.prepare("tiny", None, tmp_path)
    (path,) = tmp_path.glob(f"tiny/1.2.0/{file}")
    if damage == "gone":
        path.unlink()
    elif damage == "a FIFO":
        path.unlink()
        os.mkfifo(path)
    elif damage == "of another":
        other = path.with_name(path.name.replace("train", "test"))
        path.write_bytes(other.read_bytes() if "record" in file else b"{}")
    else:
        whole = path.read_bytes()
        path.write_bytes({"cut": whole[: len(whole) // 2], "empty": b""}.get(damage, b"x" * 99_999))
    with pytest.raises(InputError) as caught:
        haemsa_datasets.load("tiny", tmp_path)
    assert f"prepare_data --dataset=tiny --data_dir={tmp_path}" in str(caught.value)
    if file != "dataset_info.json" or damage not in ("gone", "a FIFO"):
        named = path.name if damage != "gone" else file
        assert named in str(caught.value) and "is damaged (" in str(caught.value)
        assert "--overwrite`" in str(caught.value) and "\n" not in str(caught.value)
    haemsa_datasets.prepare("tiny", None, tmp_path, overwrite=True)
    assert len(haemsa_datasets.load("tiny", tmp_path).splits["train"]) == 4


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [("max_lengths", 10**15, "max_lengths .* are not those of its summary"),
     ("max_lengths", None, "max_lengths .* are not those of its summary"),
     ("widths", 10**15, "does not fit into memory")],
)  # fmt: skip
def test_absurd_sizes_are_one_line(splits, tmp_path, field, value, words):
    haemsa_datasets.prepare("tiny", None, tmp_path)
    path = tmp_path / "tiny" / "1.2.0" / "metadata.json"
    about = json.loads(path.read_text())
    about[field]["text"] = value
    path.write_text(json.dumps(about))
    with pytest.raises(InputError, match=words):
        haemsa_datasets.load("tiny", tmp_path)


def test_preparing_leaves_nothing_elsewhere(splits, tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    haemsa_datasets.prepare("tiny", None, tmp_path / "data")
    haemsa_datasets.load("tiny", tmp_path / "data")
    assert not [*(tmp_path / "temporary").iterdir()]


def test_unknown_names():
    with pytest.raises(InputError) as caught:
        haemsa_datasets.load("cmu_mosi", "nowhere")
    assert str(caught.value).startswith(
        "data set 'cmu_mosi' is unknown; choose from ch_sims/standard, ch_sims/standard_english"
    )


def test_not_prepared_says_how(tmp_path):
    with pytest.raises(InputError) as caught:
        haemsa_datasets.load("hazumi", tmp_path)
    assert (
        f"`python -m launch.prepare_data --dataset=hazumi --raw_dir=DIR --data_dir={tmp_path}`"
        in str(caught.value)
    )
    with pytest.raises(InputError) as caught:
        haemsa_datasets.metadata("planted", tmp_path)
    assert f"--dataset=planted --data_dir={tmp_path}`" in str(caught.value)


def test_unknown_split(splits, tmp_path):
    haemsa_datasets.prepare("tiny", None, tmp_path)
    with pytest.raises(InputError, match="split 'dev' is unknown; choose from train, validation"):
        haemsa_datasets.load("tiny", tmp_path, ["dev"])


@pytest.mark.parametrize("raw_dir", [None, "absent", "empty"])
def test_raw_directory_must_be_there(tmp_path, raw_dir):
    (tmp_path / "empty").mkdir()
    path = raw_dir and tmp_path / raw_dir
    with pytest.raises(InputError, match="GitHub organisation ouktlab") as caught:
        haemsa_datasets.prepare("hazumi", path, tmp_path / "data")
    expected = f"raw directory {path} is missing or empty" if raw_dir else "--raw_dir is needed"
    assert expected in str(caught.value)
