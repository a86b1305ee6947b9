"""A data set checks its arrays once, with errors that name the sample."""

import dataclasses

import numpy as np
import pytest
from samples import TASKS, WIDTHS, make_split

from haemsa_jax.data import Dataset
from haemsa_jax.data.batches import device_split
from haemsa_jax.errors import InputError


def dataset(**changes):
    split = dataclasses.replace(make_split(0, 10), **changes)
    return Dataset("talks", WIDTHS, TASKS, {"train": split})


def with_value(array, place, value):
    changed = array.copy()
    changed[place] = value
    return changed


SPLIT = make_split(0, 10)
SEEN = next(zip(*np.nonzero(SPLIT.masks["text"]), strict=True))  # a (row, token) that is there


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"labels": SPLIT.labels | {"score": with_value(SPLIT.labels["score"], 4, np.nan)}},
            ["nan", "'0-4'", "a number in [-9, 9]"],
        ),
        (
            {"labels": SPLIT.labels | {"score": with_value(SPLIT.labels["score"], 2, 11)}},
            ["11", "'0-2'", "score"],
        ),
        (
            {"labels": SPLIT.labels | {"mood": with_value(SPLIT.labels["mood"], 1, 7)}},
            ["7", "'0-1'", "0 to 2"],
        ),
        (
            {"labels": SPLIT.labels | {"tags": with_value(SPLIT.labels["tags"], (1, 0), 0.5)}},
            ["'0-1'", "0 or 1"],
        ),
        (
            {"masks": {m: with_value(mask, 3, False) for m, mask in SPLIT.masks.items()}},
            ["'0-3'", "no modality at all", "1 of 10", "left out"],
        ),
        (
            {
                "features": SPLIT.features
                | {"text": with_value(SPLIT.features["text"], SEEN, -np.inf)}
            },
            ["text", f"'0-{SEEN[0]}'", "not finite"],
        ),
        (
            {"features": SPLIT.features | {"audio": SPLIT.features["audio"][..., :2]}},
            ["audio", "(10, 5, 2)", "(10, T, 4)"],
        ),
        (
            {"features": SPLIT.features | {"gaze": SPLIT.features["audio"]}},
            ["features of gaze", "text, audio, vision", "leave it out"],
        ),
        (
            {"features": {"text": SPLIT.features["text"]}, "masks": {"text": SPLIT.masks["text"]}},
            ["features of audio missing", "declare no width"],
        ),
        ({"masks": {"text": SPLIT.masks["text"]}}, ["the mask of audio missing"]),
        ({"labels": {"mood": SPLIT.labels["mood"]}}, ["labels of task 'score'", "missing"]),
        ({"labels": SPLIT.labels | {"mood": np.zeros(3, int)}}, ["(3,)", "(10,)"]),
        ({"labelled": SPLIT.labelled | {"mood": np.zeros(10, bool)}}, ["no sample has a label"]),
        ({"group": np.array([0, 0, 1, 1, 0, 0, 2, 2, 2, 2])}, ["contiguous"]),
        ({"ids": SPLIT.ids[:9]}, ["9 ids for 10 samples"]),
        ({"ids": [*SPLIT.ids[:9], "0-3"]}, ["'0-3'", "already used in 'train'"]),
        ({"words": ["yes"]}, ["1 words for 10 samples"]),
        ({"speakers": ["me"] * 11}, ["11 speakers for 10 samples"]),
        # Numbers would be taken for places: the constants would be those of rows 0 and 1 alone.
        (
            {"labelled": SPLIT.labelled | {"score": np.ones(10, int)}},
            ["labelled for task 'score'", "int64", "bool"],
        ),
        (
            {"masks": SPLIT.masks | {"audio": SPLIT.masks["audio"].astype(np.int32)}},
            ["mask of audio", "int32", "bool"],
        ),
        (
            {"labels": SPLIT.labels | {"mood": SPLIT.labels["mood"].astype(float)}},
            ["'mood'", "float64", "int32"],
        ),
        ({"words": [None, *[""] * 9]}, ["sample '0-0'", "words is None; expected a string"]),
        ({"words": [*[""] * 9, np.nan]}, ["sample '0-9'", "words is nan"]),
        ({"words": ["cut \ud83d", *[""] * 9]}, ["sample '0-0'", "half of a character"]),
        ({"words": "ten letter"}, ["words is 'ten letter'; expected a list"]),
        ({"speakers": [["me"], *[""] * 9]}, ["sample '0-0'", "speakers is ['me']"]),
        ({"ids": [None, *SPLIT.ids[1:]]}, ["sample 0", "ids is None"]),
        ({"group": [*"aaaaabbbb", None]}, ["group is a list", "N names"]),
        ({"group": [*"aaaaabbbb", " "]}, ["group is empty"]),
        ({"group": [*"aaaaabbbba"]}, ["contiguous"]),
        ({"group": [*"aaaaabbbb"]}, ["10 ids for 9 samples"]),
        ({"group": [0] * 10}, ["group is a list"]),
        ({"group": np.zeros(10)}, ["group", "float64"]),
        ({"masks": SPLIT.masks | {"audio": [[True]] * 10}}, ["mask of audio is a list"]),
        (
            {"features": SPLIT.features | {"text": SPLIT.features["text"].astype(object)}},
            ["text features", "object", "real numbers"],
        ),
        ({"labels": SPLIT.labels | {"score": np.array(["1"] * 10)}}, ["'score'", "<U1", "real"]),
        ({"labels": SPLIT.labels | {"score": np.array([None] * 10)}}, ["'score'", "object"]),
        ({"labels": SPLIT.labels | {"score": [0.0] * 10}}, ["'score'", "is a list"]),
    ],
)
def test_errors_name_sample_and_rule(changes, words):
    with pytest.raises(InputError) as error:
        dataset(**changes)
    for word in ["talks", "train", *words]:
        assert word in str(error.value)


