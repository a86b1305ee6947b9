"""The pickle of the conversational line: a tuple of nine, dialogues by id.

Video ids, speakers, labels, text, audio, visual, sentences: each a dict of dialogue id to a list of
its utterances; then the ids of the training and of the test dialogues, session 5. There is no
validation split: every tenth training dialogue in the order of their names is kept for it, so that
its speakers are those of training.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from haemsa_datasets.files import find_file
from haemsa_datasets.pickles import read_pickle
from haemsa_datasets.samples import Sample
from haemsa_jax.config import TaskSpec
from haemsa_jax.data import values
from haemsa_jax.errors import InputError

FILES = "IEMOCAP_features.pkl", "IEMOCAP_features_raw.pkl"
SOURCE = (
    f"{FILES[0]}, as the README of GitHub hujingwen6666/MMGCN (1582 audio features) or of "
    "declare-lab/conv-emotion, DialogueRNN (100) links it"
)
METRICS = ("f1_weighted", "accuracy", "f1_macro")
CLASSES = ("happy", "sad", "neutral", "angry", "excited", "frustrated")
EMOTION = TaskSpec("emotion", "classification", METRICS, CLASSES)
# Excitement counts as happiness; the frustrated are left out.
EMOTION4 = TaskSpec("emotion4", "classification", METRICS, CLASSES[:4])
PARTS = ("names", "speakers", "labels", "text", "audio", "vision", "words")
_FOUR = (0, 1, 2, 3, 0, None)
_VALIDATION = 10


def read_conversational(raw_dir: Path, widths: Mapping[str, int]) -> dict[str, list[Sample]]:
    """All utterances by split.

    Args:
      raw_dir: holds the pickle.
      widths: of the features that are expected.

    Raises:
      InputError: the file is missing, would run code, or is of another format or other features.
    """
    path = find_file([raw_dir / name for name in FILES], SOURCE)
    content = read_pickle(path)
    nine = isinstance(content, tuple | list) and len(content) >= 9
    if not nine or not all(isinstance(part, dict) for part in content[:7]):
        raise InputError(f"{path}: expected a tuple of nine: seven dicts, train ids, test ids")
    dialogues = {
        name: values.fields(part, f"{path}, {name}")
        for name, part in zip(PARTS, content, strict=False)
    }
    train, test = (
        sorted(values.identifiers(_listed(content[place]), str(path), f"{name} ids", of="dialogue"))
        for place, name in ((7, "train"), (8, "test"))
    )
    held = train[::_VALIDATION]
    splits = {"train": [v for v in train if v not in held], "validation": held, "test": test}
    return {
        split: [s for video in videos for s in _dialogue(path, dialogues, video, widths)]
        for split, videos in splits.items()
    }


def _listed(ids: Any) -> Any:
    return list(ids) if isinstance(ids, set | frozenset) else ids


def _dialogue(
    path: Path, parts: Mapping[str, Mapping], video: str, widths: Mapping[str, int]
) -> list[Sample]:
    where = f"{path}, dialogue {video}"
    missing = [name for name, part in parts.items() if video not in part]
    if missing:
        raise InputError(f"{where}: it has no {', '.join(missing)}")
    dialogue = {
        name: values.sequence(part[video], where, name, of="utterance")
        for name, part in parts.items()
    }
    counts = {name: len(listed) for name, listed in dialogue.items()}
    if len({*counts.values()}) != 1:
        raise InputError(f"{where}: the parts are of different lengths: {counts}")
    about = {
        name: values.texts(dialogue[name], where, name, of="utterance")
        for name in ("speakers", "words")
    }
    samples = []
    for turn in range(counts["labels"]):
        origin = f"{where}, utterance {turn}"
        label = values.class_number(dialogue["labels"][turn], origin, "label", len(CLASSES))
        labels = {EMOTION.name: label}
        if (four := _FOUR[label]) is not None:
            labels[EMOTION4.name] = four
        samples.append(
            Sample(
                id=f"{video}_{turn}",
                group=video,
                turn=turn,
                features={m: _vector(dialogue[m][turn], origin, m, widths[m]) for m in widths},
                labels=labels,
                speaker=about["speakers"][turn],
                words=about["words"][turn],
                origin=origin,
            )
        )
    return samples


def _vector(value: Any, origin: str, modality: str, width: int) -> np.ndarray:
    """float32[1, width]."""
    with np.errstate(over="ignore"):
        vector = values.array_of_numbers(value, origin, modality).ravel().astype(np.float32)
    if len(vector) != width:
        raise InputError(
            f"{origin}: {len(vector)} {modality} features, but this configuration has {width}; "
            "there are iemocap/mmgcn and iemocap/dialoguernn"
        )
    return vector[None]
