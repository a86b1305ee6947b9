"""The pickles of MMSA: sequences padded to one length, here cut back to what was measured.

`{train, valid, test}`, each with `raw_text`, `text` [N, T, 768], `text_bert` [N, 3, T] (ids, mask,
segments), `audio`, `vision`, `id` (`VIDEO$_$CLIP`), `regression_labels`, and `audio_lengths` and
`vision_lengths` in unaligned files; `emotion_labels` [N, 6] where somebody added them. Aligned
files are padded in front, unaligned ones behind, so that no mask is taken to start at the first
token. What is here serves the files of MOSI and MOSEI and, by `described`, anybody's.
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

SPLITS = {"train": "train", "validation": "valid", "test": "test"}


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
    return {split: _read_split(path, content, key, about) for split, key in SPLITS.items()}


def unlike(
    splits: Mapping[str, Sequence[Sample]], published: Sequence[int], about: Card
) -> dict[str, Any]:
    """What metadata say in place of the card's words, where a file is not the published one.

    Args:
      splits: what `read_mmsa` read.
      published: samples of the published train, validation and test split.
      about: the card.
    """
    counts = [len(splits[split]) for split in SPLITS]
    if counts == list(published):
        return {}
    kind, sizes = "/".join(map(str, counts)), "/".join(map(str, published))
    return {
        "description": f"a pickle in MMSA's form with {kind} samples, not the published {sizes}",
        "provenance": {m: unknown_origin(width) for m, width in about.widths.items()},
        "citation": "",
    }


def unknown_origin(width: int) -> str:
    """The provenance of features of which the file says nothing."""
    return f"{width} columns of a pickle in MMSA's form; it does not say what they are"


def split_fields(path: Path, content: Any, key: str, needed: Sequence[str]) -> dict[str, Any]:
    """The fields of one split of a pickle of splits; names may be bytes.

    Raises:
      InputError: there is no such split, or it lacks one of the fields `needed`.
    """
    splits = values.fields(content, str(path)) if isinstance(content, Mapping) else {}
    if not isinstance(splits.get(key), Mapping):
        raise InputError(f"{path}: expected a dict of {', '.join(SPLITS.values())}; no {key!r}")
    return values.fields(splits[key], f"{path}, {key!r}", needed)


def _read_split(path: Path, content: Any, key: str, about: Card) -> list[Sample]:
    where, task = f"{path}, {key!r}", about.tasks[0].name
    needed = ("raw_text", "id", "regression_labels", *about.widths)
    fields = split_fields(path, content, key, needed)
    ids = values.texts(fields["id"], where, "id")
    count = len(ids)
    try:
        features = sequences(where, fields, about.widths, count)
    except InputError as error:
        arrays = {m: x for m in about.widths if isinstance(x := fields[m], np.ndarray)}
        if all(x.shape[2:] in ((), (about.widths[m],)) for m, x in arrays.items()):
            raise
        raise InputError(
            f"{error}; a file of other widths is read by --dataset=mmsa/NAME, a name of your choice"
        ) from error
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
            features={m: features[m][row] for m in about.widths},
            labels=targets[row],
            words=words[row],
            origin=f"{where}, sample {row}",
        )
        for row, (video, turn) in enumerate(_places(ids, where))
    ]


def sequences(
    where: str, fields: Mapping[str, Any], widths: Mapping[str, int], count: int
) -> dict[str, list[np.ndarray]]:
    """By modality float32[T_i, width] of each sample, without padding.

    Raises:
      InputError: a field has another shape, or its lengths are none.
    """
    cut = {}
    for m, width in widths.items():
        whole = values.numbers(fields[m], where, m, shape=(count, None, width))
        if m == "text":
            mask = text_mask(whole, _tokens(where, fields, count))
        else:
            given = fields.get(f"{m}_lengths")
            if given is not None:
                given = values.lengths(given, where, f"{m}_lengths", count)
            mask = span_mask(whole, given)
        cut[m] = [rows[kept] for rows, kept in zip(whole, mask, strict=True)]
    return cut


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
    placed = places(ids)
    for row, (name, place) in enumerate(zip(ids, placed, strict=True)):
        if place is None:
            raise InputError(f"{where}, sample {row}: id {name!r} is not of the form VIDEO$_$CLIP")
    return [place for place in placed if place is not None]


def places(ids: Sequence[str]) -> list[tuple[str, int] | None]:
    """`VIDEO$_$CLIP` -> (video, place in it): the clip where all are numbers, else the row.

    None stands for an id of another form.
    """
    parted = [name.rpartition("$_$") for name in ids]
    numbered = all(values.whole_number(clip) for _, _, clip in parted)
    return [
        (video, int(clip) if numbered else row) if video and mark and clip else None
        for row, (video, mark, clip) in enumerate(parted)
    ]


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
