"""Small data sets of random samples, and their rows as a user has them."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from haemsa_jax.config import TaskSpec
from haemsa_jax.data import Dataset, Split
from haemsa_jax.encoders import with_tokens
from haemsa_jax.encoders.text import read_pretrained

BERT = Path(__file__).parent / "fixtures" / "encoders" / "bert"
WIDTHS = {"text": 6, "audio": 4, "vision": 5}
LENGTHS = {"text": 3, "audio": 5, "vision": 4}
TASKS = {
    "score": TaskSpec("score", "regression", ("mae", "corr"), range=(-9.0, 9.0)),
    "mood": TaskSpec("mood", "classification", ("f1_weighted", "accuracy"), ("sad", "calm", "gay")),
    "tags": TaskSpec("tags", "multilabel", ("f1_mean", "wacc_mean"), ("a", "b")),
}


def make_split(seed: int, count: int, group_size: int = 5) -> Split:
    """Random sequences of random lengths; labels depend on text and audio."""
    rng = np.random.default_rng(seed)
    features = {
        m: rng.normal(size=(count, LENGTHS[m], width)).astype(np.float32)
        for m, width in WIDTHS.items()
    }
    masks = {m: np.arange(LENGTHS[m]) < rng.integers(0, LENGTHS[m] + 1, (count, 1)) for m in WIDTHS}
    masks["text"][:, 0] |= ~np.any([mask.any(-1) for mask in masks.values()], axis=0)
    mean = {m: (features[m][..., 0] * masks[m]).sum(1) for m in WIDTHS}
    score = np.clip(2 * mean["text"] + mean["audio"], -9, 9).astype(np.float32)
    return Split(
        features=features,
        masks=masks,
        labels={
            "score": score,
            "mood": np.digitize(score, (-1, 1)).astype(np.int32),
            "tags": np.stack([score > 0, mean["audio"] > 0], -1).astype(np.float32),
        },
        labelled={
            "score": np.ones(count, bool),
            "mood": np.ones(count, bool),
            "tags": np.arange(count) % 3 > 0,
        },
        group=(np.arange(count) // group_size).astype(np.int32),
        ids=[f"{seed}-{row}" for row in range(count)],
        words=[""] * count,
    )


@pytest.fixture(scope="session")
def talks() -> Dataset:
    """A small conversational data set with a task of every kind."""
    splits = {"train": (1, 70), "validation": (2, 21), "test": (3, 33)}
    return Dataset(
        name="talks",
        widths=WIDTHS,
        tasks=TASKS,
        splits={name: make_split(*args) for name, args in splits.items()},
        conversational=True,
    )


def restricted(dataset, *names) -> Dataset:
    """The same with some modalities; the first of them is never absent."""

    def cut(split):
        features, masks = ({m: of[m] for m in names} for of in (split.features, split.masks))
        first = masks[names[0]]
        masks[names[0]] = first | (np.arange(first.shape[1]) == 0)
        return dataclasses.replace(split, features=features, masks=masks)

    splits = {name: cut(split) for name, split in dataset.splits.items()}
    return dataclasses.replace(dataset, widths={m: WIDTHS[m] for m in names}, splits=splits)


@pytest.fixture(scope="session")
def pair(talks) -> Dataset:
    """The same with two modalities: networks on it compile in half the time."""
    return restricted(talks, "text", "audio")


@pytest.fixture(scope="session")
def solo(talks) -> Dataset:
    """The same with one modality, for what does not depend on how many there are."""
    return restricted(talks, "text")


@pytest.fixture(scope="session")
def pretrained():
    """A tiny encoder of random weights."""
    return read_pretrained(BERT)


@pytest.fixture(scope="session")
def spoken(pair, pretrained):
    """Words alone, which say what the score is."""

    def tell(split):
        good = split.labels["score"] > 0
        words = [f"the plot was {'good' if g else 'bad'}" + " !" * (i % 7) for i, g in
                 enumerate(good)]  # fmt: skip
        labels = {"score": np.where(good, 2.0, -2.0).astype(np.float32)}
        return dataclasses.replace(split, words=words, labels=labels, features={}, masks={})

    splits = {name: tell(split) for name, split in pair.splits.items()}
    tasks = {"score": pair.tasks["score"]}
    told = dataclasses.replace(pair, widths={}, splits=splits, tasks=tasks)
    return with_tokens(told, pretrained, max_tokens=24)


def utterances(split, rows):
    """Rows of a split as a user would have them."""
    return [
        {m: x[row][split.masks[m][row]] for m, x in split.features.items()
         if split.masks[m][row].any()}
        for row in rows
    ]  # fmt: skip
