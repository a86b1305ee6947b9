"""The data set as the library sees it: NumPy arrays with masks, whatever they were read from.

`haemsa_datasets` makes these from prepared TFDS records; a pipeline of one's own makes them from
arrays. Everything is checked here once, and what follows trusts it.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from haemsa_jax.config import TaskSpec
from haemsa_jax.data import values
from haemsa_jax.data.groups import shared
from haemsa_jax.errors import InputError
from haemsa_jax.tasks import kind_of

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    """N samples. Rows of one group (dialogue, video) are contiguous and in their order of time.

    Attributes:
      features: per modality float32[N, T_m, d_m], raw scale; padding may hold anything.
      masks: per modality bool[N, T_m]; a modality is absent where no token is masked in.
      labels: per task float32[N] (regression), int32[N] (classification), float32[N, C] in {0, 1}
        (multilabel), or what another kind asks for.
      labelled: per task bool[N]; unlabelled samples still serve as context.
      group: the dialogue, video or person of each sample: N names, which are compared between the
        splits of a `Dataset`, or int[N], numbers that say nothing beyond their split. A `Dataset`
        holds numbers.
      ids: N names, unique.
      words: N transcripts, empty strings where there are none.
      speakers: N names, empty strings where they are not known.
    """

    features: Mapping[str, np.ndarray]
    masks: Mapping[str, np.ndarray]
    labels: Mapping[str, np.ndarray]
    labelled: Mapping[str, np.ndarray]
    group: Any
    ids: Sequence[str]
    words: Sequence[str] = ()
    speakers: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.group)

    @property
    def presence(self) -> dict[str, np.ndarray]:
        """Per modality bool[N]."""
        return {modality: np.asarray(mask.any(axis=-1)) for modality, mask in self.masks.items()}


@dataclass(frozen=True)
class Dataset:
    """A named data set with its tasks and the splits that were loaded.

    Attributes:
      name: as on the command line, such as `hazumi` or `cmu_mosi/contextual`.
      widths: feature width of each modality; empty for words alone, which `haemsa_jax.encoders`
        turn into features.
      tasks: targets, by name.
      splits: `train`, `validation`, `test`, or those of them that were asked for.
      provenance: where the features come from, per modality, in words.
      conversational: whether groups are dialogues, so that neighbours are context.
      partition: names which sample is in which split; empty where nobody says. A network trained on
        one is not evaluated on another, whose test split may hold what it was trained on.
    """

    name: str
    widths: Mapping[str, int]
    tasks: Mapping[str, TaskSpec]
    splits: Mapping[str, Split]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    conversational: bool = False
    partition: str = ""

    @property
    def has_words(self) -> bool:
        """Whether anything was transcribed."""
        return any(any(split.words) for split in self.splits.values())

    @property
    def has_speakers(self) -> bool:
        """Whether any speaker is known."""
        return any(any(split.speakers) for split in self.splits.values())

    def __post_init__(self):
        if not isinstance(self.provenance, Mapping):
            raise InputError(
                f"{self.name}: provenance={self.provenance!r} must be words by modality, such as "
                "{'audio': 'eGeMAPSv02 functionals'}"
            )
        _check_groups(self)
        seen: dict[str, str] = {}
        where = {name: f"{self.name}, split {name!r}" for name in self.splits}
        splits = {name: _with_texts(where[name], split) for name, split in self.splits.items()}
        object.__setattr__(self, "splits", splits)
        for name, split in splits.items():
            _check_split(where[name], self, split)
            for sample in split.ids:
                if sample in seen:
                    raise InputError(
                        f"{self.name}: id {sample!r} of split {name!r} was already used in "
                        f"{seen[sample]!r}; every sample may occur once, in one split"
                    )
                seen[sample] = name


def splits_of(datasets: Mapping[str, Dataset], split: str) -> dict[str, Split]:
    """One split of every data set, by name of the data set.

    Raises:
      InputError: a data set was made without it.
    """
    for name, dataset in datasets.items():
        if split not in dataset.splits:
            raise InputError(
                f"{name}: split {split!r} is needed, but there is {', '.join(dataset.splits)}; "
                "load or make it too"
            )
    return {name: dataset.splits[split] for name, dataset in datasets.items()}


def _with_texts(where: str, split: Split) -> Split:
    """The split with ids, words and speakers as lists of strings, whatever held them."""
    group = _numbers_of(split.group, where)
    if not (_is_array(group) and group.ndim == 1 and group.dtype.kind in "iu"):
        raise InputError(
            f"{where}: group is {_kind_of_array(group)}; expected N names of dialogues, videos or "
            "people, or an array of whole numbers [N], the same of one dialogue"
        )
    count = len(group)
    if not count:
        raise InputError(f"{where}: it is empty; at least one sample is needed")
    ids = values.identifiers(split.ids, where, "ids")
    if len(ids) != count:
        raise InputError(f"{where}: {len(ids)} ids for {count} samples; each needs one")
    about: dict[str, list[str]] = {}
    for name in ("words", "speakers"):
        given = values.sequence(getattr(split, name), where, name)
        if len(given) not in (0, count):
            raise InputError(
                f"{where}: {len(given)} {name} for {count} samples; give every sample one, empty "
                "where it is not known, or none at all"
            )
        about[name] = [
            values.text(value, f"{where}, sample {ids[row]!r}", name)
            for row, value in enumerate(given)
        ]
    return replace(split, group=group, ids=ids, words=about["words"], speakers=about["speakers"])


def _names_of(group: Any) -> list[str] | None:
    """Groups that are named; None where they are something else."""
    listed = group.tolist() if isinstance(group, np.ndarray) else group
    if isinstance(listed, list | tuple) and all(isinstance(name, str) for name in listed):
        return list(listed)
    return None


def _numbers_of(group: Any, where: str) -> Any:
    """Names as numbers, in the order in which they come; anything else as it is."""
    names = _names_of(group)
    if names is None:
        return group
    numbers: dict[str, int] = {}
    named = (values.identifier(name, where, "group") for name in names)
    return np.array([numbers.setdefault(name, len(numbers)) for name in named], np.int32)


def _check_groups(dataset: Dataset) -> None:
    """Refuses a dialogue in two splits, and warns of another group there, where they are named."""
    named = {name: _names_of(split.group) for name, split in dataset.splits.items()}
    sentence = shared({name: names for name, names in named.items() if names})
    if sentence and dataset.conversational:
        raise InputError(f"{dataset.name}: {sentence}")
    if sentence:
        warnings.warn(f"{dataset.name}: {sentence}", stacklevel=4)


def _is_array(value: Any) -> bool:
    return hasattr(value, "dtype") and hasattr(value, "ndim")


def _kind_of_array(value: Any) -> str:
    """What somebody gave in place of an array, in words."""
    if not _is_array(value):
        return f"a {type(value).__name__}"
    return f"an array of type {value.dtype} and shape {value.shape}"


def _check_split(where: str, dataset: Dataset, split: Split) -> None:
    count = len(split)
    for what, arrays in (("features", split.features), ("the mask", split.masks)):
        _check_modalities(where, what, arrays, dataset.widths)
    for modality, width in dataset.widths.items():
        features, mask = split.features[modality], split.masks[modality]
        for what, array in ((f"{modality} features", features), (f"mask of {modality}", mask)):
            _check_numbers(where, what, array)
        if features.shape != (*mask.shape, width) or len(mask) != count:
            raise InputError(
                f"{where}: {modality} features have shape {features.shape}, mask {mask.shape}; "
                f"expected ({count}, T, {width}) and ({count}, T)"
            )
        _check_boolean(f"{where}: the mask of {modality}", mask)
        bad = ~np.isfinite(features).all(axis=-1) & mask
        if bad.any():
            raise InputError(
                f"{where}: {modality} of sample {split.ids[int(np.argmax(bad.any(axis=-1)))]!r} is "
                "not finite; replace such values when the data set is prepared"
            )
    present = (
        list(split.presence.values())
        if dataset.widths
        else [[bool(w.strip()) for w in split.words]]
    )
    absent = ~np.any(present, axis=0)
    if absent.any():
        raise InputError(
            f"{where}: sample {split.ids[int(np.argmax(absent))]!r} has no modality at all "
            f"({int(absent.sum())} of {count} samples); at least one of "
            f"{', '.join(dataset.widths) or 'its words'} must be present, or the sample left out"
        )
    for name, task in dataset.tasks.items():
        if name not in split.labels or name not in split.labelled:
            raise InputError(
                f"{where}: labels of task {name!r}, or which samples are labelled, are missing; "
                f"there are {', '.join(split.labels) or 'none'}"
            )
        _check_labels(where, task, split.labels[name], split.labelled[name], split.ids)
    if len(np.unique(split.group)) != 1 + np.count_nonzero(np.diff(split.group)):
        raise InputError(f"{where}: the utterances of a group must be contiguous rows")


def _check_modalities(where: str, what: str, arrays: Mapping, widths: Mapping[str, int]) -> None:
    """Arrays of the declared modalities and no others."""
    declared = ", ".join(widths) or "no modality"
    for modality in arrays:
        if modality not in widths:
            raise InputError(
                f"{where}: {what} of {modality} given, but the data set declares widths of "
                f"{declared}; declare its width or leave it out"
            )
    for modality in widths:
        if modality not in arrays:
            raise InputError(
                f"{where}: {what} of {modality} missing, but the data set declares its width; give "
                "both (the mask is False where the modality is absent), or declare no width"
            )


def _check_numbers(where: str, what: str, array: Any) -> None:
    if not (_is_array(array) and values.is_real(array.dtype)):
        raise InputError(
            f"{where}: {what} is {_kind_of_array(array)}; expected an array of real numbers"
        )


def _check_boolean(what: str, mask: np.ndarray) -> None:
    """Numbers would be taken for places."""
    if mask.dtype != bool:
        raise InputError(f"{what} has type {mask.dtype}; expected bool, as .astype(bool) makes it")


def _check_labels(
    where: str, task: TaskSpec, labels: np.ndarray, labelled: np.ndarray, ids: Sequence[str]
) -> None:
    expected = (len(ids), *task.label_shape)
    for what, array in (("labels", labels), ("the mask of labelled samples", labelled)):
        _check_numbers(where, f"task {task.name!r}: {what}", array)
    if labels.shape != expected or labelled.shape != (len(ids),):
        raise InputError(
            f"{where}: labels of task {task.name!r} have shape {labels.shape}, the mask of "
            f"labelled samples {labelled.shape}; expected {expected} and ({len(ids)},)"
        )
    _check_boolean(f"{where}: the mask of samples labelled for task {task.name!r}", labelled)
    if task.label_dtype == np.int32 and labels.dtype.kind not in "iu":
        raise InputError(
            f"{where}: classes of task {task.name!r} have type {labels.dtype}; expected int32, the "
            "number of the class"
        )
    if not labelled.any():
        raise InputError(f"{where}: no sample has a label for task {task.name!r}")
    valid, rule = kind_of(task.kind).valid_labels(task, np.asarray(labels, np.float64))
    rule += " for every label" if task.label_shape else ""
    bad = ~valid & labelled
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(
            f"{where}: label {labels[row]} of sample {ids[row]!r} for task {task.name!r} is not "
            f"{rule}; mend the label or mark the sample as unlabelled"
        )
