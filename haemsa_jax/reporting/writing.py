"""Files that are there whole or not at all: written beside their place, then renamed."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def draft_of(path: Path) -> Iterator[Path]:
    """The path to write to, with the same suffix; it takes its place when the block has ended.

    Args:
      path: the place; what stands there is kept where the block raises.
    """
    draft = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """A UTF-8 file, whole or not at all."""
    with draft_of(path) as draft:
        draft.write_text(text, "utf-8")
