"""What `--overwrite` may delete: a run, and nothing else."""

import shutil
from pathlib import Path

from haemsa_jax import locking
from haemsa_jax.errors import InputError
from haemsa_jax.reporting.card import COMMANDS
from haemsa_jax.training.persistence import log
from haemsa_jax.training.persistence.checkpoint import BEST, LATEST

# Orbax puts this file into every checkpoint; a search killed early holds nothing else yet.
_CHECKPOINT = "_CHECKPOINT_METADATA"
_KINDS = (LATEST, BEST, "search", "random")


def holds_run(directory: Path) -> bool:
    """Whether a launcher made what lies in a directory: a log, commands or a checkpoint."""
    checkpoints = (path for kind in _KINDS for path in (directory / kind).glob(f"*/{_CHECKPOINT}"))
    return any((directory / name).is_file() for name in (COMMANDS, log.FILE)) or any(checkpoints)


def empty(directory: Path) -> None:
    """Deletes what a run directory holds, but not itself: it may be a link or a mount.

    Raises:
      InputError: it holds files, and no run, or a run is at work below.
    """
    for lock in directory.rglob(locking.FILE):
        with locking.locked(lock.parent):
            pass
    files = (path for path in directory.rglob("*") if not path.is_dir() or path.is_symlink())
    if any(path.name != locking.FILE for path in files) and not holds_run(directory):
        raise InputError(
            f"--run_dir={directory} holds no run, which is all that --overwrite deletes: there is "
            f"no {COMMANDS}, {log.FILE} or checkpoint; name another directory, or empty it yourself"
        )
    for path in directory.iterdir():
        if path.name == locking.FILE:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
