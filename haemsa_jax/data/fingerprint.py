"""What tells the content of one data set, or of other arrays, from that of another."""

import hashlib
from collections.abc import Mapping

import numpy as np

from haemsa_jax.data.dataset import Split

ROWS = 1024  # hashed at a time, so that no copy of a large split is made


def fingerprint(splits: Mapping[str, Split]) -> str:
    """16 hexadecimal digits of features, masks, labels, groups and ids of some splits."""
    digest = hashlib.blake2b(digest_size=8)
    for name, split in sorted(splits.items()):
        _add(digest, f"{name}/group", split.group)
        digest.update("\n".join(split.ids).encode())
        for field in ("features", "masks", "labels", "labelled"):
            for key, values in sorted(getattr(split, field).items()):
                _add(digest, f"{name}/{field}/{key}", values)
    return digest.hexdigest()


def fingerprint_of(arrays: Mapping[str, np.ndarray]) -> str:
    """16 hexadecimal digits of arrays by name."""
    digest = hashlib.blake2b(digest_size=8)
    for name, values in sorted(arrays.items()):
        _add(digest, name, np.atleast_1d(values))
    return digest.hexdigest()


def _add(digest, name: str, values: np.ndarray) -> None:
    digest.update(f"{name} {values.dtype} {values.shape}".encode())
    for start in range(0, len(values), ROWS):
        digest.update(np.ascontiguousarray(values[start : start + ROWS]).view(np.uint8).data)
