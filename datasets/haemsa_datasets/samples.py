"""What the reader of a data set hands over: a card for the whole, and samples."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from haemsa_jax.config import TaskSpec
from haemsa_jax.data.values import shown
from haemsa_jax.errors import InputError


@dataclass(frozen=True)
class Card:
    """What holds for a whole data set, known before any file is read.

    Attributes:
      description: one sentence for people.
      widths: feature width of each modality; empty where there are words alone, of which a text
        encoder makes features when the data set is used.
      tasks: the targets.
      provenance: where each modality's features come from, in words.
      conversational: whether a group's samples are each other's context.
      source: where the raw files can be had; empty where the data set is generated.
      citation: whom to cite.

    Raises:
      InputError: a width is no positive number, a target is no TaskSpec or has the name of another,
        or nothing is known of where a modality comes from.
    """

    description: str
    widths: Mapping[str, int]
    tasks: tuple[TaskSpec, ...]
    provenance: Mapping[str, str]
    conversational: bool
    source: str = ""
    citation: str = ""

    def __post_init__(self):
        object.__setattr__(self, "tasks", tuple(self.tasks))
        for field in ("widths", "provenance"):
            if not isinstance(getattr(self, field), Mapping):
                raise InputError(
                    f"Card: {field} is {shown(getattr(self, field))}; give a dict by modality"
                )
        for modality, width in self.widths.items():
            if not isinstance(width, int) or isinstance(width, bool) or width < 1:
                raise InputError(
                    f"Card: the width of {modality} is {shown(width)}; give a whole number from 1"
                )
            if not isinstance(self.provenance.get(modality), str):
                raise InputError(
                    f"Card: provenance says nothing of {modality}; say in words where its features "
                    "come from"
                )
        for task in self.tasks:
            if not isinstance(task, TaskSpec):
                raise InputError(f"Card: the task {shown(task)} is no TaskSpec; make it one")
        names = [task.name for task in self.tasks]
        if len({*names}) != len(names):
            raise InputError(f"Card: two tasks have one name ({', '.join(names)}); rename one")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Sample:
    """One utterance as it was read.

    Attributes:
      id: unique in the data set.
      group: id of its dialogue or video.
      turn: its place in the group.
      features: per modality of the card float32[T_m, d_m]; T_m = 0 where it is absent.
      labels: per task a number (regression), class number (classification) or 0/1 vector
        (multilabel); a task left out is unlabelled.
      words: the transcript, or an empty string.
      speaker: who says it, or an empty string.
      origin: file and row or sample, for error messages only.
    """

    id: str
    group: str
    turn: int
    features: Mapping[str, np.ndarray]
    labels: Mapping[str, Any]
    words: str = ""
    speaker: str = ""
    origin: str = ""
