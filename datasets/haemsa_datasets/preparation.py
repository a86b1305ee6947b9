"""From raw files to a prepared data set, all of it or nothing."""

import os
import re
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from haemsa_datasets import catalog
from haemsa_datasets.loading import metadata
from haemsa_datasets.quiet import quiet_tfds
from haemsa_jax.errors import InputError

SCRATCH = ".preparing-"  # begins the name of a directory, then host and process
OLD = 24 * 3600  # seconds after which nobody works in such a directory of another machine


def prepare(
    name: str,
    raw_dir: str | Path | None,
    data_dir: str | Path,
    overwrite: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Builds a data set under `data_dir`, unless it is there already.

    It is built in a scratch directory beside its place and moved there when complete: a build that
    is cut off leaves nothing that loads, and what stood there before stands until the new one does.

    Args:
      name: one of `names()`.
      raw_dir: directory of the raw files, or the file that describes the data set; not read for a
        generated one.
      data_dir: where prepared data sets live; made if need be.
      overwrite: build again what is already there.
      report: called with every line of progress.

    Returns:
      the metadata of the prepared data set.

    Raises:
      InputError: the name is unknown, a raw file is missing or does not fit, or `data_dir` cannot
        be written to.
    """
    path = catalog.prepared_path(name, data_dir)
    if catalog.is_prepared(name, data_dir) and not overwrite:
        _check_raw(name, raw_dir, path, report)
        report(f"{name}: already prepared, nothing was read; --overwrite builds it again")
        return metadata(name, data_dir)
    report(f"{name}: preparing" + (f" from {raw_dir}" if raw_dir else ""))
    start = time.monotonic()
    try:
        _build(name, raw_dir, path, Path(data_dir).expanduser().absolute())
    except OSError as error:
        place = error.filename or data_dir
        reason = error.strerror or error
        raise InputError(f"{name}: cannot read or write {place}: {reason}") from error
    except RuntimeError as error:  # What the writer of ArrayRecord raises on a full disk.
        raise InputError(f"{name}: cannot write to {data_dir}: {error}") from error
    report(f"{name}: done in {time.monotonic() - start:.1f} s")
    return metadata(name, data_dir)


def _check_raw(
    name: str, raw_dir: str | Path | None, path: Path, report: Callable[[str], None]
) -> None:
    """Of raw files that are not read, since the data set is prepared: are they there, and older?"""
    if not raw_dir:
        return
    raw = Path(raw_dir).expanduser()
    if not raw.exists():
        raise InputError(
            f"{name}: there is no {raw_dir}; {path} is prepared already: leave the raw files away, "
            "or name those that are there"
        )
    files = [raw] if raw.is_file() else [file for file in raw.iterdir() if file.is_file()]
    newer = [file for file in files if file.stat().st_mtime > path.stat().st_mtime]
    if newer:
        report(f"{name}: warning: {newer[0]} is newer than what was prepared")


def _build(name: str, raw_dir: str | Path | None, path: Path, data_dir: Path) -> None:
    data_dir.mkdir(parents=True, exist_ok=True)
    _clear_stale(data_dir)
    owner = f"{SCRATCH}{socket.gethostname()}-{os.getpid()}-"
    with tempfile.TemporaryDirectory(dir=data_dir, prefix=owner) as scratch:
        with quiet_tfds():
            raw = _raw_dir(name, raw_dir)
            builder = catalog.make_builder(name, Path(scratch), raw)
            builder.download_and_prepare()
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, Path(builder.data_path))


def _clear_stale(data_dir: Path) -> None:
    """Deletes scratch directories of processes that are gone; of other machines, old ones."""
    for path in data_dir.iterdir():
        owner = re.fullmatch(rf"{re.escape(SCRATCH)}(?:(.+)-(\d+)-)?\w+", path.name)
        if owner and path.is_dir():
            host, process = owner.groups()
            if host == socket.gethostname() and sys.platform != "win32":
                stale = not _runs(int(process))
            else:
                stale = time.time() - path.stat().st_mtime > OLD
            if stale:
                shutil.rmtree(path, ignore_errors=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's
        pass
    return True


def _replace(path: Path, new: Path) -> None:
    """Moves a folder into its place; what stood there goes once the new one stands, or returns.

    Where not even that is possible it lies beside its place and is deleted by nobody.
    """
    if not path.exists():
        new.rename(path)
        return
    old = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".replaced-{path.name}-"))
    path.rename(old / path.name)
    try:
        new.rename(path)
    except BaseException:
        (old / path.name).rename(path)
        old.rmdir()
        raise
    shutil.rmtree(old)


def _raw_dir(name: str, raw_dir: str | Path | None) -> str | None:
    """Where the raw files are, checked to be there; None for a generated data set."""
    source = catalog.source_of(name)
    if not source:
        if raw_dir:
            raise InputError(
                f"{name}: --raw_dir={raw_dir} would not be read, since the data set is generated; "
                "leave it away, or name a `source` in the data set's card"
            )
        return None
    if not raw_dir:
        raise InputError(f"{name}: --raw_dir is needed, the directory of the raw files: {source}")
    path = Path(raw_dir).expanduser().absolute()
    if path.is_file() and catalog.builder_class(name).ANY_FILE:
        return str(path)
    if not path.is_dir() or not any(path.iterdir()):
        raise InputError(
            f"{name}: raw directory {path} is missing or empty; nothing is downloaded, get the "
            f"files yourself: {source}"
        )
    return str(path)
