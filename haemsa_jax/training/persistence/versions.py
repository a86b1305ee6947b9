"""Which code wrote a checkpoint, and whether this code reads it."""

import functools
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax
import jax

from haemsa_jax.errors import InputError
from haemsa_jax.version import __version__

FORMAT = 3  # of the trees of arrays and of the metadata; 2 had one set of constants a run


ROOT = Path(__file__).resolve().parents[3]


def versions() -> dict[str, str]:
    """Of the packages that decide what a checkpoint means; of a clone its commit, too."""
    known = {"haemsa_jax": __version__, "jax": jax.__version__, "flax": flax.__version__}
    at = commit()
    return {**known, "commit": at} if at else known


@functools.cache
def commit(root: Path = ROOT) -> str:
    """Such as `511dc0d` or `511dc0d with changes`; empty where the code is no clone."""
    if not (root / ".git").exists():  # installed, perhaps within a repository of somebody else
        return ""
    words = "git", "-C", str(root), "describe", "--always", "--exclude=*", "--dirty= with changes"
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # no git here, or a folder of another user
        return ""


def check_format(path: Path, metadata: Mapping[str, Any]) -> None:
    """A checkpoint must be of the format that this version reads.

    Raises:
      InputError: it is of another.
    """
    written = metadata.get("format", 1)
    if written == FORMAT:
        return
    by = metadata.get("versions", {}).get("haemsa_jax")
    way_out = f"install haemsa-jax=={by}" if by else "use the version that wrote it"
    raise InputError(
        f"{path} is a checkpoint of format {written}, written by haemsa_jax "
        f"{by or '0.1.0 or older'}; haemsa_jax {__version__} reads format {FORMAT}: train again "
        f"with --overwrite or another --run_dir, or {way_out}"
    )
