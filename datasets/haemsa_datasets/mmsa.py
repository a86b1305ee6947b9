"""The pickles of MMSA: sequences padded to one length, here cut back to what was measured.

`{train, valid, test}`, each with `raw_text`, `text` [N, T, 768], `text_bert` [N, 3, T] (ids, mask,
segments), `audio`, `vision`, `id` (`VIDEO$_$CLIP`), `regression_labels`, and `audio_lengths` and
`vision_lengths` in unaligned files; `emotion_labels` [N, 6] where somebody added them. Aligned
files are padded in front, unaligned ones behind, so that no mask is taken to start at the first
token.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from haemsa_datasets.files import find_file
from haemsa_datasets.pickles import read_pickle
from haemsa_datasets.samples import Card, Sample
from haemsa_jax.config import TaskSpec
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


def _read_split(path: Path, content: Any, key: str, about: Card) -> list[Sample]:
    where = f"{path}, {key!r}"
    if not isinstance(content, dict) or not isinstance(content.get(key), dict):
        raise InputError(f"{path}: expected a dict of {', '.join(_SPLITS.values())}; no {key!r}")
    fields = content[key]
    widths, task = about.widths, about.tasks[0].name
    for name in ("raw_text", "id", "regression_labels", *widths):
        if name not in fields:
            raise InputError(f"{where}: field {name!r} is missing; it has {', '.join(fields)}")
    features = {m: _features(where, fields, m, width) for m, width in widths.items()}
    masks = {
        "text": text_mask(features["text"], fields.get("text_bert")),
        **{m: span_mask(features[m], fields.get(f"{m}_lengths")) for m in ("audio", "vision")},
    }
    labels = np.asarray(fields["regression_labels"], np.float64).ravel()
    if len(labels) != len(fields["id"]):
        raise InputError(
            f"{where}: {len(labels)} regression_labels; expected {len(fields['id'])}, one a sample"
        )
    targets = [{task: label} for label in labels]
    if len(about.tasks) > 1:
        emotions = _emotions(where, fields, about.tasks[1])
        targets = [{**a, about.tasks[1].name: b} for a, b in zip(targets, emotions, strict=True)]
    samples = []
    for row, name in enumerate(fields["id"]):
        origin = f"{where}, sample {row}"
        video, turn = _place(str(name), row, origin)
        samples.append(
            Sample(
                id=str(name),
                group=video,
                turn=turn,
                features={m: features[m][row][masks[m][row]] for m in widths},
                labels=targets[row],
                words=str(fields["raw_text"][row]),
                origin=origin,
            )
        )
    return samples


def _emotions(where: str, fields: Mapping[str, Any], task: TaskSpec) -> np.ndarray:
    """{0, 1}[N, 6]: intensities above zero."""
    values = np.asarray(fields.get("emotion_labels", ()), np.float64)
    if values.shape != (len(fields["id"]), task.outputs):
        raise InputError(
            f"{where}: emotion_labels has shape {values.shape}; expected "
            f"({len(fields['id'])}, {task.outputs}), the intensities of {', '.join(task.classes)}"
        )
    return (values > 0).astype(np.float32)


def _features(where: str, fields: Mapping[str, Any], modality: str, width: int) -> np.ndarray:
    """float32[N, T, d]."""
    values = np.asarray(fields[modality], np.float32)
    count = len(fields["id"])
    if values.ndim != 3 or len(values) != count or values.shape[2] != width:
        raise InputError(
            f"{where}: {modality} has shape {values.shape}; expected ({count}, T, {width})"
        )
    return values


def _place(name: str, row: int, origin: str) -> tuple[str, int]:
    """`VIDEO$_$CLIP` -> (video, place in it)."""
    video, mark, clip = name.rpartition("$_$")
    if not mark:
        raise InputError(f"{origin}: id {name!r} is not of the form VIDEO$_$CLIP")
    return video, int(clip) if clip.isdigit() else row


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
