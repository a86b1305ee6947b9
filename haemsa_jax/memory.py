"""Whether what a program keeps fits the devices, asked before anything compiles."""

import os
from collections.abc import Sequence
from typing import Any

import jax

from haemsa_jax.errors import InputError


def bytes_of(tree: Any) -> int:
    """Of all arrays of a tree, or of their shapes, together."""
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


def memory_of(devices: Sequence[jax.Device]) -> int:
    """Bytes of the devices together; of processors, which share it, those of the machine.

    A device of another process cannot be asked: it counts as the smallest of ours.
    """
    ours = [device for device in devices if device.process_index == jax.process_index()]
    limits = [(device.memory_stats() or {}).get("bytes_limit", 0) for device in ours]
    if limits and all(limits):
        return min(limits) * len(devices)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_memory(needed: int, devices: Sequence[jax.Device], what: str, remedy: str) -> None:
    """Raises an `InputError` where `needed` bytes are more than the devices have together."""
    available = memory_of(devices)
    if needed > available:
        raise InputError(
            f"{what} would take at least {gibibytes(needed)} of memory, and there are "
            f"{gibibytes(available)}: {remedy}"
        )


def gibibytes(count: int) -> str:
    return f"{count / (1 << 30):,.1f} GiB"
