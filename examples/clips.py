"""Arrays as any pipeline has them: two modalities, one of them sometimes absent, and a label."""

import numpy as np

from haemsa_jax import Dataset, Sample, Split, TaskSpec

MOOD = TaskSpec("mood", "regression", ("mae", "corr"), range=(-1, 1))
WIDTHS = {"text": 8, "audio": 3}


def split(count: int, seed: int) -> Split:
    """`count` clips; the mood is said by the first token of the text."""
    rng = np.random.default_rng(seed)
    text = rng.normal(size=(count, 6, 8)).astype(np.float32)
    audio = rng.normal(size=(count, 9, 3)).astype(np.float32)
    heard = np.ones((count, 9), bool)
    heard[: count // 4] = False
    return Split(
        features={"text": text, "audio": audio},
        masks={"text": np.ones((count, 6), bool), "audio": heard},
        labels={"mood": np.tanh(text[:, 0, 0])},
        labelled={"mood": np.ones(count, bool)},
        group=np.arange(count),
        ids=[f"{seed}-{i}" for i in range(count)],
    )


def dataset() -> Dataset:
    """Three splits of them."""
    splits = {"train": split(400, 0), "validation": split(100, 1), "test": split(100, 2)}
    return Dataset("mine", WIDTHS, {"mood": MOOD}, splits)


def batch(clips: Split) -> Sample:
    """What the network itself reads: clips without context, asked for their only task."""
    return Sample(
        features=dict(clips.features),
        masks=dict(clips.masks),
        offsets={m: np.zeros(mask.shape, np.int32) for m, mask in clips.masks.items()},
        task=np.zeros(len(clips), np.int32),
    )
