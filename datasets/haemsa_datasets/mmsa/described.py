"""A pickle in MMSA's form that describes itself: widths, modalities, tasks and ranges.

Beside the fields of `reading`, `regression_labels_T`, `_A` and `_V` may be there, as CH-SIMS has
them, or `classification_labels` without `regression_labels`. A label that is NaN is not known. A
dict `provenance` beside the splits, as `launch.extract` writes it, says where features come from.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from haemsa_datasets.mmsa import reading
from haemsa_datasets.samples import Card, Sample
from haemsa_datasets.sentiment import SENTIMENT, SIMS_METRICS
from haemsa_jax.config import TaskSpec
from haemsa_jax.data import values
from haemsa_jax.errors import InputError

SOURCE = (
    "a pickle in MMSA's form, named by --raw_dir or alone in that directory: a dict of train, "
    "valid and test with id, regression_labels and any of raw_text, text, audio and vision"
)
MODALITIES = ("text", "audio", "vision")
REGRESSION = {
    "sentiment": "regression_labels",
    "sentiment_text": "regression_labels_T",
    "sentiment_audio": "regression_labels_A",
    "sentiment_vision": "regression_labels_V",
}
CLASSES = "classification_labels"
SIGNED = ("acc2_has0", "f1_has0", "acc2_non0", "f1_non0")
Fields = Mapping[str, Mapping[str, Any]]  # by the pickle's name of a split


def find_pickle(raw_dir: Path) -> Path:
    """The pickle that is meant: the file itself, or the only one of a directory.

    Raises:
      InputError: there is none, or there are several.
    """
    if raw_dir.is_file():
        return raw_dir
    folders = raw_dir, raw_dir / "Processed"
    pickles = [p for x in folders for p in sorted([*x.glob("*.pkl"), *x.glob("*.pickle")])]
    if not pickles:
        raise InputError(f"{raw_dir} holds no .pkl file; name one: --raw_dir=FILE")
    if len(pickles) > 1:
        names = ", ".join(str(path.relative_to(raw_dir)) for path in pickles)
        raise InputError(
            f"{raw_dir} holds {len(pickles)} pickles, {names}; name one: --raw_dir={pickles[0]}"
        )
    return pickles[0]


def fields_of(path: Path, content: Any) -> Fields:
    """The fields of every split, those that are None left out.

    Raises:
      InputError: a split is missing, or has no ids or labels, or neither words nor features.
    """
    fields = {}
    for key in reading.SPLITS.values():
        whole = reading.split_fields(path, content, key, ("id",))
        fields[key] = {name: value for name, value in whole.items() if value is not None}
    train = fields["train"]
    if not {*train} & {*REGRESSION.values(), CLASSES}:
        raise InputError(
            f"{path}, 'train': field 'regression_labels' is missing; it has {', '.join(train)}"
        )
    if not {*train} & {"raw_text", *MODALITIES}:
        raise InputError(
            f"{path}, 'train': none of raw_text, {', '.join(MODALITIES)} is there; it has "
            f"{', '.join(train)}"
        )
    return fields


def origins(path: Path, content: Mapping[Any, Any]) -> dict[str, str]:
    """Where the file says that features and words come from.

    Raises:
      InputError: it says that in something else than words.
    """
    provenance = values.fields(content, str(path)).get("provenance", {})
    if not isinstance(provenance, dict) or not all(
        isinstance(x, str) for x in (*provenance, *provenance.values())
    ):
        shown = values.shown(provenance)
        raise InputError(f"{path}: provenance is {shown}; expected words by modality")
    return provenance


def describe(path: Path, fields: Fields, provenance: Mapping[str, str]) -> Card:
    """The card of a pickle, which claims nothing that the file does not say.

    Args:
      path, fields: the file.
      provenance: as `origins` returns it.

    Raises:
      InputError: a modality is no array [N, T, width] or [N, width], or labels are no numbers.
    """
    train = fields["train"]
    widths = {m: _width(f"{path}, 'train'", m, train[m]) for m in MODALITIES if m in train}
    return Card(
        description=f"{path.name}, a pickle in MMSA's form",
        widths=widths,
        tasks=tuple(_tasks(path, fields)),
        provenance={m: reading.unknown_origin(width) for m, width in widths.items()}
        | {**provenance},
        conversational=_are_talks(path, fields),
        source=SOURCE,
    )


def read(path: Path, fields: Fields, about: Card) -> dict[str, list[Sample]]:
    """All samples by split.

    Raises:
      InputError: something does not fit the card, or another field of its split.
    """
    return {
        split: _read_split(path, fields[key], key, about) for split, key in reading.SPLITS.items()
    }


def _read_split(path: Path, fields: Mapping[str, Any], key: str, about: Card) -> list[Sample]:
    where, ids = f"{path}, {key!r}", _ids(path, key, fields)
    given = {m: _with_tokens(fields[m]) for m in about.widths if m in fields}
    features = reading.sequences(
        where, {**fields, **given}, {m: w for m, w in about.widths.items() if m in given}, len(ids)
    )
    for m, width in about.widths.items():  # absent from all of a split
        features.setdefault(m, [np.zeros((0, width), np.float32)] * len(ids))
    words = [""] * len(ids)
    if "raw_text" in fields:
        words = values.texts(fields["raw_text"], where, "raw_text", len(ids))
    labels: list[dict[str, Any]] = [{} for _ in ids]
    for task in about.tasks:
        for row, value in enumerate(_labels(where, fields, task.name, task.kind, len(ids))):
            if not np.isnan(value):
                labels[row][task.name] = value
    return [
        Sample(
            id=ids[row],
            group=group,
            turn=turn,
            features={m: features[m][row] for m in about.widths},
            labels=labels[row],
            words=words[row],
            origin=f"{where}, sample {row}",
        )
        for row, (group, turn) in enumerate(_placed(path, key, fields))
    ]


def _ids(path: Path, key: str, fields: Mapping[str, Any]) -> list[str]:
    return values.identifiers(fields["id"], f"{path}, {key!r}", "id")


def _placed(path: Path, key: str, fields: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Group and place in it; an id that is no VIDEO$_$CLIP is a group of its own."""
    ids = _ids(path, key, fields)
    listed = enumerate(zip(ids, reading.places(ids), strict=True))
    return [(name, row) if place is None else place for row, (name, place) in listed]


