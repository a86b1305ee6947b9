"""What a result was measured with: commit, versions, device, processor, time and memory."""

import platform
import resource
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from haemsa_jax.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "evosax", "numpy", "scikit-learn"
OWN = ":!results", ":!docs", ":!README.md"  # what recording and making pages write themselves


def commit(root: Path = ROOT) -> str:
    """The commit that the code is at.

    Raises:
      InputError: it is no clone of the repository, or the clone has changes.
    """
    changed = _git(root, "status", "--porcelain", "--", ".", *OWN).splitlines()
    if changed:
        raise InputError(
            f"the clone has changes ({changed[0].strip()}), and a result must say which code made "
            "it; commit them, or record from a clean clone"
        )
    return _git(root, "rev-parse", "HEAD").strip()


def _git(root: Path, *words: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        why = getattr(error, "stderr", "") or str(error)
        raise InputError(
            f"{root} is no clone of the repository ({why.strip()}), so that a result cannot say "
            "which code made it; record from a clone"
        ) from error
    return done.stdout


def describe() -> dict[str, Any]:
    """Versions of Python and packages, device and processor, as fields of a record."""
    return {
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "device": f"{jax.local_device_count()} x {jax.local_devices()[0].device_kind}",
        "processor": _processor(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.processor() or platform.machine()


def peak_mib() -> int:
    """The most memory that this process has held."""
    unit = 1 if sys.platform == "darwin" else 1 << 10  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit >> 20
