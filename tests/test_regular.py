"""What is no file, and may never end, is not read."""

import os
import socket

import pytest

from benchmarks.faults.judging import at_most
from haemsa_datasets.files import read_numbers, read_table
from haemsa_datasets.folds import read_folds
from haemsa_datasets.hazumi.sessions import read_corpus
from haemsa_datasets.pickles import read_pickle
from haemsa_jax import csv_rows
from haemsa_jax.data.arrays import read_arrays
from haemsa_jax.errors import InputError
from haemsa_jax.evolution.outcome import read_genome
from haemsa_jax.inference.files import read_rows
from haemsa_jax.regular import regular
from haemsa_jax.results import record
from haemsa_jax.training.persistence import log

READERS = {
    "label.csv": lambda path: list(read_table(path, ["id"])),
    "rows.csv": lambda path: list(csv_rows.read_rows(path)),
    "numbers.csv": lambda path: read_numbers(path, 3),
    "splits.json": lambda path: read_folds(path.parent, {}),
    "arrays.npz": read_arrays,
    "data.pkl": read_pickle,
    "best.json": read_genome,
    log.FILE: lambda path: log.read(path.parent),
    "record.json": record.read,
    "Hazumi2010/dumpfiles/2010F0001.csv": lambda path: list(
        read_corpus(path.parents[2], "2010", "")
    ),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_no_reader_waits_for_what_never_ends(tmp_path, name, make):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    make(path)
    with at_most(0.2), pytest.raises(InputError, match=f"{path} is not a regular file; copy what"):
        READERS[name](path)


def test_a_transcript_that_never_ends_costs_its_row(tmp_path):
    os.mkfifo(tmp_path / "words.txt")
    (tmp_path / "more.txt").write_bytes("\ufeffso what\r\n".encode())
    rows = tmp_path / "rows.csv"
    rows.write_text("transcript\nwords.txt\nmore.txt\n")
    with at_most(0.2):
        bad, good = read_rows(rows, {"text": 4})
    assert "words.txt is not a regular file" in bad.error
    assert good.utterance == {"text": "so what"}


def test_sockets_folders_and_nothing(tmp_path):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        for path in (tmp_path / "s", tmp_path):
            with pytest.raises(InputError, match="is not a regular file"):
                regular(path)
    with pytest.raises(FileNotFoundError):
        regular(tmp_path / "nothing")
