"""Reads the dump files of the Hazumi corpora: one CSV a participant, one row an exchange."""

import csv
import io
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from haemsa_datasets.files import parse_numbers
from haemsa_jax.errors import InputError
from haemsa_jax.regular import regular

PARTS_OF_SPEECH = (
    "ADJ",
    "ADP",
    "ADV",
    "AUX",
    "CCONJ",
    "DET",
    "INTJ",
    "NOUN",
    "NUM",
    "PART",
    "PRON",
    "PROPN",
    "PUNCT",
    "SCONJ",
    "SYM",
    "VERB",
    "X",
)
BERT_WIDTH = 768
ANNOTATORS = 5

# What each block of columns is called, and how many there must be. Action units end in `_c_mean`:
# the part of speech AUX begins with AU, too.
COLUMNS = {
    "audio": (r"(pcm|voiceProb|F0)_.*", 384),
    "vision": (r"\d+_(acceleration|velocity)_\w+|AU\d+_c_mean", 66),
    "text": (rf"{'|'.join(PARTS_OF_SPEECH)}|bert\d+", len(PARTS_OF_SPEECH) + BERT_WIDTH),
    "ui": (r"UI_[FM]\d+", ANNOTATORS),
    "tc": (r"TC_[FM]\d+", ANNOTATORS),
}


@dataclass(frozen=True)
class Session:
    """One participant's dialogue of N exchanges.

    Attributes:
      participant: id, such as `2010F2002`.
      origin: the file it was read from.
      columns: by block of `COLUMNS` float64[N, number of columns], NaN where a cell is empty.
    """

    participant: str
    origin: str
    columns: dict[str, np.ndarray]


def read_corpus(raw_dir: Path, corpus: str, source: str) -> Iterator[Session]:
    """All sessions of a corpus, from `Hazumi<corpus>/` or `Hazumi<corpus>.tar.xz`.

    The archive is read in memory; nothing is extracted to disk.

    Raises:
      InputError: neither is there, or a file in it does not fit.
    """
    folder, archive = raw_dir / f"Hazumi{corpus}", raw_dir / f"Hazumi{corpus}.tar.xz"
    if folder.is_dir():
        files = _files_in_folder(folder)
    elif archive.is_file():
        files = _files_in_archive(archive)
    else:
        raise InputError(
            f"{raw_dir}: neither {folder.name}/ nor {archive.name} is there; nothing is "
            f"downloaded, get it yourself: {source}"
        )
    for participant, origin, content in files:
        yield parse_session(participant, origin, content)


def parse_session(participant: str, origin: str, content: bytes) -> Session:
    """One dump file.

    Raises:
      InputError: the columns are not those of `COLUMNS`, or a cell is no number.
    """
    try:
        stream = io.StringIO(content.decode("utf-8-sig"), newline="")
        # One column name is quoted and ends in a newline, so the header is not one line.
        header = [name.strip() for name in next(csv.reader(stream), [])]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{origin}: not a CSV file in UTF-8: {error}") from error
    places = {block: _find(header, block, origin) for block in COLUMNS}
    rows = _fill_empty_cells(stream.read())
    wanted = [place for block in places.values() for place in block]
    values = parse_numbers(rows, wanted, len(header), origin)
    ends = np.cumsum([len(block) for block in places.values()])[:-1]
    return Session(
        participant, origin, dict(zip(places, np.split(values, ends, axis=1), strict=True))
    )


def _find(header: list[str], block: str, origin: str) -> list[int]:
    """Places of a block's columns, in the order of the file."""
    pattern, count = COLUMNS[block]
    places = [place for place, name in enumerate(header) if re.fullmatch(pattern, name)]
    if len(places) != count:
        raise InputError(
            f"{origin}: {len(places)} columns of {block}; expected {count}, named like {pattern}"
        )
    return places


def _fill_empty_cells(rows: str) -> str:
    rows = rows.replace(",,", ",nan,").replace(",,", ",nan,")
    return rows.replace(",\r\n", ",nan\r\n").replace(",\n", ",nan\n")


def _files_in_folder(folder: Path) -> Iterator[tuple[str, str, bytes]]:
    for path in sorted((folder / "dumpfiles").glob("*.csv")):
        yield path.stem, str(path), regular(path).read_bytes()


def _files_in_archive(archive: Path) -> Iterator[tuple[str, str, bytes]]:
    try:
        with tarfile.open(archive) as members:
            for member in members:
                path = PurePosixPath(member.name)
                if member.isfile() and path.parent.name == "dumpfiles" and path.suffix == ".csv":
                    content = members.extractfile(member).read()
                    yield path.stem, f"{archive}, {member.name}", content
    except PermissionError:
        raise
    except Exception as error:  # what unpacks it may fail in any way
        raise InputError(f"{archive}: the archive is damaged: {error}") from error
