"""The pickles of MISA: a file a split, a list of ((word ids, vision, audio, words), label, id).

Words are aligned with both features; an id is `VIDEO[segment]`. The words' numbers belong to a
vocabulary that is not in the files, so that text comes from an encoder of the words.
"""

from pathlib import Path
from typing import Any

from haemsa_datasets.files import find_file
from haemsa_datasets.pickles import read_pickle
from haemsa_datasets.samples import Sample
from haemsa_datasets.sentiment import SENTIMENT
from haemsa_jax.data.values import number, numbers, sequence, text, texts, whole_number
from haemsa_jax.errors import InputError

WIDTHS = {"audio": 74, "vision": 47}
SOURCE = (
    "train.pkl, dev.pkl and test.pkl, which GitHub declare-lab/MISA makes of the CMU Multimodal "
    "SDK's files (also as misa_train.pkl, ...)"
)
FILES = {"train": "train", "validation": "dev", "test": "test"}


def read_misa(raw_dir: Path) -> dict[str, list[Sample]]:
    """All utterances by split.

    Raises:
      InputError: a file is missing, would run code, or is of another format.
    """
    return {
        split: read_file(find_file([raw_dir / f"{n}{name}.pkl" for n in ("", "misa_")], SOURCE))
        for split, name in FILES.items()
    }


def read_file(path: Path) -> list[Sample]:
    """The utterances of one split."""
    content = read_pickle(path)
    if not isinstance(content, list):
        raise InputError(f"{path}: expected a list of samples, not a {type(content).__name__}")
    return [_sample(values, f"{path}, sample {row}") for row, values in enumerate(content)]


def _sample(values: Any, origin: str) -> Sample:
    try:
        (word_ids, vision, audio, words), label, name = values
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{origin}: expected ((word ids, vision, audio, words), label, VIDEO[segment])"
        ) from error
    name = text(name, origin, "id")
    video, _, segment = name.removesuffix("]").rpartition("[")
    if not video or not whole_number(segment):
        raise InputError(f"{origin}: id {name!r} is not of the form VIDEO[segment]")
    spoken = texts(words, origin, "words", of="word")
    count = len(sequence(word_ids, origin, "word ids", len(spoken), of="word"))
    given = {"audio": audio, "vision": vision}
    return Sample(
        id=name,
        group=video,
        turn=int(segment),
        features={
            m: numbers(given[m], origin, m, shape=(count, width)) for m, width in WIDTHS.items()
        },
        labels={SENTIMENT.name: number(label, origin, "label")},
        words=" ".join(spoken),
        origin=origin,
    )
