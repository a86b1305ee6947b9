"""Who works in a directory: a lock file with owner and host, so that two runs do not meet there.

The system takes the lock from a process that ends, however it ends: a file that nobody holds is
stale. Machines that share a disk may not share its locks, so the owner also touches the file every
few seconds; a file of another machine is watched before it is taken for stale.
"""

import contextlib
import json
import os
import shlex
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from haemsa_jax.errors import InputError

if sys.platform != "win32":
    import fcntl

FILE = ".lock"
BEAT = 5.0  # seconds between two signs of life
WATCHED = 4  # beats that are waited for one

_held: dict[Path, int] = {}  # the thread of this process that holds a directory
_guard = threading.Lock()


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Holds a directory, which is made where it does not exist; again and again in one thread.

    Args:
      directory: of a run.

    Raises:
      InputError: another process or thread holds it, or it cannot be written.
    """
    place, thread = Path(os.path.realpath(directory)), threading.get_ident()
    with _guard:
        holder = _held.get(place)
        if holder is None:
            file = _take(directory, place / FILE)
            _held[place] = thread
    if holder is not None:
        if holder != thread:
            raise _in_use(directory, _owner())
        yield
        return
    ended = threading.Event()
    beat = threading.Thread(target=_beat, args=(file, ended), daemon=True)
    beat.start()
    try:
        yield
    finally:
        ended.set()
        beat.join()  # before the number of the file becomes another file's
        with _guard:
            del _held[place]
            if _is_at(file, place / FILE):
                (place / FILE).unlink(missing_ok=True)
            os.close(file)


def _take(directory: Path, path: Path) -> int:
    """The open lock file, held."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                held_here = _flock(file)
                owner = _read(path)
                elsewhere = owner and (owner["host"] != socket.gethostname() or not held_here)
                if elsewhere and _lives(path):
                    raise _in_use(directory, owner)
                if _is_at(file, path):  # not deleted by an owner that ended meanwhile
                    os.ftruncate(file, 0)
                    os.pwrite(file, json.dumps(_owner()).encode(), 0)
                    return file
            except BaseException as error:
                os.close(file)
                if isinstance(error, BlockingIOError):
                    raise _in_use(directory, _read(path)) from None
                raise
            os.close(file)
    except OSError as error:
        raise InputError(
            f"cannot write to the run directory {directory}: {error.strerror}; choose another "
            "--run_dir"
        ) from error


def _flock(file: int) -> bool:
    """Takes the system's lock, or says that this disk has none.

    Raises:
      BlockingIOError: another process has it.
    """
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True


def _is_at(file: int, path: Path) -> bool:
    """Whether an open file is the one at a path."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file), path.stat())
    return False


def _owner() -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "command": " ".join(shlex.join(sys.argv).split()),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


def _read(path: Path) -> dict[str, Any] | None:
    """What a lock file says; None where it says nothing."""
    try:
        owner = json.loads(path.read_bytes())
        return {name: owner[name] for name in _owner()}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _lives(path: Path) -> bool:
    """Whether somebody touches the file while it is watched."""

    def touched() -> int:
        with path.open("rb") as file:  # a shared disk looks at a file anew when it is opened
            return os.fstat(file.fileno()).st_mtime_ns

    with contextlib.suppress(FileNotFoundError):
        before = touched()
        for _ in range(WATCHED):
            time.sleep(BEAT)
            if touched() != before:
                return True
    return False


def _beat(file: int, ended: threading.Event) -> None:
    while not ended.wait(BEAT):
        with contextlib.suppress(OSError):
            os.utime(file)


def _in_use(directory: Path, owner: Mapping[str, Any] | None) -> InputError:
    who = "another process"
    if owner:
        who = "process {pid} on {host} since {since} ({command})".format_map(owner)
    return InputError(
        f"{directory} is in use by {who}; wait until that has ended, or choose another --run_dir"
    )
