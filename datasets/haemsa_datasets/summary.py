"""What a prepared data set holds, as JSON values and as a table for people."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from haemsa_datasets.samples import Card, Sample
from haemsa_jax.config import TaskSpec
from haemsa_jax.data.groups import shared
from haemsa_jax.tasks import kind_of


def summarise(
    splits: Mapping[str, Sequence[Sample]],
    card: Card,
    replaced: Mapping[str, Any],
    controls: Mapping[str, int],
) -> dict[str, Any]:
    """The metadata that follow from the samples.

    Returns:
      `max_lengths`, the longest sequence of each modality in any split (at least 1), and `summary`:
      samples and groups a split, whether a group is in two of them, lengths of the sequences
      present, share of samples without a modality, words, labels, and the feature values and
      control characters that were replaced.
    """
    everything = [sample for samples in splits.values() for sample in samples]
    lengths = {
        modality: np.array([len(sample.features[modality]) for sample in everything])
        for modality in card.widths
    }
    return {
        "max_lengths": {modality: max(1, int(count.max())) for modality, count in lengths.items()},
        "summary": {
            "samples": {name: len(samples) for name, samples in splits.items()},
            "groups": {name: len({s.group for s in samples}) for name, samples in splits.items()},
            "shared": shared({n: [s.group for s in samples] for n, samples in splits.items()}),
            "lengths": {modality: _quantiles(count) for modality, count in lengths.items()},
            "absent": {modality: int(np.sum(count == 0)) for modality, count in lengths.items()},
            "words": {
                "lengths": _quantiles(np.array([len(s.words.split()) for s in everything])),
                "absent": sum(not sample.words for sample in everything),
                "speakers": len({sample.speaker for sample in everything} - {""}),
                "controls": dict(controls),
            },
            "labels": {
                task.name: {name: _labels(samples, task) for name, samples in splits.items()}
                for task in card.tasks
            },
            "replaced": {modality: dict(count) for modality, count in replaced.items()},
        },
    }


def _quantiles(lengths: np.ndarray) -> dict[str, float]:
    present = lengths[lengths > 0]
    if not len(present):
        return {"min": 0, "median": 0, "max": 0}
    return {
        "min": int(present.min()),
        "median": float(np.median(present)),
        "max": int(present.max()),
    }


def _labels(samples: Sequence[Sample], task: TaskSpec) -> dict[str, Any]:
    """How many samples each class has, or the range of labels without classes."""
    labels = np.array(
        [sample.labels[task.name] for sample in samples if task.name in sample.labels]
    )
    if task.classes:
        labels = labels.astype(task.label_dtype).reshape(-1, *task.label_shape)
        counts = kind_of(task.kind).class_counts(task, labels)
        return {name: int(count) for name, count in zip(task.classes, counts, strict=True)}
    if not len(labels):
        return {"labelled": 0}
    return {
        "labelled": len(labels),
        "min": float(labels.min()),
        "mean": float(labels.mean()),
        "max": float(labels.max()),
    }


def to_table(name: str, metadata: Mapping[str, Any], path: Path) -> str:
    """The summary of a prepared data set, as text."""
    summary = metadata["summary"]
    lines = [f"{name}: {metadata['description']}", ""]
    lines += _columns(
        [["split", "samples", "groups"]]
        + [[split, count, summary["groups"][split]] for split, count in summary["samples"].items()]
    )
    lines += ["", *_columns(_modality_rows(metadata)), "", *_columns(_label_rows(summary)), ""]
    for modality, replaced in summary["replaced"].items():
        if replaced["values"]:
            lines.append(
                f"{modality}: {replaced['values']} values of {replaced['samples']} samples were "
                "not finite and are replaced by the training split's mean of their column"
            )
    if not any(replaced["values"] for replaced in summary["replaced"].values()):
        lines.append("no feature value had to be replaced (all are finite)")
    controls = summary["words"].get("controls", {})  # earlier versions did not count them
    if controls.get("characters"):
        lines.append(
            f"words: {controls['characters']} control characters of {controls['samples']} samples "
            "(cp1252 read as Latin-1, line breaks, tabs) are replaced"
        )
    if summary.get("shared"):  # earlier versions did not look
        lines.append(f"warning: {summary['shared']}")
    return "\n".join([*lines, f"written to {path}"])


def _modality_rows(metadata: Mapping[str, Any]) -> list[list[Any]]:
    summary = metadata["summary"]
    total = sum(summary["samples"].values())
    rows = [["modality", "width", "length min/median/max", "absent", "features"]]
    for modality, width in metadata["widths"].items():
        length, absent = summary["lengths"][modality], summary["absent"][modality]
        spread = f"{length['min']}/{length['median']:g}/{length['max']}"
        share = f"{absent} ({absent / total:.1%})"
        rows.append([modality, width, spread, share, metadata["provenance"][modality]])
    words = summary["words"]
    if words["absent"] < total:
        length, absent = words["lengths"], words["absent"]
        spread = f"{length['min']}/{length['median']:g}/{length['max']}"
        who = f"transcripts, {words['speakers']} speakers" if words["speakers"] else "transcripts"
        rows.append(["words", "", spread, f"{absent} ({absent / total:.1%})", who])
    return rows


def _label_rows(summary: Mapping[str, Any]) -> list[list[Any]]:
    rows = [["task", "split", "labels"]]
    for task, splits in summary["labels"].items():
        for split, labels in splits.items():
            if "min" in labels:
                text = "min {min:.2f}, mean {mean:.2f}, max {max:.2f}".format(**labels)
            else:
                text = ", ".join(f"{label} {count}" for label, count in labels.items())
            rows.append([task, split, text])
    return rows


def _columns(rows: Sequence[Sequence[Any]]) -> list[str]:
    """Rows as text, cells left-aligned, two blanks between."""
    widths = [max(len(str(cell)) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
