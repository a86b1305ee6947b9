"""The files of bc-LSTM: three feature vectors an utterance, in the order of the conversation.

Text and video features come from networks that were trained on the labels of the 62 training
videos. So the test split must be the 31 others, and validation videos, taken from the 62, look
like training data: selection on them is weak.
"""

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from haemsa_datasets.cmu_mosi.folds import FOLDS
from haemsa_datasets.files import find_file, read_numbers
from haemsa_datasets.folds import read_folds
from haemsa_datasets.samples import Sample
from haemsa_jax.csv_rows import read_rows
from haemsa_jax.data.values import numbers, whole_number
from haemsa_jax.errors import InputError

WIDTHS = {"text": 100, "audio": 73, "vision": 100}
SOURCE = (
    "the files of data/ in GitHub declare-lab/contextual-utterance-level-multimodal-sentiment-"
    "analysis as bclstm/, and CMU_MOSI_Opinion_Labels.csd of the CMU Multimodal SDK beside it"
)
_WORDS = "transcripts.csv"


def read_contextual(raw_dir: Path) -> dict[str, list[Sample]]:
    """All utterances by split.

    Raises:
      InputError: a file is missing, or the files do not fit each other.
    """
    folds = read_folds(raw_dir, FOLDS, section="contextual")
    split_of = {video: split for split, videos in folds.items() for video in videos}
    labels = read_official_labels(raw_dir)
    splits: dict[str, list[Sample]] = {split: [] for split in folds}
    for part in ("train", "test"):
        for sample in _read_part(raw_dir / "bclstm", part, labels):
            split = split_of.get(sample.group, "")
            if not split or (split == "test") != (part == "test"):
                raise InputError(
                    f"{sample.origin}: video {sample.group} belongs to the {part} files, but "
                    f"splits.json puts it in {split or 'no split'!r}; features were trained on "
                    "the labels of the train files, so the test split is exactly the test files"
                )
            splits[split].append(sample)
    return splits


def _read_part(folder: Path, part: str, labels: dict[str, np.ndarray]) -> Iterator[Sample]:
    """The rows of `text_<part>.csv`, with what the other files say of them."""
    transcripts = _read_transcripts(find_file([folder / _WORDS], SOURCE))
    text_path = find_file([folder / f"text_{part}.csv"], SOURCE)
    text = read_numbers(text_path, 1 + WIDTHS["text"])
    audio = _read_labelled(folder / f"audio_{part}0.csv", WIDTHS["audio"], len(text))
    vision = _read_labelled(folder / f"video_{part}0.csv", WIDTHS["vision"], len(text))
    for row, line in enumerate(text[:, 0]):
        origin = f"{text_path}, row {row + 1}"
        if line not in range(len(transcripts)):
            raise InputError(f"{origin}: there is no line {line:g} in transcripts.csv")
        name, words, _, binary = transcripts[int(line)]
        if not int(binary) == audio[row, -1] == vision[row, -1]:
            raise InputError(
                f"{origin}: the binary label of {name} is {binary} in transcripts.csv, "
                f"{audio[row, -1]:g} in the audio and {vision[row, -1]:g} in the video file; "
                "the files must have the same utterances in the same order"
            )
        video, _, clip = name.rpartition("_")
        vectors = {"text": text[row, 1:], "audio": audio[row, :-1], "vision": vision[row, :-1]}
        yield Sample(
            id=name,
            group=video,
            turn=int(clip),
            features={m: vector[None].astype(np.float32) for m, vector in vectors.items()},
            labels={"sentiment": official_label(labels, video, int(clip), origin)},
            words=words,
            origin=origin,
        )


def _read_labelled(path: Path, width: int, rows: int) -> np.ndarray:
    """float64[rows, width + 1], the last column a binary label."""
    values = read_numbers(find_file([path], SOURCE), width + 1)
    if len(values) != rows:
        raise InputError(f"{path}: {len(values)} rows; expected {rows}, as many as the text file")
    return values


def _read_transcripts(path: Path) -> list[list[str]]:
    """Rows of (VIDEO_CLIP, words, a number, binary label)."""
    rows, clips = [], set()
    for line in read_rows(path):
        row, origin = line.cells, f"{path}, row {line.line}"
        if line.error:
            raise InputError(f"{origin}: {line.error}")
        if len(row) != 4:
            raise InputError(f"{origin}: {len(row)} columns; expected 4")
        video, _, clip = row[0].rpartition("_")
        if not video or not whole_number(clip):
            raise InputError(f"{origin}: {row[0]!r} is no VIDEO_CLIP with a number")
        if (video, int(clip)) in clips:
            raise InputError(f"{origin}: {row[0]!r} is there twice; a clip may occur once")
        if row[3] not in ("0", "1"):
            raise InputError(f"{origin}: the label {row[3]!r} is neither 0 nor 1")
        clips.add((video, int(clip)))
        rows.append(row)
    return rows


def read_words(folder: Path) -> dict[str, str]:
    """Words by VIDEO_CLIP, in capitals."""
    return {row[0]: row[1] for row in _read_transcripts(find_file([folder / _WORDS], SOURCE))}


def read_official_labels(raw_dir: Path) -> dict[str, np.ndarray]:
    """The official labels: per video float32[clips], clip k + 1 at place k."""
    path = find_file([raw_dir / "CMU_MOSI_Opinion_Labels.csd"], SOURCE)
    try:
        with h5py.File(path) as file:
            videos = file["Opinion Segment Labels"]["data"]
            labels = {name: videos[name]["features"][()] for name in videos}
    except PermissionError:
        raise
    except Exception as error:  # a garbled file can fail in any way
        raise InputError(f"{path}: not the labels of the CMU Multimodal SDK: {error}") from error
    return {
        name: numbers(values, f"{path}, {name}", "features", shape=(None, 1))[:, 0]
        for name, values in labels.items()
    }


def official_label(labels: dict[str, np.ndarray], video: str, clip: int, origin: str) -> float:
    """The label of one clip, of what `read_official_labels` read."""
    if not 1 <= clip <= len(labels.get(video, ())):
        raise InputError(f"{origin}: no official label for clip {clip} of video {video}")
    return float(labels[video][clip - 1])
