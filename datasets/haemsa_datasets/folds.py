"""Which groups (participants, videos) belong to which split."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from haemsa_jax.data.values import identifiers
from haemsa_jax.errors import InputError
from haemsa_jax.regular import regular

_KEYS = {"train": "train", "validation": "valid", "test": "test"}

Folds = Mapping[str, Sequence[str]]


def read_folds(raw_dir: Path, default: Folds, section: str = "") -> Folds:
    """Group ids by split: from `splits.json` in the raw directory if it is there, else `default`.

    The file holds `{"train": [ids], "valid": [ids], "test": [ids]}`, under the key `section` if one
    is given.

    Raises:
      InputError: the file is no such JSON, or a group is in two splits.
    """
    path = raw_dir / "splits.json"
    folds = _parse(path, section) if os.path.lexists(path) else default
    seen: dict[str, str] = {}
    for split, groups in folds.items():
        for group in groups:
            if seen.setdefault(group, split) != split:
                raise InputError(
                    f"{path}: {group!r} is in {seen[group]} and in {split}; a group belongs to one"
                )
    return folds


def _parse(path: Path, section: str) -> Folds:
    try:
        values = json.loads(regular(path).read_text(encoding="utf-8"))
        values = values[section] if section else values
        return {
            split: identifiers(values[key], str(path), f"list {key!r}")
            for split, key in _KEYS.items()
        }
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        where = f" under the key {section!r}" if section else ""
        raise InputError(
            f"{path}: expected lists of ids named {', '.join(_KEYS.values())}{where}; "
            f"found a problem with {error}"
        ) from error
