"""Checkpoints: Orbax writes arrays, configuration, versions and progress together.

A run directory holds `latest/`, from which a run resumes, and `best/`, the selected networks; that
of a search holds `search/` in place of `latest/`. Either can be read without knowing anything else:
the configuration lies in the checkpoint's metadata. Of each the last two are kept: where files of
the newest are damaged, a run goes on from the one before, and ends as it would have.
"""

import contextlib
import errno
import os
import shutil
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from haemsa_jax.errors import InputError
from haemsa_jax.memory import bytes_of
from haemsa_jax.training.engine import parallel
from haemsa_jax.training.persistence.experiment import Experiment
from haemsa_jax.training.persistence.integrity import fault_of, is_sealed, not_regular, seal
from haemsa_jax.training.persistence.plain_path import plain_path
from haemsa_jax.training.persistence.versions import FORMAT, check_format, versions

LATEST, BEST = "latest", "best"
KEPT = 2  # checkpoints of a kind
WAY_OUT = "put it back from a copy, or begin anew with --overwrite or in another --run_dir"
# A full disk, a quota, a limit of one file.
_FULL = {
    os.strerror(errno.ENOSPC): "the disk is full",
    os.strerror(errno.EDQUOT): "the quota is used up",
    os.strerror(errno.EFBIG): "File too large for the limit on one file",
}


class DamagedError(InputError):
    """Files of a checkpoint are not as they were written, and no other can take its place."""


