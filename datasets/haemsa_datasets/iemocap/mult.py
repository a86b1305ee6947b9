"""The pickle of the MulT line: sequences of 20 words, four yes-or-no labels, no dialogue.

`{train, valid, test}`, each with `text` [N, T, 300], `audio` [N, T, 74], `vision` [N, T, 35],
`labels` [N, 4, 2], one-hot in the order neutral, happy, sad, angry, and perhaps `id`.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from haemsa_datasets.files import find_file
from haemsa_datasets.mmsa import span_mask
from haemsa_datasets.pickles import read_pickle
from haemsa_datasets.samples import Sample
from haemsa_jax.config import TaskSpec
from haemsa_jax.errors import InputError

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


def _split(path: Path, content, key: str, widths: Mapping[str, int]) -> list[Sample]:
    where = f"{path}, {key!r}"
    if not isinstance(content, dict) or not isinstance(content.get(key), dict):
        raise InputError(f"{path}: expected a dict of {', '.join(_SPLITS.values())}; no {key!r}")
    fields = content[key]
    for name in ("labels", *widths):
        if name not in fields:
            raise InputError(f"{where}: field {name!r} is missing; it has {', '.join(fields)}")
    labels = np.asarray(fields["labels"], np.float64)
    if labels.ndim != 3 or labels.shape[1:] != (len(CLASSES), 2):
        raise InputError(f"{where}: labels have shape {labels.shape}; expected (N, 4, 2)")
    features, masks = {}, {}
    for modality, width in widths.items():
        values = np.asarray(fields[modality], np.float32)
        if values.ndim != 3 or len(values) != len(labels) or values.shape[2] != width:
            raise InputError(
                f"{where}: {modality} has shape {values.shape}; expected ({len(labels)}, T, "
                f"{width})"
            )
        features[modality], masks[modality] = values, span_mask(values, None)
    names = np.ravel(fields["id"]).tolist() if "id" in fields else list(range(len(labels)))
    if len(names) != len(labels):
        raise InputError(f"{where}: {len(names)} ids; expected {len(labels)}, one a sample")
    return [
        Sample(
            id=f"{key}_{row}_{name}",
            group=f"{key}_{row:06d}",
            turn=0,
            features={m: features[m][row][masks[m][row]] for m in widths},
            labels={EMOTIONS.name: labels[row, :, 1].astype(np.float32)},
            origin=f"{where}, sample {row}",
        )
        for row, name in enumerate(names)
    ]
