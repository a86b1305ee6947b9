"""IEMOCAP as a table: words and speakers of every utterance, and vectors of its sound.

`utterances.csv` has the columns id, dialogue, order, split (train, dev, test), speaker, label6,
text, val, act and dom; `whisper_base.npz` beside it `ids` and
`x` float[N, 1024], mean and standard deviation over time of the last layer of Whisper base's
encoder.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from haemsa_datasets.files import find_file, read_table
from haemsa_datasets.iemocap.conversational import EMOTION
from haemsa_datasets.samples import Sample
from haemsa_jax.config import TaskSpec
from haemsa_jax.data import values
from haemsa_jax.data.arrays import read_arrays
from haemsa_jax.errors import InputError

SOURCE = (
    "utterances.csv, a table of the release that USC's SAIL sends on request (see docs/data.md)"
)
SPLITS = {"train": "train", "dev": "validation", "test": "test"}
# Means over annotators on a scale of 1 to 5, which some left.
SCALES = {"val": "valence", "act": "activation", "dom": "dominance"}
DIMENSIONS = tuple(
    TaskSpec(name, "regression", ("mae", "corr"), range=(0.5, 5.5)) for name in SCALES.values()
)
COLUMNS = ("id", "dialogue", "order", "split", "speaker", "label6", "text", *SCALES)


def read_utterances(raw_dir: Path, widths: Mapping[str, int]) -> dict[str, list[Sample]]:
    """All utterances by split.

    Args:
      raw_dir: holds the table and the vectors.
      widths: of the card.

    Raises:
      InputError: a file or column is missing, or a cell says what it cannot.
    """
    path = find_file([raw_dir / "whisper_base.npz"], SOURCE)
    sounds = _read_sounds(path, widths["audio"])
    splits: dict[str, list[Sample]] = {split: [] for split in SPLITS.values()}
    for origin, row in read_table(find_file([raw_dir / "utterances.csv"], SOURCE), COLUMNS):
        if row["split"] not in SPLITS:
            raise InputError(f"{origin}: split {row['split']!r} is none of {', '.join(SPLITS)}")
        if row["label6"] not in EMOTION.classes:
            raise InputError(
                f"{origin}: label6 {row['label6']!r} is none of {', '.join(EMOTION.classes)}"
            )
        if row["id"] not in sounds:
            raise InputError(f"{origin}: {path} has no vector of {row['id']!r}")
        labels = {name: values.decimal(row[c], origin, c) for c, name in SCALES.items()}
        if not values.whole_number(row["order"]):
            raise InputError(f"{origin}: order {row['order']!r} is no whole number from 0")
        sample = Sample(
            id=row["id"],
            group=row["dialogue"],
            turn=int(row["order"]),
            features={"audio": sounds[row["id"]]},
            labels={EMOTION.name: EMOTION.classes.index(row["label6"]), **labels},
            words=row["text"].strip(),
            speaker=row["speaker"],
            origin=origin,
        )
        splits[SPLITS[row["split"]]].append(sample)
    return splits


def _read_sounds(path: Path, width: int) -> dict[str, np.ndarray]:
    """float32[1, width] by id."""
    arrays = read_arrays(path)
    fields = values.fields(arrays, str(path), ("ids", "x"))
    ids = values.identifiers(fields["ids"], str(path), "ids")
    vectors = values.numbers(fields["x"], str(path), "x", shape=(len(ids), width))
    return dict(zip(ids, vectors[:, None], strict=True))
