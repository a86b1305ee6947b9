"""Raw values of any reader, checked: texts, ids, numbers, lengths, masks, classes.

Functions take a value as it came, `where` it stands (file, split, sample) and its `field`, and
return what the library works on or raise one line that names all three.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from haemsa_jax.errors import InputError

# Bytes 0x80 to 0x9f of cp1252 read as Latin-1 are control characters, as dashes and quotes were.
_CONTROLS = {code: " " for code in (*range(0x20), 0x7F)} | {
    code: bytes([code]).decode("cp1252", "replace").replace("\ufffd", " ")
    for code in range(0x80, 0xA0)
}


def shown(value: Any) -> str:
    """A value in a few characters of one line, for messages."""
    if isinstance(value, np.ndarray) and value.ndim:
        return f"an array of shape {value.shape}"
    try:
        words = " ".join(repr(value.item() if isinstance(value, np.generic) else value).split())
    except RecursionError:
        words = f"a {type(value).__name__} that is nested too deeply"
    return words if len(words) <= 60 else f"{words[:57]}..."


def text(value: Any, where: str, field: str) -> str:
    """One string; bytes are UTF-8, and halves of characters that stand together are joined.

    Raises:
      InputError: it is something else (a list, None, a number), other bytes, or holds half of a
        character.
    """
    if isinstance(value, np.ndarray) and not value.ndim:
        value = value[()]
    if isinstance(value, bytes | bytearray):
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise InputError(
                f"{where}: {field} is {shown(value)}, which is not UTF-8; decode it and save it as "
                "a string"
            ) from error
    if not isinstance(value, str):
        raise InputError(f"{where}: {field} is {shown(value)}; expected a string")
    if value.isascii():
        return str(value)
    try:  # characters beyond 16 bits may come as two surrogates
        return value.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{where}: {field} {shown(value)} holds half of a character (a lone surrogate), as "
            "where an emoji was cut; take it out"
        ) from error


def identifier(value: Any, where: str, field: str) -> str:
    """A name that is not empty: a string, or a whole number.

    Raises:
      InputError: it is something else.
    """
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return str(int(value))
    name = text(value, where, field)
    if not name.strip():
        raise InputError(f"{where}: {field} is empty; give each sample a name")
    return name


def whole_number(value: str) -> bool:
    """Whether a text is a number of at most nine digits 0 to 9, as places and clips have them."""
    return value.isascii() and value.isdigit() and len(value) <= 9


def decimal(value: str, where: str, field: str) -> float:
    """The number that a text spells; underscores between digits, as in Python, are refused.

    Raises:
      InputError: it is none.
    """
    try:
        if "_" not in value:
            return float(value)
    except ValueError:
        pass
    raise InputError(f"{where}: {field} {shown(value)} is not a number")


def printable(words: str) -> tuple[str, int]:
    """Words without control characters, and how many there were.

    Those of cp1252 read as Latin-1 become what they were, such as a dash; others become blanks.
    """
    if words.isprintable():
        return words, 0
    count = sum(ord(character) in _CONTROLS for character in words)
    return (words.translate(_CONTROLS) if count else words), count


def sequence(
    values: Any, where: str, field: str, count: int | None = None, *, of: str = "sample"
) -> list[Any]:
    """The values of a list, tuple or array [N, ...], one for each of what `of` names.

    Those of an array [N, 1] are single values.

    Raises:
      InputError: it is something else, as a set, which has no order, or has not `count` values.
    """
    if isinstance(values, np.ndarray) and values.ndim:
        values = list(values[:, 0] if values.shape[1:] == (1,) else values)
    elif not isinstance(values, list | tuple):
        wanted = "values" if count is None else f"{count} values"
        raise InputError(
            f"{where}: {field} is {shown(values)}; expected a list of {wanted}, one a {of}"
        )
    if count not in (None, len(values)):
        raise InputError(f"{where}: {field} has {len(values)} values; expected {count}, one a {of}")
    return list(values)


def texts(
    values: Any, where: str, field: str, count: int | None = None, *, of: str = "sample"
) -> list[str]:
    """Like `sequence`, with every value checked by `text`."""
    listed = enumerate(sequence(values, where, field, count, of=of))
    return [text(value, f"{where}, {of} {row}", field) for row, value in listed]


def identifiers(
    values: Any, where: str, field: str, count: int | None = None, *, of: str = "sample"
) -> list[str]:
    """Like `sequence`, with every value checked by `identifier`."""
    listed = enumerate(sequence(values, where, field, count, of=of))
    return [identifier(value, f"{where}, {of} {row}", field) for row, value in listed]


def fields(values: Any, where: str, needed: Sequence[str] = ()) -> dict[str, Any]:
    """A dict by name; names may be bytes.

    Raises:
      InputError: it is none, has a name twice, or lacks one of `needed`.
    """
    if not isinstance(values, Mapping):
        raise InputError(f"{where}: expected a dict of fields, not {shown(values)}")
    named: dict[str, Any] = {}
    for key, value in values.items():
        name = identifier(key, where, "the name of a field")
        if name in named:
            raise InputError(f"{where}: field {name!r} is there twice, as {shown(key)} too")
        named[name] = value
    for name in needed:
        if name not in named:
            raise InputError(f"{where}: field {name!r} is missing; it has {', '.join(named)}")
    return named


def is_real(dtype: np.dtype) -> bool:
    """Whether values of a type are real numbers, those of narrow floats among them."""
    return dtype.kind in "biuf" or jax.dtypes.issubdtype(dtype, np.floating)


def numbers(
    values: Any,
    where: str,
    field: str,
    *,
    shape: Sequence[int | None],
    dtype: type = np.float32,
    finite: bool = False,
) -> np.ndarray:
    """Real numbers as an array.

    Args:
      values: an array, or lists of equal lengths; [N, 1] where [N] is expected is taken.
      where, field: for messages.
      shape: expected; None where any length will do.
      dtype: of the result.
      finite: whether NaN and infinity are refused.

    Raises:
      InputError: it is no such array.
    """
    array = _rectangular(values, where, field, len(shape))
    if len(shape) == 1 and array.shape[1:] == (1,):
        array = array[:, 0]
    fits = array.ndim == len(shape) and all(
        wanted in (None, length) for wanted, length in zip(shape, array.shape, strict=True)
    )
    if not fits and array.ndim == len(shape) == 1:
        raise InputError(
            f"{where}: {field} has {len(array)} values; expected {shape[0]}, one a sample"
        )
    if not fits:
        sizes = ["NT"[place > 0] if size is None else str(size) for place, size in enumerate(shape)]
        expected = f"({', '.join(sizes)}{',' * (len(sizes) == 1)})"
        raise InputError(f"{where}: {field} has shape {array.shape}; expected {expected}")
    with np.errstate(over="ignore"):
        array = array.astype(dtype, copy=False)
    if finite and not np.isfinite(array).all():
        row = int(np.argwhere(~np.isfinite(array))[0][0]) if array.ndim else 0
        raise InputError(f"{where}, sample {row}: {field} is not finite")
    return array


def _rectangular(values: Any, where: str, field: str, depth: int, of: str = "sample") -> np.ndarray:
    """An array of numbers of lists or of arrays of objects that hold nothing else."""
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, OverflowError):  # lists of different lengths
        array = np.empty(0, object)
    if is_real(array.dtype):
        return array
    if not (isinstance(values, list | tuple | np.ndarray) and array.ndim and depth):
        raise InputError(f"{where}: {field} is {shown(values)}; expected numbers")
    rows = [
        _rectangular(row, f"{where}, {of} {number}", field, depth - 1, "row")
        for number, row in enumerate(values)
    ]
    for number, row in enumerate(rows):
        if row.shape != rows[0].shape:
            raise InputError(
                f"{where}: {field} has shape {row.shape} in {of} {number} and {rows[0].shape} in "
                f"{of} 0; pad what is shorter with zeros"
            )
    return np.stack(rows) if rows else np.zeros(array.shape)


def array_of_numbers(value: Any, where: str, field: str) -> np.ndarray:
    """The numbers of one sample, `float[T, D]` or `float[D]`.

    Raises:
      InputError: it holds something else.
    """
    return _rectangular(value, where, field, 2, "row")


def number(value: Any, where: str, field: str) -> float:
    """One number, or an array that holds it alone.

    Raises:
      InputError: it is something else.
    """
    values = array_of_numbers(value, where, field)
    if values.size != 1:
        raise InputError(f"{where}: {field} has {values.size} values; expected one number")
    return float(values.reshape(()))


def lengths(values: Any, where: str, field: str, count: int) -> np.ndarray:
    """int64[count], how long sequences are.

    Raises:
      InputError: they are not `count` whole numbers from 0.
    """
    read = numbers(values, where, field, shape=(count,), dtype=np.float64, finite=True)
    bad = (read < 0) | (read != np.floor(read))
    if bad.any():
        row = int(np.argmax(bad))
        known = f"{field} is {read[row]:g}; expected a whole number from 0"
        raise InputError(f"{where}, sample {row}: {known}")
    return np.minimum(read, np.iinfo(np.int32).max).astype(np.int64)


def class_number(value: Any, where: str, field: str, count: int) -> int:
    """The number of one of `count` classes; whole floats are taken.

    Raises:
      InputError: it is none: a part of a number, NaN, a truth value, a text, one-hot.
    """
    array = value.reshape(()) if isinstance(value, np.ndarray) and value.size == 1 else value
    plain = isinstance(array, int | float | np.number | np.ndarray) and not isinstance(array, bool)
    number = np.asarray(array) if plain else np.empty(0)
    if number.shape != () or number.dtype.kind not in "iuf" or number not in range(count):
        known = f"none of 0 to {count - 1}; give the number of the class"
        raise InputError(f"{where}: {field} {shown(value)} is {known}")
    return int(number)


def mask(values: Any, where: str, field: str) -> np.ndarray:
    """Which tokens are there, `bool[...]` of the shape of the values; True, or 1, says so.

    Raises:
      InputError: other values than 0 and 1, of which nobody knows what they mean.
    """
    values = np.asarray(values)
    odd = values[~np.isin(values, (0, 1))] if values.dtype.kind in "biuf" else values.ravel()[:1]
    if odd.size:
        raise InputError(
            f"{where}: {field} holds {shown(odd[0])}; expected booleans, or 1 where a token is "
            "there and 0 where it is not"
        )
    return values.astype(bool)