class Checkpoints:
    """The checkpoints of one kind in one run directory; a context manager.

    Several processes open, save and load together: all hold the same arrays, the first writes them.
    Who only reads clears nothing away: a training may be writing.
    """

    def __init__(self, directory: str | os.PathLike, kind: str, reads: bool = False):
        self.path = Path(directory).absolute() / kind
        self._faults: dict[int, str | None] = {}
        policies = ocp.training.preservation_policies
        with contextlib.ExitStack() as stack:
            try:
                if not reads:
                    self.path.parent.mkdir(parents=True, exist_ok=True)
                    self._set_damaged_aside()
                # Orbax opens the metadata of all of them at once.
                if strange := not_regular(self.path):
                    raise DamagedError(f"{strange}; {WAY_OUT}")
                self._checkpointer = ocp.training.Checkpointer(
                    stack.enter_context(plain_path(self.path.parent)) / kind,
                    preservation_policy=policies.LatestN(KEPT),
                    cleanup_tmp_directories=not reads,
                )
            except OSError as error:
                raise InputError(f"cannot write checkpoints to {self.path}: {error}") from error
            except ValueError as error:  # metadata that are JSON, but none of Orbax's
                faults = (self._fault(step) for step in self._steps())
                if fault := next(filter(None, faults), None):
                    raise DamagedError(f"{fault}; {WAY_OUT}") from error
                raise
            self._link = stack.pop_all()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            self._checkpointer.close()
        except Exception:
            # A write that failed fails again here; what broke first is what the user should read.
            if kind is None:
                raise
        finally:
            self._link.close()

    def save(self, step: int, tree: Any, experiment: Experiment, progress: dict) -> None:
        """Write one checkpoint, look whether it is whole, and let the last but one go."""
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
            fault = seal(self.path / str(step)) if jax.process_index() == 0 else None
        except jax.errors.JaxRuntimeError:  # another process is gone
            raise
        except (OSError, ValueError, RuntimeError) as error:
            # Orbax reports the storage through whichever of these its layer raised; anything else
            # is a fault of the program, whose traceback is wanted.
            free = shutil.disk_usage(self.path).free
            reasons = [reason for words, reason in _FULL.items() if _mentions(error, (words,))]
            full = bool(reasons) or free < bytes_of(tree)
            if not full and not _mentions(error, ("OS error",)) and not isinstance(error, OSError):
                raise
            reason = (*reasons, "the disk is full")[0] if full else _one_line(error)
            way_out = "make room" if full else "mend that"
            raise InputError(
                f"cannot write the checkpoint of step {step} to {self.path} ({free:,} bytes free "
                f"there): {reason}; the checkpoint before it is kept, {way_out} and "
                "start again"
            ) from error
        if fault:
            raise InputError(
                f"the checkpoint of step {step} is not whole: {fault}; the one before it is kept: "
                "choose another --run_dir, or mend its disk, and start again"
            )

    def metadata(self) -> dict[str, Any] | None:
        """All that stands beside the newest checkpoint's arrays, None where there is none.

        Raises:
          InputError: a version of haemsa_jax wrote it whose format is another, or it is damaged.
        """
        step = self._newest()
        if step is None:
            return None
        with self._reading(step):
            metadata = self._checkpointer.metadata(step).custom_metadata
            if not metadata:
                raise ValueError("_CHECKPOINT_METADATA says nothing of it")
        check_format(self.path, metadata)
        return metadata

    def load(self, abstract: Any) -> Any:
        """The newest checkpoint as NumPy arrays in the tree of `abstract`."""
        # Whatever devices wrote it, one of those here reads it; `replicate` spreads it later.
        here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        wanted = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), abstract
        )
        step = self._newest()
        if step is None:
            raise FileNotFoundError(f"{self.path} holds no checkpoint")
        with self._reading(step):
            restored = self._checkpointer.load(step, wanted)
        return jax.tree.map(np.asarray, restored)

    def _steps(self) -> list[int]:
        """Of all checkpoints, the newest first; what is being written has another name."""
        found = self.path.iterdir() if self.path.is_dir() else ()
        return sorted(
            (int(x.name) for x in found if x.name.isdecimal() and x.is_dir()), reverse=True
        )

    def _fault(self, step: int) -> str | None:
        if step not in self._faults:
            self._faults[step] = fault_of(self.path / str(step))
        return self._faults[step]

    def _newest(self) -> int | None:
        """The step to read; None where there is none.

        Of selected networks no older ones are read, since they would give other results.
        """
        steps = self._steps()
        whole = [step for step in steps if not self._fault(step)]
        if whole and (whole[0] == steps[0] or self.path.name != BEST):
            return whole[0]
        if not steps:
            return None
        older = f"delete {self.path / str(steps[0])} to use what was selected before, or "
        raise DamagedError(f"{self._fault(steps[0])}; {older if whole else ''}{WAY_OUT}")

    def _set_damaged_aside(self) -> None:
        """Moves out of the way what is newer than the checkpoint to go on from."""
        steps = self._steps() if self.path.name != BEST and jax.process_index() == 0 else []
        whole = next((step for step in steps if not self._fault(step)), None)
        for step in steps if whole is not None else ():
            if step == whole:
                break
            aside = self.path.with_name(f"damaged-{self.path.name}-{step}-{time.time_ns()}")
            (self.path / str(step)).rename(aside)
            warnings.warn(
                f"{self._faults.pop(step)}; going on from step {whole}, what is damaged is now "
                f"{aside}",
                stacklevel=3,
            )
        parallel.meet()  # nobody looks before it is out of the way

    @contextlib.contextmanager
    def _reading(self, step: int) -> Iterator[None]:
        """Of a checkpoint without checksums, damage shows where Orbax fails."""
        try:
            yield
        except (InputError, jax.errors.JaxRuntimeError):
            raise
        except Exception as error:
            path = self.path / str(step)
            if is_sealed(path):  # then it is a fault of the program
                raise
            raise DamagedError(
                f"{path} cannot be read as a checkpoint ({_one_line(error)[:200]}); {WAY_OUT}"
            ) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _mentions(error: BaseException | None, words: tuple[str, ...]) -> bool:
    """Whether an error, or what it arose from, has some of the words."""
    while error is not None:
        if any(word in str(error) for word in words):
            return True
        error = error.__cause__ or error.__context__
    return False
