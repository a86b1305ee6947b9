"""The directory of a run: checks before it is used, and what a training keeps in it."""

import os
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax

from haemsa_jax.errors import InputError
from haemsa_jax.training.persistence.checkpoint import BEST, LATEST, Checkpoints, bytes_of
from haemsa_jax.training.persistence.experiment import Experiment, check_same
from haemsa_jax.training.persistence.log import RunLog
from haemsa_jax.training.persistence.trained import abstract_trees


def check_directory(directory: Path, needed: int) -> None:
    """A run directory must be writable and have room for `needed` bytes of checkpoints."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        probe = directory / f".writable-{jax.process_index()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise InputError(
            f"cannot write to the run directory {directory}: {error.strerror}; choose another "
            "--run_dir"
        ) from error
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise InputError(
            f"the run directory {directory} has {free:,} bytes free, its checkpoints need "
            f"{needed:,}; make room or choose another --run_dir"
        )


def check_kept(directory: Path, experiment: Experiment, *kinds: str) -> None:
    """Whatever checkpoints a run directory holds must be those of this experiment."""
    for kind in kinds:
        if (directory / kind).is_dir():
            with Checkpoints(directory, kind, reads=True) as checkpoints:
                metadata = checkpoints.metadata()
            if metadata is not None:
                check_same(directory, metadata["experiment"], experiment)


class RunDirectory:
    """What a training keeps on disk: its log, `latest/` and `best/`; a context manager.

    Args:
      directory: of the run.
      experiment: what is trained; whatever the directory holds must be of it.
      writes: whether this process is the one that logs.

    Raises:
      InputError: the directory cannot be written, has no room or holds a run of another
        configuration.
    """

    def __init__(self, directory: str | os.PathLike, experiment: Experiment, writes: bool):
        self.path, self.experiment, self._writes = Path(directory), experiment, writes
        self._members, self._selected = abstract_trees(experiment)
        # Two states and two selected networks: the new one is written before the old one goes.
        check_directory(self.path, 3 * bytes_of(self._members))
        check_kept(self.path, experiment, LATEST, BEST)
        self._log: RunLog | None = None

    def __enter__(self) -> "RunDirectory":
        with ExitStack() as stack:
            self._latest = stack.enter_context(Checkpoints(self.path, LATEST))
            self._best = stack.enter_context(Checkpoints(self.path, BEST))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *reason) -> None:
        self._stack.__exit__(*reason)

    def restore(self) -> tuple[Any, Any, dict[str, Any]] | None:
        """Members, parameters that were selected (None before any was) and progress; or None.

        Where the kill came between the two checkpoints, `best` is ahead of `latest`: the steps
        between are taken again, and select the same.
        """
        metadata = self._latest.metadata()
        chosen = self._best.load(self._selected)["params"] if self._best.metadata() else None
        if metadata is None:
            return None
        return self._latest.load(self._members), chosen, metadata["progress"]

    def begin_log(self, step: int | None) -> None:
        """Goes on with the log after `step`, or begins it anew for None."""
        if self._writes:
            self._log = self._stack.enter_context(RunLog(self.path, step))

    def record(self, row: dict[str, Any]) -> None:
        """Writes a row of the log."""
        if self._log:
            self._log.write(row)

    def save(self, step: int, members: Any, progress: dict[str, Any]) -> None:
        """Keeps the state, to go on from."""
        self._latest.save(step, members, self.experiment, progress)

    def select(self, step: int, tree: dict[str, Any], progress: dict[str, Any]) -> None:
        """Keeps the selected networks."""
        self._best.save(step, tree, self.experiment, progress)


class InMemory:
    """In place of a `RunDirectory` where nothing is kept."""

    path: Path | None = None

    def __enter__(self) -> "InMemory":
        return self

    def __exit__(self, *_) -> None:
        pass

    def restore(self) -> None:
        """There is nothing to go on from."""

    def begin_log(self, step: int | None) -> None:
        """There is no log."""

    def record(self, row: dict[str, Any]) -> None:
        """There is no log."""

    def save(self, step: int, members: Any, progress: dict[str, Any]) -> None:
        """Nothing is kept."""

    def select(self, step: int, tree: dict[str, Any], progress: dict[str, Any]) -> None:
        """Nothing is kept."""
