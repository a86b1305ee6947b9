"""What networks say of every sample, as a table for people: with words, and without a modality."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from haemsa_jax.config import TaskSpec
from haemsa_jax.training.evaluation import TaskEvaluation

WITHOUT = "without "  # begins the columns of a prediction that a modality was kept from
ERROR = "error "


@dataclass(frozen=True)
class Misled:
    """A sample, and the modality without which the prediction would have been nearest.

    Attributes:
      id, words, truth, prediction: as written.
      error: of the prediction.
      modality: whose absence lowers the error most; empty where it never does.
      without: the prediction without it; empty likewise.
    """

    id: str
    words: str
    truth: str
    prediction: str
    error: float
    modality: str
    without: str


def write(
    path: Path, evaluated: Mapping[str, TaskEvaluation],
    without: Mapping[str, Mapping[str, TaskEvaluation]],
) -> None:  # fmt: skip
    """One row a task and sample.

    Predictions are means over networks (seeds, of several runs one after the other); behind them
    stands what each says: a number, or a probability a class. An error is |truth - prediction| of a
    regression, what is missing to certainty about the true class, and of several labels the mean of
    that.

    Args:
      path: of the CSV file.
      evaluated: by task id.
      without: by modality and task id the same samples, with that modality absent from all.
    """
    networks = max(len(task.predictions) for task in evaluated.values())
    head = ["task", "id", "words", "truth", "prediction", "error"]
    head += [column for m in without for column in (WITHOUT + m, ERROR + WITHOUT + m)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(
            file, [*head, *(f"network {k}" for k in range(networks))], restval=""
        )
        writer.writeheader()
        for task_id, task in evaluated.items():
            columns = {
                "": (_mean(task), errors(task)),
                **{WITHOUT + m: (_mean(of[task_id]), errors(of[task_id]))
                   for m, of in without.items() if task_id in of},
            }  # fmt: skip
            for n, name in enumerate(task.ids):
                row = {"task": task_id, "id": name, "words": task.words[n]}
                row["truth"] = _said(task.spec, task.truth[n], true=True)
                for column, (means, away) in columns.items():
                    row[column or "prediction"] = _said(task.spec, means[n])
                    row[(ERROR + column).strip()] = f"{away[n]:.4f}"
                for k, said in enumerate(task.predictions):
                    row[f"network {k}"] = json.dumps(np.round(said[n], 6).tolist())
                writer.writerow(row)


def largest_errors(path: Path, count: int) -> dict[str, list[Misled]]:
    """By task id the samples with the largest errors, the largest first.

    Args:
      path: what `write` wrote.
      count: samples a task.
    """
    tasks: dict[str, list[dict[str, str]]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            tasks.setdefault(row["task"], []).append(row)
    return {
        task_id: [
            _misled(row) for row in sorted(rows, key=lambda row: -float(row["error"]))[:count]
        ]
        for task_id, rows in tasks.items()
    }


def _misled(row: Mapping[str, str]) -> Misled:
    error = float(row["error"])
    others = {
        column.removeprefix(ERROR + WITHOUT): float(value)
        for column, value in row.items()
        if column.startswith(ERROR + WITHOUT) and value
    }
    modality = min(others, key=others.get, default="")
    if not modality or others[modality] >= error:
        modality = ""
    without = row[WITHOUT + modality] if modality else ""
    told = (row[name] for name in ("id", "words", "truth", "prediction"))
    return Misled(*told, error, modality, without)


def errors(task: TaskEvaluation) -> np.ndarray:
    """float[N], of the mean prediction over seeds."""
    means = _mean(task)
    if task.spec.kind == "classification":
        return 1.0 - means[np.arange(len(means)), task.truth]
    away = np.abs(means - task.truth)
    return away if task.spec.kind == "regression" else away.mean(axis=-1)


def _mean(task: TaskEvaluation) -> np.ndarray:
    return task.predictions.mean(axis=0)


def _said(spec: TaskSpec, value, true: bool = False) -> str:
    """A label or a prediction in words: a number, a class, or labels with their probabilities."""
    if spec.kind == "regression":
        return f"{float(value):.4g}"
    if spec.kind == "classification":
        if true:
            return spec.classes[int(value)]
        return f"{spec.classes[int(np.argmax(value))]} {np.max(value):.2f}"
    likely = [(name, p) for name, p in zip(spec.classes, value, strict=True) if p >= 0.5]
    return _labels(likely, true)


def _labels(likely: Sequence[tuple[str, float]], true: bool) -> str:
    return ", ".join(name if true else f"{name} {p:.2f}" for name, p in likely) or "none"
