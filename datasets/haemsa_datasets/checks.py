"""What every sample must satisfy before it is stored."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from haemsa_datasets.samples import Card, Sample
from haemsa_jax.config import TaskSpec
from haemsa_jax.data.dataset import SPLITS
from haemsa_jax.errors import InputError
from haemsa_jax.tasks import kind_of


def check_samples(splits: Mapping[str, Sequence[Sample]], card: Card) -> None:
    """Checks all samples of a data set.

    Raises:
      InputError: a split is empty or has no label of a task, an id occurs twice, a dialogue is in
        two splits, or a sample has a wrong feature width, no modality or an impossible label. The
        message names the file and row, and the rule.
    """
    for split in SPLITS:
        if not splits.get(split):
            raise InputError(f"split {split!r} is empty; at least one sample is needed in each")
        for task in card.tasks:
            if not any(task.name in sample.labels for sample in splits[split]):
                raise InputError(f"split {split!r} has no sample with a label for {task.name!r}")
    seen: dict[str, str] = {}
    where: dict[str, str] = {}
    for split, samples in splits.items():
        for sample in samples:
            if sample.id in seen:
                raise InputError(
                    f"{sample.origin}: id {sample.id!r} was already used in {seen[sample.id]}; "
                    "every utterance may occur once, in one split"
                )
            seen[sample.id] = sample.origin
            if card.conversational and where.setdefault(sample.group, split) != split:
                raise InputError(
                    f"{sample.origin}: dialogue {sample.group!r} is in split {split!r} and in "
                    f"{where[sample.group]!r}; keep all of a dialogue in one split, or the test "
                    "split's neighbours are trained on (conversational=False if they are no "
                    "dialogues)"
                )
            _check_features(sample, card.widths)
            for task in card.tasks:
                if task.name in sample.labels:
                    _check_label(sample, task)


def _check_features(sample: Sample, widths: Mapping[str, int]) -> None:
    for modality, width in widths.items():
        shape = sample.features[modality].shape
        if len(shape) != 2 or shape[1] != width:
            raise InputError(
                f"{sample.origin}: {modality} features have shape {shape}; expected (T, {width})"
            )
    lengths = [len(features) for features in sample.features.values()] if widths else [sample.words]
    if not any(lengths):
        raise InputError(
            f"{sample.origin}: sample {sample.id!r} has no modality at all; at least one of "
            f"{', '.join(widths) or 'its words'} must be there, or the sample left out"
        )


def _check_label(sample: Sample, task: TaskSpec) -> None:
    label = np.asarray(sample.labels[task.name], np.float64)
    shaped = label if label.shape == task.label_shape else np.full(task.label_shape, np.nan)
    (holds,), rule = kind_of(task.kind).valid_labels(task, shaped[None])
    if task.label_shape:
        rule = f"{math.prod(task.label_shape)} times {rule}"
    if not holds:
        raise InputError(
            f"{sample.origin}: label {sample.labels[task.name]} of sample {sample.id!r} for task "
            f"{task.name!r} is not {rule}; mend the label or leave the sample out"
        )
