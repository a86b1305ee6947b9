"""The pickles of MMSA: sequences padded to one length, here cut back to what was measured.

`{train, valid, test}`, each with `raw_text`, `text` [N, T, 768], `text_bert` [N, 3, T] (ids, mask,
segments), `audio`, `vision`, `id` (`VIDEO$_$CLIP`), `regression_labels`, and `audio_lengths` and
`vision_lengths` in unaligned files; `emotion_labels` [N, 6] where somebody added them. Aligned
files are padded in front, unaligned ones behind, so that no mask is taken to start at the first
token.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from haemsa_datasets.files import find_file
from haemsa_datasets.pickles import read_pickle
from haemsa_datasets.samples import Card, Sample
from haemsa_jax.config import TaskSpec
from haemsa_jax.data import values
from haemsa_jax.errors import InputError

_SPLITS = {"train": "train", "validation": "valid", "test": "test"}


def source(data_set: str) -> str:
    """Where the pickles of a data set can be had."""
    return (
        f"Processed/aligned_50.pkl and Processed/unaligned_50.pkl of {data_set}, as the README of "
        "GitHub thuiar/MMSA links them"
    )


def card(
    data_set: str, kind: str, widths: Mapping[str, int], tasks: tuple[TaskSpec, ...], citation: str
) -> Card:
    """The card of MMSA's `kind` (`aligned` or `unaligned`) features of a data set."""
    return Card(
        description=f"{data_set}, standard split, MMSA's {kind} features",
        widths=widths,
        tasks=tasks,
        provenance={
            "text": f"{widths['text']} BERT (base, uncased), a vector a token",
            "audio": f"{widths['audio']} COVAREP, {kind}, as MMSA selects them",
            "vision": f"{widths['vision']} Facet, {kind}, as MMSA selects them",
        },
        conversational=True,
        source=source(data_set),
        citation=citation,
    )


def read_mmsa(raw_dir: Path, config: str, about: Card) -> dict[str, list[Sample]]:
    """All samples by split.

    Args:
      raw_dir: holds the pickle, or the folder `Processed` with it.
      config: `mmsa_aligned` or `mmsa_unaligned`, perhaps with `_emotions` behind it.
      about: the card, for its widths and tasks: the sentiment first, and perhaps emotions.

    Raises:
      InputError: the file is missing, would run code, or is not in MMSA's format.
    """
    name = f"{config.removeprefix('mmsa_').removesuffix('_emotions')}_50.pkl"
    path = find_file([raw_dir / name, raw_dir / "Processed" / name], about.source)
    content = read_pickle(path)
    return {split: _read_split(path, content, key, about) for split, key in _SPLITS.items()}


def split_fields(path: Path, content: Any, key: str, needed: Sequence[str]) -> dict[str, Any]:
    """The fields of one split of a pickle of splits; names may be bytes.

    Raises:
      InputError: there is no such split, or it lacks one of the fields `needed`.
    """
    splits = values.fields(content, str(path)) if isinstance(content, Mapping) else {}
    if not isinstance(splits.get(key), Mapping):
        raise InputError(f"{path}: expected a dict of {', '.join(_SPLITS.values())}; no {key!r}")
    return values.fields(splits[key], f"{path}, {key!r}", needed)


def _read_split(path: Path, content: Any, key: str, about: Card) -> list[Sample]:
    where, widths, task = f"{path}, {key!r}", about.widths, about.tasks[0].name
    needed = ("raw_text", "id", "regression_labels", *widths)
    fields = split_fields(path, content, key, needed)
    ids = values.texts(fields["id"], where, "id")
    count = len(ids)
    features = {
        m: values.numbers(fields[m], where, m, shape=(count, None, width))
        for m, width in widths.items()
    }
    masks = {"text": text_mask(features["text"], _tokens(where, fields, count))}
    for m in ("audio", "vision"):
        given = fields.get(f"{m}_lengths")
        if given is not None:
            given = values.lengths(given, where, f"{m}_lengths", count)
        masks[m] = span_mask(features[m], given)
    words = values.texts(fields["raw_text"], where, "raw_text", count)
    labels = values.numbers(
        fields["regression_labels"], where, "regression_labels", shape=(count,), dtype=np.float64
    )
    targets = [{task: label} for label in labels]
    if len(about.tasks) > 1:
        emotions = _emotions(where, fields, about.tasks[1], count)
        targets = [{**a, about.tasks[1].name: b} for a, b in zip(targets, emotions, strict=True)]
    return [
        Sample(
            id=ids[row],
            group=video,
            turn=turn,
            features={m: features[m][row][masks[m][row]] for m in widths},
            labels=targets[row],
            words=words[row],
            origin=f"{where}, sample {row}",
        )
        for row, (video, turn) in enumerate(_places(ids, where))
    ]


