"""Compiled programs, kept between processes."""

import contextlib
import hashlib
import os
import platform
import re
import warnings
from pathlib import Path

import jax
from absl import flags

from haemsa_jax.errors import InputError

OFF = "off"
LARGEST = 1 << 30  # bytes that kept programs take when a process begins
AGREED = "JAX_COMPILATION_CACHE_DIR"

FLAG = "compilation_cache"
flags.DEFINE_string(
    FLAG,
    None,
    f"Directory of compiled programs, kept for the next process; `{OFF}` keeps none. By default "
    f"that of {AGREED}, or haemsa_jax in the user's cache directory.",
)


def keep_programs(place: str | None) -> None:
    """Lets JAX keep what it compiles and find it again, from here on.

    Where that cannot be, programs are compiled as if there were none.

    Args:
      place: a directory, `OFF`, or None for the default.

    Raises:
      InputError: the directory that was asked for cannot be made.
    """
    if place == OFF:
        jax.config.update("jax_compilation_cache_dir", None)
        return
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        # Many small programs take as long as a large one.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    agreed = os.environ.get(AGREED) if place is None else None
    try:
        # RuntimeError: there is no home.
        home = Path(place) if place else _cache_home() / "haemsa_jax"
        directory = Path(agreed) if agreed else home / _processor()
        # What lies there is run.
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not agreed:
            _forget_oldest(directory)
    except (OSError, RuntimeError) as error:
        if place:
            raise InputError(f"--{FLAG}={place}: {error}; name a directory, or {OFF}") from error
        return
    _forget_damaged(directory)
    jax.config.update("jax_compilation_cache_dir", str(directory))


def _cache_home() -> Path:
    given = os.environ.get("XDG_CACHE_HOME", "")
    return Path(given) if os.path.isabs(given) else Path.home() / ".cache"


def _processor() -> str:
    """What it can do: a program that was compiled for another one may end the process."""
    known = {platform.machine()}
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        known |= {line for line in lines if line.lower().startswith(("flags", "features"))}
    return hashlib.sha256("\n".join(sorted(known)).encode()).hexdigest()[:16]


def _forget_oldest(directory: Path) -> None:
    """Deletes what was not used for longest, so that the others take at most `LARGEST`.

    JAX's own bound (`jax_compilation_cache_max_size`) looks at every program whenever one is added
    and, in JAX 0.10, adds no more once a process was killed while it wrote
    (github.com/jax-ml/jax/issues/39880).
    """
    with os.scandir(directory) as entries:
        kept = [(entry.stat(), entry.path) for entry in entries if entry.is_file()]
    size = sum(stat.st_size for stat, _ in kept)
    for stat, path in sorted(kept, key=lambda one: max(one[0].st_atime, one[0].st_mtime)):
        if size <= LARGEST:
            break
        Path(path).unlink(missing_ok=True)
        size -= stat.st_size


def _forget_damaged(directory: Path) -> None:
    """What JAX fails to read or write, as on a full disk, is deleted; it warns and compiles."""
    failure = re.compile("Error (?:reading|writing) persistent compilation cache entry for '(.+?)'")
    warnings.filterwarnings("always", failure.pattern)
    show = warnings.showwarning

    def delete(message, *rest, **more):
        if not (match := failure.match(str(message))):
            return show(message, *rest, **more)
        with contextlib.suppress(OSError):
            for path in directory.glob(f"{match[1]}-*-cache"):
                path.unlink(missing_ok=True)

    warnings.showwarning = delete
