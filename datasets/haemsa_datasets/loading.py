"""Prepared records as the padded arrays that the library works on."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from haemsa_datasets import catalog
from haemsa_datasets.quiet import quiet_tfds
from haemsa_jax.config import TaskSpec, from_json
from haemsa_jax.data.dataset import SPLITS, Dataset, Split
from haemsa_jax.errors import InputError


def metadata(name: str, data_dir: str | Path) -> dict[str, Any]:
    """What a prepared data set says of itself: card, `max_lengths`, `summary` and details.

    Raises:
      InputError: the data set is unknown or not prepared.
    """
    return dict(_open(name, data_dir).info.metadata)


def load(name: str, data_dir: str | Path, splits: Iterable[str] = SPLITS) -> Dataset:
    """Reads the splits asked for, and no other.

    Every modality is padded with zeros to its longest sequence in *any* split, so that all splits
    have equal shapes, whenever they are loaded.

    Args:
      name: data set name as on the command line, one of `names()`.
      data_dir: directory that `prepare` wrote to.
      splits: names from `SPLITS`.

    Raises:
      InputError: the data set is unknown or not prepared, or there is no such split.
    """
    builder = _open(name, data_dir)
    about = builder.info.metadata
    tasks = {spec["name"]: from_json(TaskSpec, spec) for spec in about["tasks"]}
    loaded = {}
    for split in splits:
        if split not in builder.info.splits:
            raise InputError(f"{name}: split {split!r} is unknown; choose from {', '.join(SPLITS)}")
        loaded[split] = _stack(list(builder.as_data_source(split)), about, tasks)
    return Dataset(
        name=name,
        widths=dict(about["widths"]),
        tasks=tasks,
        splits=loaded,
        provenance=dict(about["provenance"]),
        conversational=about["conversational"],
        partition=about.get("partition", ""),  # earlier versions did not write it
    )


def _open(name: str, data_dir: str | Path) -> tfds.core.DatasetBuilder:
    path = catalog.prepared_path(name, data_dir)
    if not catalog.is_prepared(name, data_dir):
        raw = "--raw_dir=DIR " if catalog.make_builder(name, Path(data_dir)).card.source else ""
        raise InputError(
            f"data set {name!r} is not prepared: there is no {path}; make it with "
            f"`python -m launch.prepare_data --dataset={name} {raw}--data_dir={data_dir}`"
        )
    with quiet_tfds():
        return tfds.builder_from_directory(str(path))


def _stack(
    records: Sequence[Mapping[str, Any]], about: Mapping[str, Any], tasks: Mapping[str, TaskSpec]
) -> Split:
    """Records of one split, in stored order, as arrays (see `Split`)."""
    features, masks = {}, {}
    for modality, width in about["widths"].items():
        sequences = [record["features"][modality] for record in records]
        features[modality], masks[modality] = _pad(sequences, about["max_lengths"][modality], width)
    groups: dict[bytes, int] = {}
    return Split(
        features=features,
        masks=masks,
        labels={name: _labels(records, task) for name, task in tasks.items()},
        labelled={
            name: np.array([record["labelled"][name] for record in records], bool) for name in tasks
        },
        group=np.array(
            [groups.setdefault(record["group"], len(groups)) for record in records], np.int32
        ),
        ids=[record["id"].decode() for record in records],
        words=[record["words"].decode() for record in records],
        speakers=[record["speaker"].decode() for record in records],
    )


def _pad(sequences: Sequence[np.ndarray], length: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Sequences [T_i, d] -> (float32[N, length, d], bool[N, length]), padded behind."""
    padded = np.zeros((len(sequences), length, width), np.float32)
    for row, sequence in zip(padded, sequences, strict=True):
        row[: len(sequence)] = sequence
    lengths = np.array([len(sequence) for sequence in sequences])
    return padded, np.arange(length) < lengths[:, None]


def _labels(records: Sequence[Mapping[str, Any]], task: TaskSpec) -> np.ndarray:
    return np.array([record["labels"][task.name] for record in records], task.label_dtype)