def test_a_sample_in_two_splits_is_an_error():
    splits = {"train": make_split(0, 10), "test": make_split(0, 5)}
    with pytest.raises(InputError, match="id '0-0' of split 'test' was already used in 'train'"):
        Dataset("talks", WIDTHS, TASKS, splits)


def test_provenance_is_by_modality():
    with pytest.raises(InputError, match="provenance='openSMILE' must be words by modality"):
        dataclasses.replace(dataset(), provenance="openSMILE")


def test_an_empty_split_is_an_error():
    with pytest.raises(InputError, match="empty"):
        Dataset("talks", WIDTHS, TASKS, {"test": make_split(0, 0)})


def test_padding_and_unlabelled_samples_may_hold_anything():
    features = {
        m: np.where(SPLIT.masks[m][..., None], x, np.nan) for m, x in SPLIT.features.items()
    }
    tags = np.where(SPLIT.labelled["tags"][:, None], SPLIT.labels["tags"], np.nan)
    dataset(features=features, labels=SPLIT.labels | {"tags": tags})


def test_texts_may_come_as_arrays_or_bytes():
    words = np.array([f"ä {row}" for row in range(10)])
    made = dataset(words=words, ids=np.array(SPLIT.ids), speakers=[b"me"] * 10).splits["train"]
    assert made.words == words.tolist() and made.speakers == ["me"] * 10 and made.ids == SPLIT.ids
    assert all(type(x) is str for x in (*made.words, *made.ids, *made.speakers))


def test_numbers_of_groups_keep_64_bits():
    """Three dialogues whose numbers are the same in 32 bits."""
    group = np.repeat([0, 1 << 32, 1 << 40], (3, 4, 3)).astype(np.int64)
    made = dataset(group=group).splits["train"]
    assert device_split(made).group.tolist() == [0] * 3 + [1] * 4 + [2] * 3
    assert device_split(made).group.dtype == np.int32


def _named(*groups):
    """A data set without dialogues, whose splits have one sample of each group of a string."""
    splits = {
        name: dataclasses.replace(make_split(seed, len(names)), group=np.array([*names]))
        for seed, (name, names) in enumerate(zip(("train", "test"), groups, strict=True))
    }
    return {"name": "talks", "widths": WIDTHS, "tasks": TASKS, "splits": splits}


def test_a_named_group_in_two_splits_is_named():
    whole = Dataset(**_named("abcdefgh", "ijklmnop"), conversational=True)
    assert whole.splits["test"].group.tolist() == [*range(8)]
    with pytest.warns(UserWarning, match="talks: group 'h' is in the splits train, test: what"):
        mixed = Dataset(**_named("abcdefgh", "hjklmnop"))
    # Once is enough: numbers stand in the place of names.
    assert dataclasses.replace(mixed, name="again").splits["test"].group.dtype == np.int32
    with pytest.warns(UserWarning, match=r"'g' is in .* \(and 1 of 14 groups likewise\)"):
        Dataset(**_named("abcdefgh", "gjklmnoh"))
    with pytest.raises(InputError, match="talks: group 'h' is in the splits train, test"):
        Dataset(**_named("abcdefgh", "hjklmnop"), conversational=True)
