"""Files that are there whole or not at all: written beside their place, then renamed."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def draft_of(path: Path) -> Iterator[Path]:
    """The path to write to, with the same suffix; it takes its place when the block has ended.

    Args:
      path: the place; what stands there is kept where the block raises. Of a link the target is
        replaced; what is no file, such as /dev/stdout, is written to itself.

    Raises:
      OSError: as of the system, a full disk for instance, with `path` as its file.
    """
    place = Path(os.path.realpath(path))
    if place.exists() and not place.is_file():
        with naming(path):
            yield path
        return
    # Short: a name may be as long as the system allows.
    draft = place.with_name(f".{os.getpid()}-{place.stem[:20]}{place.suffix[:20]}")
    with naming(path, instead=draft):
        try:
            yield draft
            _to_disk(draft)
            draft.replace(place)
        finally:
            draft.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes | bytearray) -> None:
    """A file, whole or not at all."""
    with draft_of(path) as draft:
        draft.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """A UTF-8 file, whole or not at all."""
    write_bytes(path, text.encode())


@contextlib.contextmanager
def naming(path: Path, instead: Path | None = None) -> Iterator[None]:
    """What the system says of a file without a name, or of the one `instead`, it says of `path`."""
    try:
        yield
    except OSError as error:
        if error.filename is None or os.fspath(error.filename) == str(instead):
            error.filename = str(path)
        raise


def _to_disk(path: Path) -> None:
    """Some disks say only now that they are full, or forget at a power cut."""
    file = os.open(path, os.O_RDWR)
    try:
        os.fsync(file)
    finally:
        os.close(file)
