"""Predictions of every sample as a CSV table: with its words, and without each modality.

Texts that a spreadsheet would take for formulas are written with a leading quote
(haemsa_jax/spreadsheet.py), which `largest_errors` takes off again.
"""

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from haemsa_jax.csv_rows import read_rows
from haemsa_jax.errors import InputError
from haemsa_jax.spreadsheet import original, safe_cell
from haemsa_jax.tasks import kind_of
from haemsa_jax.training.measurement.evaluation import TaskEvaluation
from haemsa_jax.writing import draft_of

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
    path: Path,
    evaluated: Mapping[str, TaskEvaluation],
    without: Mapping[str, Mapping[str, TaskEvaluation]],
) -> None:
    """One row a task and sample.

    Predictions are means over networks (seeds, of several runs one after the other); behind them
    stands the prediction of each: a number, or a probability a class. An error is
    |truth - prediction| of a regression, what is missing to certainty about the true class, and of
    several labels the mean of that.

    Args:
      path: of the CSV file.
      evaluated: by task id.
      without: by modality and task id the same samples, with that modality absent from all.
    """
    networks = max(len(task.predictions) for task in evaluated.values())
    head = ["task", "id", "words", "truth", "prediction", "error"]
    head += [column for m in without for column in (WITHOUT + m, ERROR + WITHOUT + m)]
    head += [f"network {k}" for k in range(networks)]
    with draft_of(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(map(safe_cell, head))
        for task_id, task in evaluated.items():
            of_task = {m: each[task_id] for m, each in without.items() if task_id in each}
            for row in _rows(task_id, task, of_task):
                writer.writerow(safe_cell(row.get(column, "")) for column in head)


def _rows(
    task_id: str, task: TaskEvaluation, without: Mapping[str, TaskEvaluation]
) -> Iterator[dict[str, str]]:
    """By column the cells of every sample of a task."""
    kind = kind_of(task.spec.kind)
    columns = {"": task, **{WITHOUT + m: each for m, each in without.items()}}
    shown = {column: (_mean(each), errors(each)) for column, each in columns.items()}
    for n, name in enumerate(task.ids):
        row = {"task": task_id, "id": name, "words": task.words[n]}
        row["truth"] = kind.label_words(task.spec, task.truth[n])
        for column, (means, away) in shown.items():
            row[column or "prediction"] = kind.prediction_words(task.spec, means[n])
            row[(ERROR + column).strip()] = f"{away[n]:.4f}"
        for k, predictions in enumerate(task.predictions):
            row[f"network {k}"] = json.dumps(np.round(predictions[n], 6).tolist())
        yield row


def largest_errors(path: Path, count: int) -> dict[str, list[Misled]]:
    """By task id the samples with the largest errors, the largest first.

    Args:
      path: what `write` wrote.
      count: samples a task.
    """
    tasks: dict[str, list[Misled]] = {}
    try:
        rows = read_rows(path, trusted=True)
        head = [original(cell) for cell in next(rows).cells]
        for line in rows:
            if line.error:
                raise ValueError(f"line {line.line}: {line.error}")
            row = dict(zip(head, map(original, line.cells), strict=True))
            tasks.setdefault(row["task"], []).append(_misled(row))
    except (StopIteration, KeyError, ValueError) as error:
        raise InputError(
            f"{path} is no file of predictions as launch.evaluate writes it "
            f"({type(error).__name__} {error}); evaluate again"
        ) from error
    return {
        task_id: sorted(rows, key=lambda row: -row.error)[:count] for task_id, rows in tasks.items()
    }


def _misled(row: Mapping[str, str]) -> Misled:
    error = float(row["error"])
    others = {
        column.removeprefix(ERROR + WITHOUT): float(value)
        for column, value in row.items()
        if column.startswith(ERROR + WITHOUT) and value
    }
    modality = min(others, key=lambda name: others[name], default="")
    if not modality or others[modality] >= error:
        modality = ""
    without = row[WITHOUT + modality] if modality else ""
    return Misled(
        id=row["id"],
        words=row["words"],
        truth=row["truth"],
        prediction=row["prediction"],
        error=error,
        modality=modality,
        without=without,
    )


def errors(task: TaskEvaluation) -> np.ndarray:
    """float[N], of the mean prediction over seeds."""
    return kind_of(task.spec.kind).errors(task.spec, _mean(task), task.truth)


def _mean(task: TaskEvaluation) -> np.ndarray:
    return task.predictions.mean(axis=0)