def _are_talks(path: Path, fields: Fields) -> bool:
    """Whether some video has several clips, each at a place of its own, and all in one split.

    A video in several splits would have test clips as the context of training clips.
    """
    placed = {key: _placed(path, key, of) for key, of in fields.items()}
    if any(len({*places}) < len(places) for places in placed.values()):
        return False
    videos = [{video for video, _ in places} for places in placed.values()]
    count = sum(map(len, videos))
    return count == len(set().union(*videos)) and count < sum(map(len, placed.values()))


def _with_tokens(given: Any) -> Any:
    """[N, width] as one token a sample."""
    shaped = isinstance(given, np.ndarray) and given.ndim == 2 and given.dtype != object
    return given[:, None] if shaped else given


def _width(where: str, modality: str, given: Any) -> int:
    whole = _with_tokens(given)
    if not isinstance(whole, np.ndarray):
        rows = values.sequence(whole, where, modality)
        whole = values.numbers(whole, where, modality, shape=(len(rows), None, None))
    if whole.ndim != 3 or not whole.shape[2]:
        raise InputError(
            f"{where}: {modality} has shape {np.shape(given)}; expected (N, T, width), or "
            "(N, width) of one vector a sample"
        )
    return whole.shape[2]


def _tasks(path: Path, fields: Fields) -> list[TaskSpec]:
    tasks = []
    for task, field in REGRESSION.items():
        if field in fields["train"]:
            tasks.append(_regression(path, fields, task))
    if "regression_labels" in fields["train"] or tasks:
        return tasks
    every = np.concatenate(
        [_labels(f"{path}, {key!r}", of, "sentiment", "classification", None)
         for key, of in fields.items()]
    )  # fmt: skip
    numbers = every[~np.isnan(every)]
    if not len(numbers) or (numbers != np.round(numbers)).any() or numbers.min() < 0:
        raise InputError(f"{path}: {CLASSES} are no numbers of classes from 0")
    names = _class_names(path, fields, int(numbers.max()) + 1)
    return [TaskSpec("sentiment", "classification", ("f1_weighted", "accuracy"), names)]


def _class_names(path: Path, fields: Fields, count: int) -> tuple[str, ...]:
    """What `annotations` call each class, where they call it one thing; else its number."""
    called: dict[int, set[str]] = {number: set() for number in range(count)}
    for key, of in fields.items():
        where = f"{path}, {key!r}"
        if "annotations" in of:
            classes = _labels(where, of, "sentiment", "classification", None)
            names = values.texts(of["annotations"], where, "annotations", len(classes))
            for number, name in zip(classes, names, strict=True):
                if not np.isnan(number):
                    called[int(number)].add(name.strip().lower())
    names = [next(iter(each)) if len(each) == 1 else "" for each in called.values()]
    clear = all(names) and len({*names}) == count
    return tuple(names) if clear else tuple(map(str, range(count)))


def _regression(path: Path, fields: Fields, task: str) -> TaskSpec:
    every = np.concatenate(
        [_labels(f"{path}, {key!r}", of, task, "regression", None) for key, of in fields.items()]
    )
    every = every[np.isfinite(every)]
    if not len(every):
        raise InputError(f"{path}: {REGRESSION[task]} holds no finite number")
    low, high = label_range(every)
    metrics: tuple[str, ...] = ("mae", "corr")
    if low < 0 < high:
        signed = SIMS_METRICS if high <= 1 else (*metrics, *SIGNED)
        metrics = SENTIMENT.metrics if high >= 3 else signed
    return TaskSpec(task, "regression", metrics, range=(low, high))


def label_range(labels: np.ndarray) -> tuple[float, float]:
    """Whole numbers around all labels, as far below 0 as above it where labels have both signs."""
    low, high = float(np.floor(labels.min())), float(np.ceil(labels.max()))
    if low < 0 < high:
        low, high = min(low, -high), max(high, -low)
    return low, high if high > low else low + 1.0


def _labels(
    where: str, fields: Mapping[str, Any], task: str, kind: str, count: int | None
) -> np.ndarray:
    """float64[N], NaN where a label is not known; all of them where the split has no such field."""
    field = REGRESSION[task] if kind == "regression" else CLASSES
    if field not in fields:
        return np.full(count or 0, np.nan)
    rows: Sequence[Any] = values.sequence(fields[field], where, field, count)
    return values.numbers(rows, where, field, shape=(len(rows),), dtype=np.float64)
