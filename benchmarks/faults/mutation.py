"""Damage to files: bits, cuts and pieces of any file; cells, fields and values by their format."""

import io
import json
import os
import pickle
import shutil
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import numpy as np

Rng = np.random.Generator

CELLS = (
    "", " ", "nan", "inf", "-1", "1e999", "2.7", "0x10", "1_000", "9" * 400, "x" * 140_000, "\0",
    '"', '"open', "a\nb", "a\r\nb", ",", ";", "\ud83d", "\u0085", "\ufeff", "=1+1", "#NAME?",
    "None", "true", "[" * 2000, "../../etc/passwd", "\u0661", "<b>", "01", "-0", "1e5", "NaN",
    "2147483648",
)  # fmt: skip
VALUES = (
    None, True, "", "x", "nan", "\ud83d", "\0", -1, 0, 2.7, 1e308, float("nan"), float("inf"),
    10**30, -(2**63), [], {}, [[]], [None], ["x"], {"a": 1}, {"": None}, [1, [2]], "9" * 400,
    [0] * 999,
)  # fmt: skip


class Program:
    """A pickle of it creates a file where it is read without care."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), "w")


def _pick(rng: Rng, of):
    return of[int(rng.integers(len(of)))]


# --- bytes ---------------------------------------------------------------------------------------


def flip(rng: Rng, data: bytes) -> bytes:
    """One to eight bits."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 9)) if data else 0):
        changed[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def flip_head(rng: Rng, data: bytes) -> bytes:
    """A bit of the first 64 bytes, where formats say what they are."""
    return flip(rng, data[:64]) + data[64:]


def cut(rng: Rng, data: bytes) -> bytes:
    """The end is gone."""
    return data[: int(rng.integers(len(data) + 1))]


def splice(rng: Rng, data: bytes) -> bytes:
    """A piece is gone, or there twice."""
    start, end = sorted(int(x) for x in rng.integers(0, len(data) + 1, 2))
    return data[:start] + data[end:] if rng.random() < 0.5 else data[:end] + data[start:]


def garbage(rng: Rng, data: bytes) -> bytes:
    """A stretch of random bytes, or all of them."""
    start, end = sorted(int(x) for x in rng.integers(0, len(data) + 1, 2))
    if rng.random() < 0.2:
        start, end = 0, len(data)
    return data[:start] + rng.bytes(end - start) + data[end:]


def as_text(rng: Rng, data: bytes) -> bytes:
    """What copying as text, an editor or a web server makes of a file."""
    makes: tuple[Callable[[], bytes], ...] = (
        lambda: data.replace(b"\n", b"\r\n"),
        lambda: b"\xef\xbb\xbf" + data,
        lambda: data.decode("latin-1").encode("utf-16"),
        lambda: data.replace(b",", b";"),
        lambda: b"<!DOCTYPE html><html><body>404</body></html>",
        lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
        lambda: b"",
        lambda: data + data,
    )
    return _pick(rng, makes)()


ANY = (flip, flip, flip_head, cut, splice, garbage, as_text)


# --- tables --------------------------------------------------------------------------------------


def table(rng: Rng, data: bytes) -> bytes:
    """A cell, a row or a column of a CSV file."""
    rows = [line.split(",") for line in data.decode(errors="surrogateescape").split("\n")]
    row = _pick(rng, rows)
    column, other = (int(rng.integers(len(row))) for _ in "ab")
    kind = int(rng.integers(8))
    if kind < 3:
        row[column] = _pick(rng, CELLS)
    elif kind == 3:
        del row[column]
    elif kind == 4:
        rows.insert(int(rng.integers(len(rows))), list(_pick(rng, rows)))
    elif kind == 5:
        rows.remove(row)
    elif kind == 6:
        row[column], row[other] = row[other], row[column]
    else:  # a whole column is gone, or its name
        for cells in rows[: int(rng.choice([1, len(rows)]))]:
            del cells[column : column + 1]
    return "\n".join(map(",".join, rows)).encode(errors="surrogatepass")


def lines(rng: Rng, data: bytes) -> bytes:
    """A word of a text file."""
    words = data.decode().split(" ")
    words[int(rng.integers(len(words)))] = _pick(rng, CELLS)
    return " ".join(words).encode(errors="surrogatepass")


# --- trees of values -----------------------------------------------------------------------------


def edit(rng: Rng, tree: Any, odd: Callable[[Rng, Any], Any]) -> Any:
    """A copy in which one value or name, anywhere in dicts and lists, is another, gone or twice."""
    if not isinstance(tree, dict | list | tuple) or not tree or rng.random() < 0.15:
        return odd(rng, tree)
    keys = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
    items = dict(tree) if isinstance(tree, dict) else dict(enumerate(tree))
    key, other = _pick(rng, keys), _pick(rng, keys)
    kind = rng.random()
    if kind < 0.7:
        items[key] = edit(rng, items[key], odd)
    elif kind < 0.8:
        del items[key]
    elif kind < 0.9:
        items[key], items[other] = items[other], items[key]
    elif isinstance(tree, dict):  # renamed
        name = odd(rng, key) if rng.random() < 0.2 else f"{key}s"
        items[name if isinstance(name, Hashable) else str(name)] = items.pop(key)
    else:
        items[len(items)] = items[key]
    if isinstance(tree, dict):
        return items
    return type(tree)(items.values())


def odd_json(rng: Rng, value: Any) -> Any:
    """Another JSON value; of a number often another number."""
    if isinstance(value, int | float) and rng.random() < 0.3:
        return _pick(rng, (-value, value + 1, value * 1000, str(value), [value], 10**400))
    return _pick(rng, VALUES)


def json_tree(rng: Rng, data: bytes) -> bytes:
    """A field or value of a JSON file."""
    return json.dumps(edit(rng, json.loads(data), odd_json)).encode()


def json_lines(rng: Rng, data: bytes) -> bytes:
    """A field or value in one line of JSON lines."""
    lines = data.splitlines()
    place = int(rng.integers(len(lines)))
    lines[place] = json_tree(rng, lines[place])
    return b"\n".join(lines) + b"\n"


def odd_array(rng: Rng, value: Any) -> Any:
    """Another array, of another shape, type or values; or another value."""
    array = np.asarray(value)
    if array.ndim and array.size and rng.random() < 0.8:
        makes: tuple[Callable[[], Any], ...] = (
            lambda: array[:-1],
            lambda: array[..., :-1],
            lambda: array[None],
            lambda: array.ravel(),
            lambda: array.astype(str),
            lambda: array.astype(bytes) if array.dtype.kind in "fiub" else array.astype(object),
            lambda: array.astype(object),
            lambda: array.tolist(),
            lambda: array.astype(np.complex64) if array.dtype.kind in "fiub" else array,
            lambda: array * np.nan if array.dtype.kind in "fiu" else array,
            lambda: np.zeros_like(array),
            lambda: array[0],
            lambda: array.T,
            lambda: np.zeros((0, *array.shape[1:]), array.dtype),
            lambda: array.view(f"V{array.dtype.itemsize}"),
            lambda: np.full(array.shape, np.datetime64("2020-01-01")),
            lambda: [*array.tolist()[:-1], None],
        )
        return _pick(rng, makes)()
    return _pick(rng, (*VALUES, b"", b"\xff", b"ok", 1j, (), frozenset(), np.float64("nan")))


def pickled(marker: Path) -> Callable[[Rng, bytes], bytes]:
    """A value of a pickle; now and then a program that would create the file `marker`."""

    def change(rng: Rng, data: bytes) -> bytes:
        make = (lambda rng, value: Program(marker)) if rng.random() < 0.1 else odd_array
        tree = edit(rng, pickle.loads(data), make)
        return pickle.dumps(tree, protocol=int(rng.integers(6)))

    return change


def archive(rng: Rng, data: bytes) -> bytes:
    """An array of an `.npz`."""
    with np.load(io.BytesIO(data)) as file:
        arrays = dict(file)
    changed = edit(rng, arrays, odd_array)
    stream = io.BytesIO()
    if isinstance(changed, dict):
        named = {str(name) or "x": _savable(value) for name, value in changed.items()}
        np.savez(stream, **{name.replace("file", "f"): value for name, value in named.items()})
    else:
        np.save(stream, _savable(changed), allow_pickle=True)
    return stream.getvalue()


def _savable(value: Any) -> np.ndarray:
    try:
        return np.asarray(value)
    except ValueError:  # lists of different lengths
        return np.asarray(str(value))


# --- files ---------------------------------------------------------------------------------------


def damage(rng: Rng, folder: Path, marker: Path) -> str:
    """Damages one file of a folder, and says which and how.

    Args:
      rng: chooses the file and the damage.
      folder: a copy, which is changed.
      marker: the file that a program in a pickle would create.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    path = _pick(rng, files)
    name = path.relative_to(folder)
    chance = rng.random()
    if chance < 0.03:
        path.unlink()
        return f"{name} removed"
    if chance < 0.05:
        path.unlink()
        path.mkdir()
        return f"{name} is a folder"
    if chance < 0.06:
        path.unlink()
        os.mkfifo(path)
        return f"{name} is a FIFO"
    if chance < 0.07:
        path.unlink()
        path.symlink_to(path.name)
        return f"{name} is a link to itself"
    if chance < 0.1:
        shutil.copyfile(other := _pick(rng, files), copy := path.with_name(".copy"))
        copy.replace(path)
        return f"{name} replaced by {other.name}"
    known = {
        ".csv": table,
        ".txt": lines,
        ".json": json_tree,
        ".jsonl": json_lines,
        ".npz": archive,
        ".pkl": pickled(marker),
    }
    own = known.get(path.suffix)
    how = own if own is not None and rng.random() < 0.6 else _pick(rng, ANY)
    seed, before = int(rng.integers(2**31)), path.read_bytes()
    try:
        after = how(np.random.default_rng(seed), before)
    except (ValueError, TypeError, IndexError, OverflowError):  # it cannot be done to this value
        how, after = flip, flip(np.random.default_rng(seed), before)
    path.write_bytes(after)
    return f"{name} {how.__name__} {seed}"
