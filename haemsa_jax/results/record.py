"""One result and its file: `results/<data>/<name>.json`.

A record says all that a reader asks of a figure: every metric of every seed, the split, what
selected the networks, the commands that led there, and what it was measured with.
"""

import datetime
import hashlib
import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from haemsa_jax.errors import InputError
from haemsa_jax.regular import regular
from haemsa_jax.reporting.card import COMMANDS
from haemsa_jax.results import environment
from haemsa_jax.writing import write_text

FORMAT = 1
NAME = re.compile(r"[a-z0-9][a-z0-9_.+-]*")
Rows = Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]


@dataclass(frozen=True)
class Record:
    """A result.

    Attributes:
      format: version of this schema.
      name, data: of the result and of its data sets.
      split: that was read.
      selected: what chose the networks, such as `validation`.
      rows: by table (a task), row and metric, one value a seed.
      predictions: sha256 of the predictions by task; empty where there are none.
      commands: that led here, in the order in which they ran.
      commit: of the code; its clone had no changes.
      python, packages, device, processor: what it was measured with.
      date: of the measurement, ISO 8601, UTC.
      seconds: that the recording command took.
      peak_mib: memory that it held at most, MiB.
    """

    name: str
    data: str
    split: str
    selected: str
    rows: Rows
    commands: Sequence[str]
    commit: str
    python: str
    packages: Mapping[str, str]
    device: str
    processor: str
    date: str
    seconds: float
    peak_mib: int
    predictions: Mapping[str, str]
    format: int = FORMAT


def make_record(
    name: str,
    *,
    data: str,
    split: str,
    selected: str,
    rows: Rows,
    commands: Sequence[str],
    seconds: float,
    predictions: Mapping[str, np.ndarray] | None = None,
) -> Record:
    """A record of this process, on this machine, at this commit.

    Args:
      name: lower-case letters, digits, and `_`, `.`, `+`, `-`.
      data: of its data sets; `/` becomes `-`.
      split, selected, rows, commands, seconds: as `Record` has them.
      predictions: by task, any floats; hashed as float32.

    Raises:
      InputError: the name is none, or the clone has changes.
    """
    data = data.replace("/", "-")
    check_name(name)
    check_name(data)
    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    hashes = {
        task: hashlib.sha256(np.ascontiguousarray(values, np.float32).tobytes()).hexdigest()
        for task, values in (predictions or {}).items()
    }
    return Record(
        name=name,
        data=data,
        split=split,
        selected=selected,
        rows=rows,
        commands=tuple(commands),
        commit=environment.commit(),
        date=date,
        seconds=round(seconds, 1),
        peak_mib=environment.peak_mib(),
        predictions=hashes,
        **environment.describe(),
    )


def check_name(name: str) -> None:
    """Refuses what is no name of a record.

    Raises:
      InputError: it has other characters.
    """
    if not NAME.fullmatch(name):
        raise InputError(
            f"record {name!r}: a name has lower-case letters, digits, and _ . + - between them"
        )


def path_of(results: Path, record: Record) -> Path:
    """Where a record lies in a store."""
    return results / record.data / f"{record.name}.json"


def write(results: Path, record: Record) -> Path:
    """Writes a record into a store, over an earlier one of its name; returns its path."""
    path = path_of(results, record)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(asdict(record), indent=1) + "\n")
    return path


def read(path: Path) -> Record:
    """A record from its file.

    Raises:
      InputError: there is none, or it is of another schema.
    """
    try:
        values = json.loads(regular(path).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the result {path}: {error}") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise InputError(f"{path} is no result of format {FORMAT}; record it again")
    names = {field.name for field in fields(Record)}
    if names != {*values}:
        wrong = ", ".join(sorted(names ^ {*values}))
        raise InputError(f"the result {path} lacks, or does not know: {wrong}; record it again")
    return Record(**values)


def commands_of(directories: Iterable[Path]) -> list[str]:
    """All commands that led to runs, those first that others needed, each once.

    A command that names a directory with commands of its own (a genome, an encoder, first weights)
    comes after these.
    """
    return list(dict.fromkeys(_commands(directories, ())))


def _commands(directories: Iterable[Path], within: tuple[Path, ...]) -> Iterator[str]:
    for directory in directories:
        path = directory / COMMANDS
        if directory in within or not path.is_file():
            continue
        for command in path.read_text("utf-8").splitlines():
            named = [_directory(word) for word in shlex.split(command)[1:]]
            yield from _commands(filter(None, named), (*within, directory))
            yield command


def _directory(word: str) -> Path | None:
    """The directory that a flag names, or the one of a file that it names."""
    flag, _, value = word.partition("=")
    path = Path(value)
    if not value or flag in ("--run_dir", "--out_dir", "--data_dir"):
        return None
    return path if path.is_dir() else path.parent
