"""The builder that every data set here shares: checks, cleans, describes and stores samples."""

import abc
import hashlib
import inspect
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from haemsa_datasets.checks import check_samples
from haemsa_datasets.cleaning import replace_controls, replace_nonfinite
from haemsa_datasets.samples import Card, Sample
from haemsa_datasets.summary import summarise
from haemsa_jax.config import TaskSpec
from haemsa_jax.data.values import shown
from haemsa_jax.errors import InputError


class HaemsaBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A data set of utterances with several modalities and tasks.

    A subclass has a `card` (by `builder_config` where it has several) and a `read`. One record is
    one utterance, stored once and in order of (group, turn); no context is materialised. The
    metadata that TFDS keeps beside the records holds the card, the longest sequence of each
    modality and the preparation summary, so that a prepared directory describes itself.
    """

    # TFDS hands over the directory of raw files only where a builder says something here.
    MANUAL_DOWNLOAD_INSTRUCTIONS = "The directory of the raw files, as the card's `source` says."
    # Whether `NAME/ANYTHING` is a data set, which its raw file describes.
    ANY_FILE: ClassVar[bool] = False

    def __init__(self, *, raw_dir: str | Path | None = None, **kwargs):
        self.raw_dir = raw_dir  # first, since the card may be that of a file
        super().__init__(**kwargs)

    @property
    @abc.abstractmethod
    def card(self) -> Card:
        """What holds for the whole data set."""

    @abc.abstractmethod
    def read(self, raw_dir: Path | None) -> dict[str, list[Sample]]:
        """All samples by split; `raw_dir` is None for a generated data set.

        Raises:
          InputError: a file is missing or does not fit.
        """

    def details(self, splits: Mapping[str, list[Sample]]) -> dict[str, Any]:
        """Further facts for the metadata, as JSON values; they come before those of the card."""
        return {}

    def _info(self) -> tfds.core.DatasetInfo:
        if not isinstance(self.card, Card):
            raise InputError(
                f"data set {self.name!r}: its builder's card is {shown(self.card)}; make it a Card"
            )
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.card.description,
            citation=self.card.citation,
            features=record_features(self.card),
            metadata=tfds.core.MetadataDict(self.card.to_json()),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        if self.raw_dir is None and self.card.source:  # as TFDS's own commands have it
            self.raw_dir = dl_manager.manual_dir
        splits = _read(self)
        check_samples(splits, self.card)
        splits = {
            name: sorted(samples, key=lambda sample: (sample.group, sample.turn))
            for name, samples in splits.items()
        }
        splits, replaced = replace_nonfinite(splits)
        splits, controls = replace_controls(splits)
        self.info.metadata.update(summarise(splits, self.card, replaced, controls))
        self.info.metadata.update(self.details(splits), partition=partition(splits))
        return {name: self._generate_examples(samples) for name, samples in splits.items()}

    def _generate_examples(self, samples: list[Sample]) -> Iterator[tuple[int, dict[str, Any]]]:
        for key, sample in enumerate(samples):
            yield key, to_record(sample, self.card.tasks)


def _read(builder: HaemsaBuilder) -> dict[str, list[Sample]]:
    """What the builder's `read` returns; whatever else it raises becomes one line."""
    try:
        return builder.read(Path(builder.raw_dir) if builder.raw_dir else None)
    except (InputError, OSError, MemoryError):
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        folder = Path(inspect.getfile(type(builder))).parent
        last = [x for x in frames if folder in Path(x.filename).parents][-1]
        raise InputError(
            f"{last.filename}, line {last.lineno}: {type(error).__name__}: {error}; mend the "
            "reader of the data set, or the file (--verbosity=1 shows how it came there)"
        ) from error


def partition(splits: Mapping[str, list[Sample]]) -> str:
    """A digest of which sample is in which split, 16 hexadecimal digits."""
    rows = sorted(
        f"{name}\t{sample.id}\n" for name, samples in splits.items() for sample in samples
    )
    return hashlib.sha256("".join(rows).encode()).hexdigest()[:16]


def builder_configs(cards: Mapping[str, Card]) -> list[tfds.core.BuilderConfig]:
    """The configurations of a data set that has a card for each."""
    return [
        tfds.core.BuilderConfig(name=name, description=card.description)
        for name, card in cards.items()
    ]


def record_features(card: Card) -> tfds.features.FeaturesDict:
    """Types of one record's fields."""
    return tfds.features.FeaturesDict(
        {
            "id": tfds.features.Text(),
            "group": tfds.features.Text(),
            "turn": tfds.features.Scalar(np.int32),
            "words": tfds.features.Text(),
            "speaker": tfds.features.Text(),
            "features": {
                modality: tfds.features.Tensor(shape=(None, width), dtype=np.float32)
                for modality, width in card.widths.items()
            },
            "labels": {task.name: _label_feature(task) for task in card.tasks},
            "labelled": {task.name: tfds.features.Scalar(np.bool_) for task in card.tasks},
        }
    )


def _label_feature(task: TaskSpec) -> tfds.features.FeatureConnector:
    if task.label_shape:
        return tfds.features.Tensor(shape=task.label_shape, dtype=task.label_dtype)
    if task.label_dtype == np.int32:
        return tfds.features.ClassLabel(names=list(task.classes))
    return tfds.features.Scalar(task.label_dtype)


def to_record(sample: Sample, tasks: tuple[TaskSpec, ...]) -> dict[str, Any]:
    """A sample in the types of `record_features`; a missing label is stored as zero."""
    labels = {
        task.name: np.asarray(
            sample.labels.get(task.name, np.zeros(task.label_shape)), task.label_dtype
        )
        for task in tasks
    }
    return {
        "id": sample.id,
        "group": sample.group,
        "turn": sample.turn,
        "words": sample.words,
        "speaker": sample.speaker,
        "features": {m: np.asarray(x, np.float32) for m, x in sample.features.items()},
        # TFDS takes numbers of classes as Python's own.
        "labels": {name: label if label.ndim else label.item() for name, label in labels.items()},
        "labelled": {task.name: task.name in sample.labels for task in tasks},
    }
