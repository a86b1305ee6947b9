"""The pickle of the MulT line: sequences of 20 words, four yes-or-no labels, no dialogue.

`{train, valid, test}`, each with `text` [N, T, 300], `audio` [N, T, 74], `vision` [N, T, 35],
`labels` [N, 4, 2], one-hot in the order neutral, happy, sad, angry, and perhaps `id`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from haemsa_datasets.files import find_file
from haemsa_datasets.mmsa.reading import span_mask, split_fields
from haemsa_datasets.pickles import read_pickle
from haemsa_datasets.samples import Sample
from haemsa_jax.config import TaskSpec
from haemsa_jax.data import values

FILES = "iemocap_data.pkl", "iemocap_data_noalign.pkl"
SOURCE = (
    f"{FILES[0]} (aligned) or {FILES[1]}, as the README of GitHub yaohungt/Multimodal-Transformer "
    "links them"
)
CLASSES = ("neutral", "happy", "sad", "angry")
EMOTIONS = TaskSpec("emotions", "multilabel", ("f1_mean", "wacc_mean"), CLASSES)
_SPLITS = {"train": "train", "validation": "valid", "test": "test"}


def read_mult(raw_dir: Path, widths: Mapping[str, int]) -> dict[str, list[Sample]]:
    """All utterances by split.

    Raises:
      InputError: the file is missing, would run code, or is of another format.
    """
    path = find_file([raw_dir / name for name in FILES], SOURCE)
    content = read_pickle(path)
    return {split: _split(path, content, key, widths) for split, key in _SPLITS.items()}


def _split(path: Path, content: Any, key: str, widths: Mapping[str, int]) -> list[Sample]:
    where = f"{path}, {key!r}"
    fields = split_fields(path, content, key, ("labels", *widths))
    expected = None, len(CLASSES), 2
    labels = values.numbers(fields["labels"], where, "labels", shape=expected, finite=True)
    count = len(labels)
    features = {
        m: values.numbers(fields[m], where, m, shape=(count, None, width))
        for m, width in widths.items()
    }
    masks = {m: span_mask(x, None) for m, x in features.items()}
    names = [str(row) for row in range(count)]
    if fields.get("id") is not None:
        names = values.identifiers(fields["id"], where, "id", count)
    return [
        Sample(
            id=f"{key}_{row}_{name}",
            group=f"{key}_{row:06d}",
            turn=0,
            features={m: features[m][row][masks[m][row]] for m in widths},
            labels={EMOTIONS.name: labels[row, :, 1]},
            origin=f"{where}, sample {row}",
        )
        for row, name in enumerate(names)
    ]
