"""Files of predictions."""

import csv
import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from haemsa_jax.config import TaskSpec
from haemsa_jax.errors import InputError
from haemsa_jax.inference.files import ID, STRETCH, Row
from haemsa_jax.inference.results import Prediction
from haemsa_jax.spreadsheet import safe_cell
from haemsa_jax.writing import draft_of


class Writer:
    """Predictions as `.jsonl` (everything) or `.csv` (a value and its spread, or probabilities).

    A context manager. The file takes its place when all is written: what stood there stays where
    the block raises.

    In a `.csv` a quote stands before words that a spreadsheet would take for a formula, as
    `haemsa_jax.spreadsheet` says.

    Args:
      path: the file.
      tasks: what is predicted, by name.
      stretch: whether a `.csv` has what `Row.stretch` says as columns.
    """

    FORMATS = (".jsonl", ".csv")

    def __init__(self, path: Path, tasks: Mapping[str, TaskSpec], stretch: bool = False):
        if path.suffix not in self.FORMATS:
            raise InputError(f"{path}: {path.suffix!r} is unknown; give {', '.join(self.FORMATS)}")
        self.path, self.tasks, self.table = path, tasks, path.suffix == ".csv"
        self.stretch = STRETCH if stretch else ()

    def __enter__(self):
        with ExitStack() as stack:
            draft = stack.enter_context(draft_of(self.path))
            self.file = stack.enter_context(draft.open("w", newline="", encoding="utf-8"))
            self.csv = csv.writer(self.file)
            if self.table:
                columns = (column for task in self.tasks.values() for column in _columns(task))
                self.csv.writerow(map(safe_cell, [ID, *self.stretch, *columns]))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *reason):
        self._stack.__exit__(*reason)

    def write(self, row: Row, prediction: Prediction) -> None:
        """One row."""
        if not self.table:
            values = {ID: row.id, **row.stretch, **prediction.to_json()}
            self.file.write(json.dumps(values) + "\n")
            return
        cells: list[str | float] = [row.id, *(row.stretch.get(name, "") for name in self.stretch)]
        for name, task in self.tasks.items():
            if name not in prediction.tasks:
                cells += [""] * len(_columns(task))
                continue
            of = prediction.tasks[name]
            value = "+".join(of.value) if isinstance(of.value, tuple) else of.value
            others = of.probabilities.values() if task.classes else [of.spread]
            cells += map(_short, [value, *others])
        self.csv.writerow(map(safe_cell, cells))


def _short(value: str | float) -> str | float:
    """A number in the digits that a float32 has, and no more."""
    return float(str(np.float32(value))) if isinstance(value, float) else value


def _columns(task: TaskSpec) -> list[str]:
    shares = [f"{task.name}: {name}" for name in task.classes]
    return [task.name, *(shares or [f"{task.name}: spread"])]
