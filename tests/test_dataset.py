"""A data set checks its arrays once, with errors that name the sample."""

import dataclasses

import numpy as np
import pytest
from samples import TASKS, WIDTHS, make_split

from haemsa_jax.data import Dataset
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
