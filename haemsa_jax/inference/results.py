"""What a predictor returns, made of the outputs of networks."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from haemsa_jax.config import NetworkConfig, TaskSpec
from haemsa_jax.structure.parts import declare
from haemsa_jax.structure.usage import modalities_of
from haemsa_jax.tasks import kind_of


@dataclass(frozen=True)
class TaskPrediction:
    """What networks say of one task.

    Attributes:
      value: label units of a regression, the class of a classification, or the labels that are
        more likely than not; of the mean over networks.
      probabilities: by class or label, mean over networks; empty for a regression.
      spread: sample standard deviation over networks, of the value or by class of the probability;
        None where there is one network.
      gates: mean weights over networks, by the name of the gate and of what it weighs, such as
        `gates["local/text/0"]["attention"]`; without those of what the sample lacks.
    """

    value: float | str | tuple[str, ...]
    probabilities: Mapping[str, float]
    spread: float | Mapping[str, float] | None
    gates: Mapping[str, Any]


@dataclass(frozen=True)
class Prediction:
    """What is said of one utterance.

    Attributes:
      tasks: by the task's name; without those that read nothing of what was there.
      modalities: those that were there and are read.
    """

    tasks: Mapping[str, TaskPrediction]
    modalities: tuple[str, ...]

    @property
    def finite(self) -> bool:
        """Whether all values and probabilities are finite numbers."""
        values = [x for task in self.tasks.values() for x in task.probabilities.values()]
        values += [x.value for x in self.tasks.values() if isinstance(x.value, float)]
        return all(map(math.isfinite, values))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "modalities": list(self.modalities),
            "tasks": {name: dict(vars(task)) for name, task in self.tasks.items()},
        }


def task_prediction(task: TaskSpec, predictions: np.ndarray, gates) -> TaskPrediction:
    """`predictions` are float64[S, ...], by network."""
    mean = predictions.mean(axis=0)
    several = len(predictions) > 1
    spread = predictions.std(axis=0, ddof=1) if several else np.zeros_like(mean)
    summary = kind_of(task.kind).summary(task, mean, spread)
    known = summary.spread if several else None
    return TaskPrediction(summary.value, summary.probabilities, known, gates)


def gate_columns(network: NetworkConfig, present: frozenset[str]) -> dict[str, dict[str, int]]:
    """Where weights stand when all gates are joined as declared: by gate and by what it weighs.

    Args:
      network: whose gates.
      present: modalities; a part without one that it reads is left out.
    """
    declaration, named, start = declare(network), {}, 0
    for gating in declaration.gates:
        columns = {
            label: start + place
            for place, (label, part) in enumerate(zip(gating.labels, gating.parts, strict=True))
            if modalities_of(declaration, part) <= present
        }
        start += len(gating.parts)
        if columns:
            named[gating.name] = columns
    return named
