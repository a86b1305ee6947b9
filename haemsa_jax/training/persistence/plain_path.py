"""A name for a directory that Orbax reads as written.

Orbax looks for files by pattern and hands paths to libraries that know URLs and UTF-8 alone: of a
directory such as `[v2]run` it would write only half of a checkpoint, without a word.
"""

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from haemsa_jax.errors import InputError

# Patterns, the schemes of etils.epath, and bytes that are no UTF-8.
_SPECIAL = re.compile("[][*?\\\\:\ud800-\udfff]|^/(gs|s3|az|hf)/")


@contextlib.contextmanager
def plain_path(directory: Path) -> Iterator[Path]:
    """The directory itself, or a link to it where its name, or a parent's, is not plain.

    Args:
      directory: absolute; exists.

    Raises:
      InputError: there is no place for a link.
    """
    if os.sep != "/" or not _SPECIAL.search(str(directory)):
        yield directory
        return
    place = tempfile.gettempdir()
    if _SPECIAL.search(place):
        raise InputError(
            f"checkpoints in {directory} are written by way of a link in {place}, whose name has "
            "special characters as well; set TMPDIR to another directory"
        )
    with tempfile.TemporaryDirectory(prefix="haemsa-", ignore_cleanup_errors=True) as scratch:
        link = Path(scratch) / "run"
        link.symlink_to(directory)
        yield link
