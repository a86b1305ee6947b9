"""From a table of labelled clips and their recordings to a pickle in MMSA's form."""

import math
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from haemsa_datasets.files import read_table
from haemsa_datasets.mmsa.described import REGRESSION
from haemsa_datasets.sentiment import MODES
from haemsa_jax.data.values import decimal, identifier
from haemsa_jax.errors import InputError
from haemsa_jax.extraction import media
from haemsa_jax.extraction.clips import Stretch
from haemsa_jax.writing import write_bytes

KEYS = {"train": "train", "validation": "valid", "test": "test"}


@dataclass(frozen=True)
class Clip:
    """A row of the table.

    Attributes:
      id: `VIDEO$_$CLIP`.
      split: as a pickle calls it.
      words: of the table; empty where it has none.
      labels: by field of the pickle.
    """

    id: str
    split: str
    words: str
    labels: Mapping[str, float]


def read_clips(table: Path) -> list[Clip]:
    """MMSA's `label.csv`: `video_id` and `clip_id`, or `id` (VIDEO_CLIP), `label`, `mode`, `text`.

    `label_T`, `label_A` and `label_V`, where they are there, are labels of the modalities.

    Raises:
      InputError: the file or a column is missing, or a value does not fit.
    """
    clips: dict[str, Clip] = {}
    needed = ("label", "mode")
    if not table.exists():
        raise InputError(f"there is no table {table}; name the one of the labels (--labels)")
    for origin, row in read_table(table, ("video_id", "clip_id", *needed), ("id", *needed)):
        if row["mode"] not in MODES:
            raise InputError(f"{origin}: mode {row['mode']!r} is none of {', '.join(MODES)}")
        if "video_id" in row:
            video, clip = (identifier(row[name], origin, name) for name in ("video_id", "clip_id"))
        else:
            video, _, clip = row["id"].rpartition("_")
            if not video or not clip:
                raise InputError(f"{origin}: id {row['id']!r} is not of the form VIDEO_CLIP")
        labels = {
            field: decimal(row[column], origin, column)
            for field in REGRESSION.values()
            if row.get(column := field.replace("regression_labels", "label"), "").strip()
        }
        for field, label in labels.items():
            if not math.isfinite(label):
                raise InputError(f"{origin}: {field} is {label}; leave the cell empty for no label")
        split, name = KEYS[MODES[row["mode"]]], f"{video}$_${clip}"
        if name in clips:
            raise InputError(f"{origin}: clip {clip} of {video} is there twice; keep one row")
        clips[name] = Clip(name, split, row.get("text", "").strip(), labels)
    if not clips:
        raise InputError(f"{table} has no row; it needs one for each clip")
    return [*clips.values()]


def find_recordings(folder: Path) -> Callable[[Clip], Path | None]:
    """Where the recording of a clip lies below a folder: `VIDEO/CLIP.*` or `VIDEO_CLIP.*`.

    Raises:
      InputError: there is no folder, or no recording in it.
    """
    paths = [path for path in folder.rglob("*") if media.is_recording(path)]
    if not paths:
        raise InputError(f"{folder} holds no recording, such as .mp4 or .wav; name their folder")
    # What comes last stays: of several recordings of a clip the one that has lost least.
    paths.sort(key=lambda path: (-media.SUFFIXES.index(path.suffix.lower()), path))
    nested = {f"{path.parent.name}$_${path.stem}": path for path in paths}
    flat = {path.stem: path for path in paths}

    def find(clip: Clip) -> Path | None:
        return nested.get(clip.id) or flat.get(clip.id.replace("$_$", "_")) or flat.get(clip.id)

    return find


def write_pickle(
    path: Path, extracted: Sequence[tuple[Clip, Stretch]], provenance: Mapping[str, str]
) -> None:
    """Writes clips as MMSA keeps them, with words of where they come from under `provenance`.

    Args:
      path: the file.
      extracted: clips and what was made of each, with audio of all or of none; where a recogniser
        listened, its words stand in place of the table's.
      provenance: as `Recipe` says it.

    Raises:
      InputError: a split has no clip, or nothing is known of any clip.
    """
    content: dict[str, Any] = {"provenance": dict(provenance)}
    for split in KEYS.values():
        some = [(clip, one) for clip, one in extracted if clip.split == split]
        if not some:
            raise InputError(
                f"of the split {split!r} no clip could be read; at least one is needed in each "
                "of train, valid and test: look at the column mode, and at what was reported"
            )
        content[split] = dict(_fields(some, "words" in provenance, "audio" in provenance))
    write_bytes(path, pickle.dumps(content))


def _fields(
    extracted: Sequence[tuple[Clip, Stretch]], recognised: bool, with_audio: bool
) -> Iterator[tuple[str, Any]]:
    clips = [clip for clip, _ in extracted]
    yield "id", [clip.id for clip in clips]
    words = [one.words if recognised else clip.words for clip, one in extracted]
    yield "raw_text", words
    for field in REGRESSION.values():
        if any(field in clip.labels for clip in clips):
            yield field, np.array([clip.labels.get(field, np.nan) for clip in clips])
    if with_audio:
        lengths, width = [len(one.audio) for _, one in extracted], extracted[0][1].audio.shape[1]
        audio = np.zeros((len(extracted), max([1, *lengths]), width), np.float32)
        for row, (_, one) in zip(audio, extracted, strict=True):
            row[: len(one.audio)] = one.audio
        yield "audio", audio
        yield "audio_lengths", lengths
