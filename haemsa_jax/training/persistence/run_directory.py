"""The directory of a run: checks before it is used, and what a training keeps in it."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from haemsa_jax.errors import InputError
from haemsa_jax.locking import locked
from haemsa_jax.memory import bytes_of
from haemsa_jax.training.engine import parallel
from haemsa_jax.training.persistence.checkpoint import (
    BEST,
    KEPT,
    LATEST,
    WAY_OUT,
    Checkpoints,
    DamagedError,
)
from haemsa_jax.training.persistence.experiment import Experiment, check_same
from haemsa_jax.training.persistence.log import RunLog
from haemsa_jax.training.persistence.trained import abstract_trees


@contextlib.contextmanager
def owned(directory: Path) -> Iterator[None]:
    """Holds a run directory; the processes of a run are one owner.

    Raises:
      InputError: another run holds it, or it cannot be written.
    """
    refused = None
    with contextlib.ExitStack() as stack:
        if jax.process_index() == 0:
            try:
                stack.enter_context(locked(directory))
            except InputError as error:
                refused = error
        parallel.meet()
        if parallel.anybody(refused is not None, jax.devices()):
            raise refused or InputError(f"{directory} is not to be had, as the first process says")
        yield


def check_directory(directory: Path, *kept: int) -> None:
    """A run directory must be writable and have room for checkpoints of so many bytes.

    Each is there twice, and the new one is written before the oldest goes.
    """
    needed = (KEPT + 1) * sum(kept)
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


def check_kept(
    directory: Path, experiment: Experiment, *kinds: str, made_again: tuple[str, ...] = ()
) -> None:
    """Whatever checkpoints a run directory holds must be those of this experiment.

    Args:
      directory: of the run.
      experiment: that is to begin or go on there.
      kinds: of checkpoints.
      made_again: those of them that may be damaged, where another kind is there to make them from.
    """
    known = False
    for kind in kinds:
        if (directory / kind).is_dir():
            try:
                with Checkpoints(directory, kind, reads=True) as checkpoints:
                    metadata = checkpoints.metadata()
            except DamagedError:
                if known and kind in made_again:
                    continue
                raise
            if metadata is not None:
                check_same(directory, metadata["experiment"], experiment)
                known = True


class RunDirectory:
    """What a training keeps on disk: its log, `latest/` and `best/`; a context manager.

    Args:
      directory: of the run.
      experiment: what is trained; whatever the directory holds must be of it.
      writes: whether this process is the one that logs.

    Raises:
      InputError: as it is entered: the directory is in use, cannot be written, has no room, or
        holds a run of another configuration or damaged checkpoints.
    """

    def __init__(self, directory: str | os.PathLike, experiment: Experiment, writes: bool):
        self.path, self.experiment, self._writes = Path(directory), experiment, writes
        self._members, self._selected = abstract_trees(experiment)
        self._log: RunLog | None = None

    def __enter__(self) -> "RunDirectory":
        with contextlib.ExitStack() as stack:
            stack.enter_context(owned(self.path))
            check_directory(self.path, bytes_of(self._members), bytes_of(self._selected))
            check_kept(self.path, self.experiment, LATEST, BEST)
            parallel.meet()  # nobody begins what others still look for
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
        metadata, selected = self._latest.metadata(), self._best.metadata()
        chosen = self._best.load(self._selected)["params"] if selected else None
        if metadata is None:
            return None
        last = max(metadata["progress"]["best_step"])
        if last > (max(selected["progress"]["best_step"]) if selected else 0):
            raise DamagedError(
                f"{self.path / BEST} lacks what was selected at step {last}, from which "
                f"{self.path / LATEST} goes on; {WAY_OUT}"
            )
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
