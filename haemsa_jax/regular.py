"""Whether a path names a file whose reading ends."""

from pathlib import Path

from haemsa_jax.errors import InputError


def regular(path: Path) -> Path:
    """The path of a file that is to be read.

    Raises:
      InputError: a FIFO, device, socket or folder is there; the first may never end.
      OSError: nothing is there, or the system does not say what.
    """
    if not path.is_file():
        path.stat()
        raise InputError(f"{path} is not a regular file; copy what it holds into one, and name it")
    return path
