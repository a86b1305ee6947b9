"""Whether a checkpoint on disk is what was written: size and checksum of each of its files."""

import json
import zlib
from pathlib import Path

from haemsa_jax.writing import write_text

FILE = "checksums.json"
# What no checkpoint does without.
_NEEDED = ("_CHECKPOINT_METADATA", "state/_METADATA", "state/manifest.ocdbt", "state/d")
_CHUNK = 1 << 20


def seal(path: Path) -> str | None:
    """Notes the files of a checkpoint that was just written.

    Args:
      path: its folder, which gets `checksums.json`.

    Returns:
      What it lacks to be whole, in words; None where it is.
    """
    fault = _lacking(path)
    if fault is None:
        sums = {str(file.relative_to(path)): _sum(file) for file in _files(path)}
        write_text(path / FILE, json.dumps(sums))
    return fault


def is_sealed(path: Path) -> bool:
    """Whether a checkpoint has checksums; earlier versions wrote none."""
    return (path / FILE).is_file()


def fault_of(path: Path) -> str | None:
    """What is damaged of a checkpoint, in words that name the file; None where nothing is seen.

    Raises:
      OSError: the disk does not let it be read.
    """
    if strange := not_regular(path):
        return strange
    if not is_sealed(path):
        return _lacking(path)
    try:
        sums = {str(name): list(x) for name, x in json.loads((path / FILE).read_bytes()).items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        return f"{path / FILE} is damaged (delete it to read the checkpoint unchecked)"
    for name, noted in sums.items():
        file = path / name
        if not file.is_file():
            return f"{file} is missing"
        if _sum(file) != noted:
            return f"{file} has other bytes than were written"
    return None


def not_regular(path: Path) -> str | None:
    """Which entry below a folder is neither file nor folder, in words: reading it may never end."""
    strange = (x for x in path.rglob("*") if x.exists() and not (x.is_file() or x.is_dir()))
    return next((f"{x} is not a regular file" for x in strange), None)


def _lacking(path: Path) -> str | None:
    for place in (path / name for name in _NEEDED):
        files = _files(place) if place.is_dir() else [place]
        if not any(file.is_file() and file.stat().st_size for file in files):
            return f"{place} is missing or empty"
    return None


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file() and file.name != FILE)


def _sum(path: Path) -> list[int]:
    """[bytes, CRC-32]."""
    size = crc = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            size, crc = size + len(chunk), zlib.crc32(chunk, crc)
    return [size, crc]
