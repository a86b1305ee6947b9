"""The words and labels of the standard split, 1284/229/686 clips, without audio and vision.

`label.csv` as it goes round lacks four clips. Where the files of the contextual line lie beside it,
their words come from there and their labels from the official file; a clip's split is its video's.
"""

import dataclasses
from collections.abc import Iterable
from pathlib import Path

from haemsa_datasets.cmu_mosi import contextual
from haemsa_datasets.samples import Sample
from haemsa_datasets.sentiment import Labelled, read_labels
from haemsa_jax.data.values import whole_number
from haemsa_jax.errors import InputError

SOURCE = (
    "label.csv of MOSI as GitHub thuiar/MMSA shares it; to have all 2,199 clips, beside it also "
    + contextual.SOURCE
)


def read_standard(raw_dir: Path) -> dict[str, list[Sample]]:
    """All clips by split.

    Raises:
      InputError: a file is missing or does not fit.
    """
    rows = read_labels(raw_dir, SOURCE)
    splits: dict[str, list[Sample]] = {"train": [], "validation": [], "test": []}
    for row in [*rows, *_others(raw_dir, rows)]:
        if not whole_number(row.clip):
            raise InputError(f"{row.origin}: clip {row.clip!r} of video {row.video} is no number")
        splits[row.split].append(dataclasses.replace(row.sample, turn=int(row.clip)))
    return splits


def _others(raw_dir: Path, rows: Iterable[Labelled]) -> Iterable[Labelled]:
    """Clips that the transcripts have beyond `rows`."""
    folder = raw_dir / "bclstm"
    if not (folder / "transcripts.csv").is_file():
        return
    known = {f"{row.video}_{row.clip}" for row in rows}
    split_of = {row.video: row.split for row in rows}
    labels = contextual.read_official_labels(raw_dir)
    for name, words in contextual.read_words(folder).items():
        video, _, clip = name.rpartition("_")
        if name in known or video not in split_of:
            continue
        origin = f"{folder / 'transcripts.csv'}, {name}"
        label = contextual.official_label(labels, video, int(clip), origin)
        # Capitals throughout there, and small letters in label.csv.
        yield Labelled(video, clip, words.lower(), label, split_of[video], origin)