def _tokens(where: str, fields: Mapping[str, Any], count: int) -> np.ndarray | None:
    """`text_bert`, where it is there: [N, 3, T]."""
    given = fields.get("text_bert")
    return (
        None if given is None else values.numbers(given, where, "text_bert", shape=(count, 3, None))
    )


def _emotions(where: str, fields: Mapping[str, Any], task: TaskSpec, count: int) -> np.ndarray:
    """{0, 1}[N, 6]: intensities above zero."""
    name = "emotion_labels"
    if name not in fields:
        raise InputError(
            f"{where}: field {name!r} is missing, the intensities of {', '.join(task.classes)}; it "
            f"has {', '.join(fields)}"
        )
    intensities = values.numbers(
        fields[name], where, name, shape=(count, task.outputs), finite=True
    )
    return (intensities > 0).astype(np.float32)


def _places(ids: Sequence[str], where: str) -> list[tuple[str, int]]:
    """`VIDEO$_$CLIP` -> (video, place in it): the clip where all are numbers, else the row."""
    parted = [name.rpartition("$_$") for name in ids]
    for row, (name, (video, mark, clip)) in enumerate(zip(ids, parted, strict=True)):
        if not (video and mark and clip):
            raise InputError(f"{where}, sample {row}: id {name!r} is not of the form VIDEO$_$CLIP")
    numbered = all(values.whole_number(clip) for _, _, clip in parted)
    return [(video, int(clip) if numbered else row) for row, (video, _, clip) in enumerate(parted)]


def text_mask(text: np.ndarray, text_bert: np.ndarray | None) -> np.ndarray:
    """bool[N, T]: tokens that BERT attended to.

    Padded text can be non-zero, because BERT was run on padding; so `text_bert`'s mask counts. Only
    where it calls a zero vector a token is it padded differently from the features, and their
    non-zero span counts.
    """
    nonzero = (text != 0).any(axis=-1)
    if text_bert is None or np.shape(text_bert)[2:] != text.shape[1:2]:
        return _fill_gaps(nonzero)
    mask = np.asarray(text_bert)[:, 1] != 0
    contradicted = (mask & ~nonzero).any(axis=1, keepdims=True)
    return np.where(contradicted, _fill_gaps(nonzero), mask)


def span_mask(features: np.ndarray, lengths: np.ndarray | None) -> np.ndarray:
    """bool[N, T]: the first or last `lengths` tokens, whichever hold all that is not zero.

    Without lengths, or where neither does, the span from the first to the last non-zero token. A
    sample with zeros alone has none.
    """
    span = _fill_gaps((features != 0).any(axis=-1))
    if lengths is None:
        return span
    steps, total = np.arange(features.shape[1]), features.shape[1]
    lengths = np.minimum(np.asarray(lengths, int), total)[:, None]
    behind, before = steps < lengths, steps >= total - lengths
    fits = [~(span & ~mask).any(axis=1, keepdims=True) for mask in (behind, before)]
    return np.select(fits, [behind, before], span) & span.any(axis=1, keepdims=True)


def _fill_gaps(mask: np.ndarray) -> np.ndarray:
    """True from each row's first True to its last."""
    from_first = np.maximum.accumulate(mask, axis=1)
    to_last = np.maximum.accumulate(mask[:, ::-1], axis=1)[:, ::-1]
    return from_first & to_last
