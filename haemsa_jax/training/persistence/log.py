"""The log of a run: `log.jsonl`, one row a line, and the same scalars as TensorBoard events.

The JSON lines are the record: floats in their shortest exact form, so that they read back bit for
bit, and a killed run leaves at most one torn line. TensorBoard's float32 copy, in the folder
`tensorboard`, is for looking at while the run goes on, and may lack the last seconds before a kill.
This is the only file that knows either format.

    {"step": 100, "kind": "train", "loss": [0.71, 0.68], "loss/hazumi:ui": [0.64, 0.61]}
    {"step": 100, "kind": "validation", "score": [0.42, 0.44], "hazumi:ui/mae": [0.45, 0.43]}
    {"step": 100, "kind": "tasks", "epochs/hazumi:ui": 0.9}

Lists have one value a seed.
"""

import json
import os
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from haemsa_jax.errors import InputError
from haemsa_jax.regular import regular
from haemsa_jax.writing import naming, write_bytes

FILE = "log.jsonl"
EVENTS = "tensorboard"


class RunLog:
    """Writes a run's log; a context manager.

    Attributes:
      path: the file of JSON lines.
    """

    def __init__(self, directory: str | os.PathLike, resume_step: int | None = None):
        """Opens the log in `directory`, which is made where it does not exist.

        Args:
          directory: the run's own.
          resume_step: the last step that the resumed state has behind it. Rows of later steps are
            dropped, since the run computes them again. None begins a new log in place of any
            that is there.
        """
        self.path = Path(directory) / FILE
        self.path.parent.mkdir(parents=True, exist_ok=True)
        last = -1 if resume_step is None else resume_step
        _keep_until(self.path, last)
        self._lines = self.path.open("ab")
        self._events = _event_writer(self.path.parent / EVENTS, first=last + 1)

    def write(self, row: Mapping[str, Any]) -> None:
        """Appends a row and flushes it.

        Args:
          row: an integer `step` and, by name, numbers (or 0-d arrays), lists of numbers by seed
            and anything else of JSON. Numbers go to TensorBoard too, under `kind/name`, lists as
            their mean.
        """
        row = {name: v.item() if hasattr(v, "item") else v for name, v in row.items()}
        with naming(self.path):
            self._lines.write(json.dumps(row).encode() + b"\n")
            self._lines.flush()
        kind = f"{row['kind']}/" if "kind" in row else ""
        for name, value in row.items():
            if isinstance(value, list) and all(isinstance(v, int | float) for v in value):
                value = statistics.fmean(value)
            if self._events and name != "step" and isinstance(value, int | float):
                with naming(self.path.parent / EVENTS):
                    self._events.add_scalar(kind + name, value, row["step"])

    def close(self) -> None:
        """Ends both files; a second call does nothing."""
        if not self._lines.closed:
            with naming(self.path):
                self._lines.close()
            if self._events:
                with naming(self.path.parent / EVENTS):
                    self._events.close()

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, kind, *_) -> None:
        try:
            self.close()
        except OSError:
            # On a full disk what could not be written cannot be flushed either: what failed first
            # is what is told.
            if kind is None:
                raise


def read(directory: str | os.PathLike) -> list[dict[str, Any]]:
    """The rows of a run's log, oldest first; empty without one, and without a torn last line.

    Raises:
      InputError: a line in the middle is no JSON row.
    """
    return [row for _, row in _rows(Path(directory) / FILE)]


def _rows(path: Path) -> list[tuple[bytes, dict[str, Any]]]:
    """Every complete line with its row. A line counts as complete once its newline is there."""
    lines = regular(path).read_bytes().split(b"\n")[:-1] if path.exists() else []
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            if not isinstance(row["step"], int):
                raise TypeError
        except (ValueError, TypeError, KeyError, RecursionError):
            raise InputError(
                f"{path}, line {number}: {line[:80]!r} is not a JSON object with a `step`; "
                "remove the line, or the file if the log may start anew"
            ) from None
        rows.append((line, row))
    return rows


def _keep_until(path: Path, last: int) -> None:
    """Replaces the file, in one go, by its lines up to and with step `last`."""
    kept = [line + b"\n" for line, row in _rows(path) if row["step"] <= last]
    write_bytes(path, b"".join(kept))


def _event_writer(directory: Path, first: int):
    """A TensorBoard writer that declares what earlier files say of steps >= `first` void.

    None where tensorboardX is not installed: a library's user may do without the curves.
    """
    try:
        import tensorboardX
    except ImportError:
        return None
    # File names end in the second they were made: the suffix keeps a quick resume from writing
    # over the events before it.
    return tensorboardX.SummaryWriter(
        str(directory), purge_step=first, filename_suffix=f".{first:010d}", flush_secs=5
    )
