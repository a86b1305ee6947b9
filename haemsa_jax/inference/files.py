"""Files of samples to predict, read row by row."""

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from haemsa_jax import csv_rows
from haemsa_jax.data.arrays import read_arrays
from haemsa_jax.data.values import identifier, mask, printable, text
from haemsa_jax.encoders.text.config import MODALITY as TEXT
from haemsa_jax.errors import InputError
from haemsa_jax.extraction.media import is_recording
from haemsa_jax.inference.inputs import SPEAKER, Utterance
from haemsa_jax.regular import regular

Reader = Callable[[Path, Mapping[str, int], Path], Iterator["Row"]]
ID, DIALOGUE, TRANSCRIPT, RECORDING = "id", "dialogue", "transcript", "recording"
STRETCH = "start", "end", "words", "language"
MASK = "_mask"


@dataclass(frozen=True)
class Row:
    """One row of a file.

    Attributes:
      place: where it stands, such as `line 7`.
      id: its name; by default its number.
      dialogue: rows next to each other with the same one are each other's context; None for none.
      utterance: what `Predictor` takes; None where the row could not be read.
      error: why.
      stretch: what was heard in a recording, as JSON values: `words`, `language`, `start` and `end`
        in seconds; empty of other rows.
    """

    place: str
    id: str
    dialogue: str | None
    utterance: Utterance | None
    error: str = ""
    stretch: Mapping[str, Any] = field(default_factory=dict)


def read_rows(
    path: Path, modalities: Mapping[str, int], *, files_from: Path | None = None
) -> Iterator[Row]:
    """The rows of a file in their order.

    - `.jsonl`: an object a line. Modalities are words (of `text`), numbers [T][d] or [d], or a
      recording (of `audio`); beside them `id`, `dialogue` and `speaker`.
    - `.csv`: columns `text` (words) or `audio` (recordings), or both, and, if wanted, `id`,
      `dialogue`, `speaker`.
    - In both `transcript` may name a text file with the words. Files that are named must lie in one
      folder or below it, whatever path or link leads to them.
    - In both `recording` may name a file with sound, of which `recorded.expanded` makes the rest; a
      recording in place of a table is a row, and a folder of them as many.
    - What is null or empty in a column beside the modalities is not there.
    - `.npz`: by modality float[N, T, d] with, if wanted, `MODALITY_mask` bool[N, T], and `id`,
      `dialogue`. A modality without a token in its mask is absent. Pickled objects are refused.

    Args:
      path: the file.
      modalities: of the data set the network reads, with widths.
      files_from: the folder of files that are named; by default that of the file.

    Raises:
      InputError: `files_from` is no folder, or the file cannot be read, or is of another format: at
        once where its beginning says so.
    """
    if path.is_dir() or is_recording(path):
        return _recordings(path)
    readers: dict[str, Reader] = {".jsonl": _json_lines, ".csv": _csv, ".npz": _npz}
    if path.suffix not in readers:
        raise InputError(f"{path}: {path.suffix!r} is unknown; give {', '.join(readers)}")
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    folder = path.parent if files_from is None else files_from
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}; name the one that holds the files")
    rows = readers[path.suffix](path, modalities, folder)
    return itertools.chain(list(itertools.islice(rows, 1)), rows)


def _recordings(path: Path) -> Iterator[Row]:
    paths = sorted(filter(is_recording, path.rglob("*"))) if path.is_dir() else [path]
    if not paths:
        raise InputError(f"{path} holds no recording, such as .mp4 or .wav; name their folder")
    names = [str(each.relative_to(path)) if path.is_dir() else each.name for each in paths]
    return (
        Row(name, name, None, {RECORDING: each}) for name, each in zip(names, paths, strict=True)
    )


def _json_lines(path: Path, modalities: Mapping[str, int], folder: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                values = json.loads(line)
            except (ValueError, RecursionError) as error:  # the second where it is nested deeply
                yield Row(f"line {number}", str(number), None, None, f"it is not JSON: {error}")
                continue
            if not isinstance(values, dict):
                yield Row(f"line {number}", str(number), None, None, "it is no JSON object")
                continue
            yield _row(f"line {number}", number, values, folder)


def _row(place: str, number: int, values: dict[str, Any], folder: Path) -> Row:
    utterance, name, dialogue = dict(values), str(number), None
    try:
        name = _named(utterance, ID) or name
        dialogue = _named(utterance, DIALOGUE)
        transcript = _named(utterance, TRANSCRIPT)
        for key, value in utterance.items():
            if isinstance(value, bytes):
                utterance[key] = text(value, "the row", key)
        for key in ("audio", RECORDING):
            if isinstance(utterance.get(key), str):
                utterance[key] = _within(folder, utterance[key])
        if transcript is not None:
            if utterance.get(TEXT) is not None:
                raise InputError("it has a text and a transcript; give one of them")
            utterance[TEXT] = regular(_within(folder, transcript)).read_text("utf-8-sig")
        if isinstance(utterance.get(TEXT), str):
            utterance[TEXT] = printable(utterance[TEXT])[0].strip()
    except InputError as error:
        return Row(place, name, dialogue, None, str(error))
    except (OSError, ValueError) as error:  # no such file, no UTF-8, a NUL in the name
        return Row(place, name, dialogue, None, f"its transcript cannot be read: {error}")
    return Row(place, name, dialogue, utterance)


def _named(utterance: dict[str, Any], key: str) -> str | None:
    """Takes a name from a row: words or a number; None where it is not there or empty."""
    value = utterance.pop(key, None)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, float | np.floating):  # as a column of an array may hold numbers
        return str(value)
    return identifier(value, "the row", key)


