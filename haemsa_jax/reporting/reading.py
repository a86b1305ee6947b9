"""Result files of a run directory."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from haemsa_jax.errors import InputError


def from_json(path: Path, make: Callable[[Any], Any]) -> Any:
    """What `make` makes of the values of a JSON file.

    Args:
      path: of the file.
      make: takes its values.

    Raises:
      InputError: the file is not one that a launcher of this version wrote, or `make` raises it.
    """
    try:
        return make(json.loads(path.read_text("utf-8")))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except OSError:
        raise
    except Exception as error:  # what is made of odd values may fail in any way
        raise InputError(
            f"{path} is not as launch.evaluate, launch.evolve or launch.ablate write it "
            f"({type(error).__name__}: {error}); run that again, or remove the file"
        ) from error
