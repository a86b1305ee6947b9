"""Checkpoints: Orbax writes arrays, configuration, versions and progress together.

A run directory holds `latest/`, from which a run resumes, and `best/`, the selected networks; that
of a search holds `search/` in place of `latest/`. Either can be read without knowing anything else:
the configuration lies in the checkpoint's metadata.
"""

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from haemsa_jax.errors import InputError
from haemsa_jax.training.persistence.experiment import Experiment
from haemsa_jax.training.persistence.versions import FORMAT, check_format, versions

LATEST, BEST = "latest", "best"
# A full disk, a quota, a limit of one file.
_FULL = tuple(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG))


class Checkpoints:
    """The checkpoints of one kind in one run directory; a context manager.

    Several processes open, save and load together: all hold the same arrays, the first writes them.
    Who only reads clears nothing away: a training may be writing.
    """

    def __init__(self, directory: str | os.PathLike, kind: str, reads: bool = False):
        self.path = Path(directory).absolute() / kind
        policies = ocp.training.preservation_policies
        try:
            self._checkpointer = ocp.training.Checkpointer(
                self.path,
                preservation_policy=policies.LatestN(1),
                cleanup_tmp_directories=not reads,
            )
        except OSError as error:
            raise InputError(f"cannot write checkpoints to {self.path}: {error}") from error

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            self._checkpointer.close()
        except Exception:
            # A write that failed fails again here; what broke first is what the user should read.
            if kind is None:
                raise

    def save(self, step: int, tree: Any, experiment: Experiment, progress: dict) -> None:
        """Write one checkpoint and let the one before it go."""
        # Of arrays on devices Orbax would compile a slice for every shape, and, where there are
        # several processes, take them for this one's part of larger ones.
        tree = jax.device_get(tree)
        metadata = {
            "format": FORMAT,
            "versions": versions(),
            "experiment": experiment.to_json(),
            "progress": progress,
        }
        try:
            self._checkpointer.save(step, tree, custom_metadata=metadata, overwrite=True)
        except jax.errors.JaxRuntimeError:  # another process is gone
            raise
        except (OSError, ValueError, RuntimeError) as error:
            # Orbax reports the storage through whichever of these its layer raised; anything else
            # is a fault of the program, whose traceback is wanted.
            free = shutil.disk_usage(self.path).free
            full = free < bytes_of(tree) or _mentions(error, _FULL)
            if not full and not _mentions(error, ("OS error",)) and not isinstance(error, OSError):
                raise
            way_out = "make room" if full else "mend that"
            raise InputError(
                f"cannot write the checkpoint of step {step} to {self.path} ({free:,} bytes free "
                f"there): {error}; the checkpoint before it is kept, {way_out} and start again"
            ) from error

    def metadata(self) -> dict[str, Any] | None:
        """All that stands beside the newest checkpoint's arrays, None where there is none.

        Raises:
          InputError: a version of haemsa_jax wrote it whose format is another.
        """
        if self._checkpointer.latest is None:
            return None
        metadata = self._checkpointer.metadata(self._checkpointer.latest.step).custom_metadata
        check_format(self.path, metadata or {})
        return metadata

    def load(self, abstract: Any) -> Any:
        """The newest checkpoint as NumPy arrays in the tree of `abstract`."""
        # Whatever devices wrote it, one of those here reads it; `replicate` spreads it later.
        here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        wanted = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), abstract
        )
        restored = self._checkpointer.load(self._checkpointer.latest.step, wanted)
        return jax.tree.map(np.asarray, restored)


def _mentions(error: BaseException | None, words: tuple[str, ...]) -> bool:
    """Whether an error, or what it arose from, has some of the words."""
    while error is not None:
        if any(word in str(error) for word in words):
            return True
        error = error.__cause__ or error.__context__
    return False


def bytes_of(abstract: Any) -> int:
    """Bytes of all arrays of a tree."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(abstract))
