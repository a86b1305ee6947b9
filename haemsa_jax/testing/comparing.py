"""Assertions that say what they are of."""

from typing import Any

import jax
import numpy as np


def require_close(what: str, left: Any, right: Any, tolerance: float = 1e-5) -> None:
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(left), jax.tree.leaves(right), strict=True
    ):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        place = f"{what}{jax.tree_util.keystr(path)}"
        require_shape(place, a, b.shape)
        apart = np.abs(a - b).max(initial=0.0) / max(1.0, np.abs(b).max(initial=0.0))
        require(bool(apart <= tolerance), f"{place}: differ by {apart:.2g}, above {tolerance:g}")


def require_shape(what: str, value: Any, wanted: tuple[int, ...]) -> None:
    require(value.shape == wanted, f"{what} has shape {value.shape}; expected {wanted}")


def require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)
