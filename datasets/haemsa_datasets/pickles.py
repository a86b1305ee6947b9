"""Reads pickles of NumPy arrays and plain values, and runs nothing that a pickle asks for.

A pickle is a program: it names callables and has them called. Here every name resolves to a
harmless stand-in of this module or is refused. NumPy's own unpickling is not reached either: it
trusts the flags of a pickled `dtype`, and with the right ones takes bytes of the file for pointers
to objects (NumPy 2.4 does). To allow only its usual names is therefore not enough.
"""

import itertools
import pickle
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from haemsa_jax.errors import InputError
from haemsa_jax.regular import regular

ACCEPTED = "NumPy arrays, numbers, strings, lists, tuples, dicts and sets"
_AS_TEXT = (
    "{}: the pickle was written or copied in text mode, so that its lines end in CRLF; copy it "
    "again in binary mode"
)


def read_pickle(path: Path) -> Any:
    """What a pickle holds, as plain values and NumPy arrays.

    Python 2 strings are UTF-8, or Latin-1 where they cannot be.

    Raises:
      InputError: the pickle would run code, holds something else, or is damaged.
    """
    try:
        with regular(path).open("rb") as file:
            _check_line_ends(file.peek(), path)
            _check_memo(file, path)
            return _finished(_Unpickler(file, path).load())
    except (InputError, OSError):
        raise
    except Exception as error:  # A damaged pickle can fail in any way.
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{path}: cannot be read as a pickle of {ACCEPTED}: {reason}") from error


def _check_line_ends(head: bytes, path: Path) -> None:
    """Refuses a file that somebody wrote or copied as text, which changes its line ends."""
    lines = head.count(b"\n")
    if head[:1] != b"\x80" and lines and lines == head.count(b"\r\n"):
        raise InputError(_AS_TEXT.format(path))


def _check_memo(file: BinaryIO, path: Path) -> None:
    """Refuses numbers of values that no pickle has, for which Python would take all memory."""
    widths = {  # of the lengths that stand before strings and bytes
        pickletools.TAKEN_FROM_ARGUMENT1: 1,
        pickletools.TAKEN_FROM_ARGUMENT4: 4,
        pickletools.TAKEN_FROM_ARGUMENT4U: 4,
        pickletools.TAKEN_FROM_ARGUMENT8U: 8,
    }
    for count in itertools.count():
        operation = pickletools.code2op.get(file.read(1).decode("latin-1"))
        if operation is None or operation.name == "STOP":
            break
        size, argument = operation.arg.n if operation.arg else 0, b""
        if size in widths:
            file.seek(min(int.from_bytes(file.read(widths[size]), "little"), 2**40), 1)
        elif size == pickletools.UP_TO_NEWLINE:
            argument = file.readline()
            if operation.name in ("GLOBAL", "INST"):
                file.readline()
        else:
            argument = file.read(size)
        if not operation.name.endswith("PUT"):
            continue
        number = int(argument) if operation.name == "PUT" else int.from_bytes(argument, "little")
        if number > count:
            raise InputError(
                f"{path}: the pickle is damaged: it has a value number {number} after {count} "
                "operations; get the file again"
            )
    file.seek(0)


class _Unpickler(pickle.Unpickler):
    """Bytes of Python 2 strings beyond ASCII become surrogates, which lose nothing."""

    def __init__(self, file, path: Path):
        super().__init__(file, encoding="ascii", errors="surrogateescape")
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        if module.endswith("\r") or name.endswith("\r"):
            raise InputError(_AS_TEXT.format(self._path))
        try:
            return _STAND_INS[module.replace("numpy._core", "numpy.core"), name]
        except KeyError:
            raise InputError(
                f"{self._path}: the pickle wants to call {module}.{name}, which could run code; it "
                f"was not read. Accepted are {ACCEPTED}: save the data as these"
            ) from None


class _DType:
    """Stands for `numpy.dtype`: numbers, booleans, strings, or object for lists of plain values."""

    def __init__(self, code: str, *_: Any):
        self.dtype = np.dtype(str(code))
        if self.dtype.kind not in "biufcSUO":
            raise ValueError(f"dtype {code!r}")

    def __setstate__(self, state: tuple):
        _, order, *structure = state[:5]
        if any(part is not None for part in structure):
            raise ValueError("structured dtype")
        if self.dtype.kind != "O" and order in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """Stands for `numpy.ndarray`, until `_finished` takes its value."""

    value: np.ndarray

    def __setstate__(self, state: tuple):
        _, shape, dtype, fortran, data = state
        self.value = _to_array(data, dtype, shape, "F" if fortran else "C")


def _to_array(data: Any, dtype: _DType, shape: tuple[int, ...], order: str) -> np.ndarray:
    if dtype.dtype.kind != "O":
        return np.frombuffer(_to_bytes(data), dtype.dtype).reshape(shape, order=order)
    if not isinstance(data, list):
        raise ValueError("an object array must come with a list of its values")
    values = np.empty(len(data), object)
    for index, value in enumerate(data):  # one by one, or NumPy would take lists for rows
        values[index] = _finished(value)
    return values.reshape(shape, order=order)


def _to_bytes(data: Any) -> bytes:
    return data.encode("ascii", "surrogateescape") if isinstance(data, str) else data


def _reconstruct(*_: Any) -> _Array:
    """Stands for `numpy.core.multiarray._reconstruct`."""
    return _Array()


def _from_buffer(data: Any, dtype: _DType, shape: tuple[int, ...], order: str) -> np.ndarray:
    """Stands for `numpy.core.numeric._frombuffer`, which protocol 5 uses."""
    return _to_array(data, dtype, shape, order)


def _scalar(dtype: _DType, data: Any) -> Any:
    """Stands for `numpy.core.multiarray.scalar`."""
    return _to_array(data, dtype, (), "C")[()]


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """Stands for `_codecs.encode`, with which protocol 2 writes bytes."""
    return text.encode("latin-1")


_STAND_INS: dict[tuple[str, str], Callable] = {
    ("numpy", "dtype"): _DType,
    ("numpy", "ndarray"): _Array,
    **{
        # NumPy 1.16.0 named the extension module.
        (f"numpy.core.{module}", name): stand_in
        for module in ("multiarray", "_multiarray_umath")
        for name, stand_in in (("_reconstruct", _reconstruct), ("scalar", _scalar))
    },
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    ("_codecs", "encode"): _encode,
    **{
        (module, kind.__name__): kind
        for module in ("builtins", "__builtin__")
        for kind in (set, frozenset, bytes, bytearray, complex)
    },
    ("collections", "OrderedDict"): dict,
}


def _finished(value: Any) -> Any:
    """The value with every stand-in replaced by its array, and Python 2 strings decoded."""
    if isinstance(value, str):
        return value if value.isascii() else _python_2_text(value)
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, dict):
        return {_finished(key): _finished(item) for key, item in value.items()}
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(_finished(item) for item in value)
    if isinstance(value, _DType):
        return value.dtype
    return value


def _python_2_text(value: str) -> str:
    """A string of Python 2 in its encoding; other strings are what they are."""
    try:
        data = value.encode("ascii", "surrogateescape")
    except UnicodeEncodeError:
        return value
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")
