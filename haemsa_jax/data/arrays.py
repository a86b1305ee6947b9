"""Files of NumPy arrays from outside."""

from pathlib import Path

import numpy as np

from haemsa_jax.errors import InputError
from haemsa_jax.regular import regular


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` by name; pickled objects are refused.

    Raises:
      InputError: the file cannot be read, holds something else or is damaged.
    """
    try:
        with regular(path).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (InputError, PermissionError):
        raise
    except Exception as error:  # a garbled archive or header can fail in any way
        raise InputError(f"cannot read {path}, as numpy.savez writes it: {error}") from error