def _within(folder: Path, name: str) -> Path:
    """The file that a row names: a table of somebody else's may not reach into other folders."""
    try:
        path = (folder / name).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a circle of links, a NUL in the name
        raise InputError(f"{name!r} names no file: {error}") from error
    if not path.is_relative_to(folder.resolve()):
        raise InputError(
            f"{name!r} lies outside of {folder}, where files that are named must lie; move it "
            "there, or name a folder that holds all of them (--files_from)"
        )
    return path


def _csv(path: Path, modalities: Mapping[str, int], folder: Path) -> Iterator[Row]:
    spoken, about = {TEXT, "audio", TRANSCRIPT, RECORDING}, {ID, DIALOGUE, SPEAKER}
    columns, rows = csv_rows.read_named(path)
    if not spoken & {*columns} or not {*columns} <= spoken | about:
        raise InputError(
            f"{path} has the columns {', '.join(columns) or 'none'}; expected text, transcript, "
            "audio or recording, and any of id, dialogue, speaker (features come as .jsonl or .npz)"
        )
    for number, (row, cells) in enumerate(rows, start=1):
        place, error = f"line {row.line}", row.error
        lost = [name for name, cell in cells.items() if cell in csv_rows.FORMULA_ERRORS]
        if lost:
            error = f"{lost[0]} is {cells[lost[0]]}, which a spreadsheet wrote for a formula"
        if error:
            yield Row(place, str(number), None, None, error)
        else:
            yield _row(place, number, {name: x for name, x in cells.items() if x != ""}, folder)


def _npz(path: Path, modalities: Mapping[str, int], folder: Path) -> Iterator[Row]:
    arrays = read_arrays(path)
    known = {*modalities, *(m + MASK for m in modalities), ID, DIALOGUE, SPEAKER}
    counts = {name: len(x) if x.ndim else 0 for name, x in arrays.items()}
    if not {*arrays} <= known or not {*arrays} & {*modalities} or len({*counts.values()}) != 1:
        raise InputError(
            f"{path} has the arrays {counts}; expected some of {', '.join(sorted(known))}, all of "
            "the same length"
        )
    for m in modalities:
        if m not in arrays or m + MASK not in arrays:
            continue
        if arrays[m + MASK].shape != arrays[m].shape[:2]:
            raise InputError(
                f"{path}: {m}{MASK} has shape {arrays[m + MASK].shape}, {m} {arrays[m].shape}"
            )
        arrays[m + MASK] = mask(arrays[m + MASK], str(path), m + MASK)
    for row in range(next(iter(counts.values()))):
        values = {name: x[row] for name, x in arrays.items() if not name.endswith(MASK)}
        for m in {*modalities} & {*values}:
            if values[m].dtype.kind in "US":
                values[m] = values[m] if values[m].ndim else values[m].item() or None
            elif m + MASK in arrays:
                tokens = arrays[m + MASK][row]
                values[m] = values[m][tokens] if tokens.any() else None
        yield _row(f"row {row}", row, values, folder)


def pieces(rows: Iterator[Row], size: int) -> Iterator[tuple[str | None, list[Row]]]:
    """Dialogues whole, other rows by as many as are predicted at once.

    A row of which not even the dialogue could be read counts to the one before it.

    Args:
      rows: in the order of their file.
      size: of a piece that is no dialogue.

    Returns:
      Pairs of a dialogue, or None, and its rows.
    """
    last = None

    def whose(row: Row) -> str | None:
        nonlocal last
        if row.utterance is not None or row.dialogue is not None:
            last = row.dialogue
        return last

    for dialogue, members in itertools.groupby(rows, whose):
        if dialogue is not None:
            yield dialogue, list(members)
            continue
        while piece := list(itertools.islice(members, size)):
            yield None, piece
