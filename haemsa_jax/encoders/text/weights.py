"""Tensors of a published encoder by name: one file of safetensors, or several with an index."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from haemsa_jax.errors import InputError

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
FLOATS = ("F64", "F32", "F16", "BF16")
POINTER = b"version https://git-lfs"
# As TensorFlow named them; bert-base-uncased is published so.
OLD_NAMES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}


def check_fetched(path: Path) -> None:
    """Refuses what git-lfs leaves in the place of a file that it has not fetched.

    Raises:
      InputError: it is such a pointer, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            pointer = file.read(len(POINTER)) == POINTER
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    if pointer:
        raise InputError(
            f"{path} is a pointer of git-lfs in place of the file; fetch the file by `git lfs "
            f"pull` in {path.parent}"
        )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
      InputError: it holds something else.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} holds no JSON object")
    return values


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The files that hold a folder's weights, an index first.

    Raises:
      InputError: one of those that an index names is missing, or lies elsewhere.
    """
    index = folder / INDEX
    if (folder / WEIGHTS).is_file() or not index.is_file():
        return (folder / WEIGHTS,)
    check_fetched(index)
    named = read_json(index).get("weight_map")
    if not isinstance(named, dict) or not all(isinstance(x, str) for x in named.values()):
        raise InputError(f"{index} has no `weight_map` of files by tensor; download it again")
    shards = sorted({*named.values()})
    for name in shards:
        if Path(name).name != name:
            raise InputError(f"{index} names {name!r}; expected files beside it")
        if not (folder / name).is_file():
            raise InputError(
                f"{folder / name} is missing, one of the {len(shards)} files of weights that "
                f"{INDEX} names; download it as well"
            )
    return (index, *(folder / name for name in shards))


class Tensors:
    """Tensors of a folder's weights, read when they are asked for; a context manager.

    Names are those of today's models, whatever they are in the files.

    Attributes:
      path: what to name in messages.

    Raises:
      InputError: a file of them is missing or damaged.
    """

    def __init__(self, folder: Path):
        self.path, *shards = weight_files(folder)
        self._shards = shards or [self.path]
        self._places: dict[str, tuple[Path, Any, str]] = {}

    def __enter__(self) -> "Tensors":
        import safetensors

        with ExitStack() as stack:
            for path in self._shards:
                check_fetched(path)
                try:
                    file = stack.enter_context(safetensors.safe_open(path, framework="numpy"))
                    names = list(file.keys())
                except (safetensors.SafetensorError, OSError) as error:
                    raise InputError(f"{path} cannot be read as safetensors: {error}") from error
                self._places |= {_todays(name): (path, file, name) for name in names}
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *reason) -> None:
        self._stack.__exit__(*reason)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def kind(self, name: str) -> str:
        """Of its numbers, such as `F32`."""
        _, file, in_file = self._places[name]
        return file.get_slice(in_file).get_dtype()

    def get(self, name: str) -> np.ndarray:
        """As it is stored.

        Raises:
          InputError: it is missing or damaged, or of numbers that NumPy does not know.
        """
        import safetensors

        if name not in self._places:
            raise InputError(f"{self.path} has no tensor {name}")
        path, file, in_file = self._places[name]
        try:
            return file.get_tensor(in_file)
        except (safetensors.SafetensorError, TypeError, AttributeError) as error:
            raise InputError(f"{path}: tensor {in_file} cannot be read: {error}") from error

    def floats(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """One of an encoder, float32.

        Raises:
          InputError: it is missing, of another shape or type, or not finite.
        """
        if name in self._places and self.kind(name) not in FLOATS:
            raise InputError(
                f"{self.path}: tensor {name} is stored as {self.kind(name)}, as in quantised "
                f"models, whose scales are not read; take one with {', '.join(FLOATS)}"
            )
        value = np.asarray(self.get(name), np.float32)
        if value.shape != shape:
            raise InputError(
                f"{self.path}: tensor {name} is {value.shape}, but config.json asks for {shape}"
            )
        if not np.isfinite(value).all():
            raise InputError(
                f"{self.path}: tensor {name} holds numbers that are not finite; download it again"
            )
        return value


def _todays(name: str) -> str:
    for old, new in OLD_NAMES.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name
