"""Prepared records as the padded arrays that the library works on."""

import contextlib
import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from haemsa_datasets import catalog
from haemsa_datasets.quiet import quiet_tfds
from haemsa_jax.config import TaskSpec, from_json
from haemsa_jax.data.dataset import SPLITS, Dataset, Split
from haemsa_jax.errors import InputError
from haemsa_jax.regular import regular

# What TFDS writes beside the records.
METADATA = "metadata.json"
DESCRIPTION = "dataset_info.json", "features.json", METADATA


def metadata(name: str, data_dir: str | Path) -> dict[str, Any]:
    """What a prepared data set says of itself: card, `max_lengths`, `summary` and details.

    Nothing of one that was registered as arrays.

    Raises:
      InputError: the data set is unknown, not prepared or damaged.
    """
    if name in catalog.REGISTERED:
        return {}
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
      InputError: the data set is unknown, not prepared or damaged, or there is no such split.
    """
    if name in catalog.REGISTERED:
        whole = catalog.REGISTERED[name]()
        return dataclasses.replace(whole, name=name, splits=_chosen(name, whole.splits, splits))
    builder = _open(name, data_dir)
    about, path = builder.info.metadata, catalog.prepared_path(name, data_dir)
    with _made_again(name, data_dir, path / METADATA):
        tasks = {spec["name"]: from_json(TaskSpec, spec) for spec in about["tasks"]}
        described = {
            "widths": dict(about["widths"]),
            "provenance": dict(about["provenance"]),
            "conversational": about["conversational"],
            "partition": about.get("partition", ""),  # earlier versions did not write it
        }
        lengths = {modality: about["max_lengths"][modality] for modality in about["widths"]}
        seen = {m: max(1, about["summary"]["lengths"][m]["max"]) for m in lengths}
        if lengths != seen:
            raise ValueError(f"max_lengths {lengths} are not those of its summary, {seen}")
    loaded = {}
    for split in splits:
        _chosen(name, builder.info.splits, [split])
        count = builder.info.splits[split].num_examples
        pattern = f"{name.partition('/')[0]}-{split}.array_record*"
        files = list(path.glob(pattern))  # several of large data sets only
        with _made_again(name, data_dir, files[0] if len(files) == 1 else path / pattern):
            for file in files:  # ArrayRecord would wait for a FIFO, and hear no signal
                regular(file)
            records = list(builder.as_data_source(split))
            if len(records) != count:
                raise ValueError(f"{len(records)} records of {count}")
            loaded[split] = _stack(records, described["widths"], lengths, tasks)
    return Dataset(name=name, tasks=tasks, splits=loaded, **described)


def _chosen(name: str, known: Mapping[str, Any], splits: Iterable[str]) -> dict[str, Any]:
    for split in splits:
        if split not in known:
            raise InputError(f"{name}: split {split!r} is unknown; choose from {', '.join(known)}")
    return {split: known[split] for split in splits}


def _open(name: str, data_dir: str | Path) -> tfds.core.DatasetBuilder:
    path = catalog.prepared_path(name, data_dir)
    if not catalog.is_prepared(name, data_dir):
        raise InputError(
            f"data set {name!r} is not prepared: there is no {path}; make it with "
            f"`{_command(name, data_dir)}`"
        )
    for file in path.glob("*.txt"):  # TFDS opens names of classes without a look at what is there
        with _made_again(name, data_dir, file):
            regular(file)
    for file in DESCRIPTION:
        with _made_again(name, data_dir, path / file):
            if not isinstance(json.loads(regular(path / file).read_text("utf-8")), dict):
                raise ValueError("it holds no JSON object")
    with quiet_tfds(), _made_again(name, data_dir, path / " or ".join(DESCRIPTION)):
        return tfds.builder_from_directory(str(path))


def _command(name: str, data_dir: str | Path) -> str:
    if not catalog.is_known(name):  # prepared by a builder that is not at hand
        given = "--datasets_dir=DIR --raw_dir=DIR "
    else:
        given = "--raw_dir=DIR " if catalog.source_of(name) else ""
    return f"python -m launch.prepare_data --dataset={name} {given}--data_dir={data_dir}"


@contextlib.contextmanager
def _made_again(name: str, data_dir: str | Path, path: Path) -> Iterator[None]:
    """Whatever TFDS, its protocol buffers and ArrayRecord raise of a damaged file names it."""
    try:
        yield
    except PermissionError:
        raise
    except MemoryError as error:
        raise InputError(f"{path} does not fit into memory ({error}); free some") from error
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"{path} is damaged ({reason}); prepare the data set again: "
            f"`{_command(name, data_dir)} --overwrite`"
        ) from error


def _stack(
    records: Sequence[Mapping[str, Any]],
    widths: Mapping[str, int],
    lengths: Mapping[str, int],
    tasks: Mapping[str, TaskSpec],
) -> Split:
    """Records of one split, in stored order, as arrays (see `Split`)."""
    features, masks = {}, {}
    for modality, width in widths.items():
        sequences = [record["features"][modality] for record in records]
        features[modality], masks[modality] = _pad(sequences, lengths[modality], width)
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
