"""What every sample must satisfy before it is stored."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from haemsa_datasets.samples import Card, Sample
from haemsa_jax.config import TaskSpec
from haemsa_jax.data import values
from haemsa_jax.data.dataset import SPLITS
from haemsa_jax.errors import InputError
from haemsa_jax.tasks import kind_of


def check_samples(splits: Mapping[str, Sequence[Sample]], card: Card) -> None:
    """Checks all samples of a data set.

    Raises:
      InputError: there are other splits, one is empty or has no label of a task, an id or a place
        in a dialogue occurs twice, a dialogue is in two splits, or a sample has a text that is
        none, a wrong feature width, no modality or an impossible label. The message names the file
        and row, and the rule.
    """
    if not card.tasks:
        raise InputError("Card: tasks is empty; name at least one target")
    if not isinstance(splits, Mapping) or {*splits} - {*SPLITS}:
        given = ", ".join(map(str, splits)) if isinstance(splits, Mapping) else values.shown(splits)
        raise InputError(
            f"the reader returned {given}; expected a dict of {', '.join(SPLITS)}, each a list of "
            "samples"
        )
    for split in SPLITS:
        if not splits.get(split):
            raise InputError(f"split {split!r} is empty; at least one sample is needed in each")
        for row, sample in enumerate(splits[split]):
            if not isinstance(sample, Sample):
                raise InputError(
                    f"split {split!r}, sample {row} is {values.shown(sample)}; make it a Sample"
                )
            _check_types(sample, card)
        for task in card.tasks:
            if not any(task.name in sample.labels for sample in splits[split]):
                raise InputError(f"split {split!r} has no sample with a label for {task.name!r}")
    seen: dict[str, str] = {}
    where: dict[str, str] = {}
    places: dict[tuple[str, int], str] = {}
    for split, samples in splits.items():
        for sample in samples:
            if sample.id in seen:
                raise InputError(
                    f"{sample.origin}: id {sample.id!r} was already used in {seen[sample.id]}; "
                    "every utterance may occur once, in one split"
                )
            seen[sample.id] = sample.origin
            if card.conversational:
                _check_place(sample, split, where, places)
            _check_features(sample, card.widths)
            for task in card.tasks:
                if task.name in sample.labels:
                    _check_label(sample, task)


def _check_types(sample: Sample, card: Card) -> None:
    """Texts are strings that UTF-8 can hold, and names are those of the card."""
    where = sample.origin
    for field in ("id", "group", "words", "speaker"):
        value = getattr(sample, field)
        if not isinstance(value, str) or values.text(value, where, field) != value:
            raise InputError(f"{where}: {field} is {values.shown(value)}; expected a string")
    if not sample.id or not sample.group:
        raise InputError(f"{where}: id or group is empty; give each sample both")
    if not isinstance(sample.turn, int | np.integer) or not abs(sample.turn) < 2**31:
        raise InputError(
            f"{where}: turn is {values.shown(sample.turn)}; expected a whole number of 32 bits"
        )
    known = {task.name for task in card.tasks}
    for field, given, names in (
        ("features", sample.features, {*card.widths}),
        ("labels", sample.labels, known & {*(sample.labels or ())}),
    ):
        if not isinstance(given, Mapping):
            raise InputError(f"{where}: {field} is {values.shown(given)}; expected a dict by name")
        if {*given} != names:
            odd = sorted({*given} ^ names, key=str)[0]
            declared = ", ".join(card.widths if field == "features" else known) or "none"
            raise InputError(
                f"{where}: {field} {odd!r} is missing or unknown; the card declares {declared}"
            )


def _check_place(
    sample: Sample, split: str, where: dict[str, str], places: dict[tuple[str, int], str]
) -> None:
    """A dialogue is in one split, and each of its places is taken once."""
    if where.setdefault(sample.group, split) != split:
        raise InputError(
            f"{sample.origin}: dialogue {sample.group!r} is in split {split!r} and in "
            f"{where[sample.group]!r}; keep all of a dialogue in one split, or the test "
            "split's neighbours are trained on (conversational=False if they are no "
            "dialogues)"
        )
    other = places.setdefault((sample.group, sample.turn), sample.id)
    if other != sample.id:
        raise InputError(
            f"{sample.origin}: {sample.id!r} and {other!r} are both at place {sample.turn} of "
            f"{sample.group!r}; every utterance has a place of its own in its dialogue"
        )


def _check_features(sample: Sample, widths: Mapping[str, int]) -> None:
    for modality, width in widths.items():
        features = sample.features[modality]
        shape = np.shape(features)
        if not isinstance(features, np.ndarray) or not values.is_real(features.dtype):
            raise InputError(
                f"{sample.origin}: {modality} features are {values.shown(features)}; expected an "
                f"array of numbers (T, {width})"
            )
        if len(shape) != 2 or shape[1] != width:
            raise InputError(
                f"{sample.origin}: {modality} features have shape {shape}; expected (T, {width})"
            )
    words = values.printable(sample.words)[0].strip()
    lengths = [len(features) for features in sample.features.values()] if widths else [words]
    if not any(lengths):
        raise InputError(
            f"{sample.origin}: sample {sample.id!r} has no modality at all; at least one of "
            f"{', '.join(widths) or 'its words'} must be there, or the sample left out"
        )


def _check_label(sample: Sample, task: TaskSpec) -> None:
    field = f"label for task {task.name!r} of sample {sample.id!r}"
    label = values.array_of_numbers(sample.labels[task.name], sample.origin, field)
    label = label.astype(np.float64)
    shaped = label if label.shape == task.label_shape else np.full(task.label_shape, np.nan)
    (holds,), rule = kind_of(task.kind).valid_labels(task, shaped[None])
    if task.label_shape:
        rule = f"{math.prod(task.label_shape)} times {rule}"
    if not holds:
        raise InputError(
            f"{sample.origin}: label {sample.labels[task.name]} of sample {sample.id!r} for task "
            f"{task.name!r} is not {rule}; mend the label or leave the sample out"
        )
