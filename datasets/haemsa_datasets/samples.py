"""What the reader of a data set hands over: a card for the whole, and samples."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from haemsa_jax.config import TaskSpec


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
    """

    description: str
    widths: Mapping[str, int]
    tasks: tuple[TaskSpec, ...]
    provenance: Mapping[str, str]
    conversational: bool
    source: str = ""
    citation: str = ""

    def to_json(self) -> dict[str, Any]:
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
