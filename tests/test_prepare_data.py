"""`launch/prepare_data.py`, run as a user runs it."""

import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_datasets_mmsa import own_split
from test_datasets_own import BUILDER

import haemsa_datasets
from haemsa_datasets import preparation

ROOT = Path(__file__).parents[1]


PATHS = os.pathsep.join([str(ROOT), str(ROOT / "datasets")])
COMMAND = (sys.executable, "-W", "error", "-m", "launch.prepare_data")


def run(*flags, before=()):
    """The finished process; `before` goes in front of its command line."""
    return subprocess.run(
        [*before, *COMMAND, *map(str, flags)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": PATHS},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("importing", [True, False])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_one_line_and_leaves_nothing(tmp_path, number, importing):
    """While modules are imported, and while the data set is written."""
    process = subprocess.Popen(
        [*COMMAND, "--dataset=planted", f"--data_dir={tmp_path}"], cwd=ROOT, text=True,
        env={**os.environ, "PYTHONPATH": PATHS}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    if importing:
        time.sleep(1)
    else:
        while not list(tmp_path.iterdir()) and process.poll() is None:
            time.sleep(0.01)
    process.send_signal(number)
    _, error = process.communicate()
    name = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
    assert (process.returncode, error) == (128 + number, f"stopped by {name}\n")
    assert not list(tmp_path.iterdir())


def test_data_sets_of_ones_own(tmp_path):
    """A folder elsewhere and a pickle of any name; in the second command neither is named."""
    folder = tmp_path / "sets" / "cellar"
    folder.mkdir(parents=True)
    (folder / "cellar_dataset_builder.py").write_text(BUILDER)
    data = f"--data_dir={tmp_path / 'data'}"
    done = run("--dataset=cellar", f"--datasets_dir={folder.parent}", data)
    assert done.returncode == 0 and "cellar: done" in done.stdout, done.stderr
    path = tmp_path / "clips.pkl"
    path.write_bytes(pickle.dumps({key: own_split(key) for key in ("train", "valid", "test")}))
    done = run("--dataset=mmsa/clips,cellar", f"--raw_dir={path}", data)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert "sentiment_text" in done.stdout and "cellar: already prepared" in done.stdout
    done = run("--dataset=mmsa/clips", "--overwrite", f"--raw_dir={tmp_path / 'data'}", data)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "holds no .pkl file; name one: --raw_dir=FILE" in done.stderr


def test_what_a_dead_process_left_is_deleted(tmp_path):
    """And nothing that somebody may still work in."""
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    here, there = (f".preparing-{host}" for host in (socket.gethostname(), "else-where"))
    left = [
        f"{here}-{dead.pid}-abc",
        f"{there}-1-old",
        ".preparing-of_before",
        f"{here}-{10**30}-x",
    ]
    kept = [f"{here}-{os.getpid()}-abc", f"{there}-1-new", ".preparing-fresh", "planted"]
    for name in (*left, *kept):
        (tmp_path / name / "planted").mkdir(parents=True)
    for name in left[1:3]:
        os.utime(tmp_path / name, (0, 0))
    preparation._clear_stale(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*kept}


def test_prepares_shows_and_leaves_alone_what_is_there(tmp_path):
    first = run("--dataset=planted", f"--data_dir={tmp_path}")
    assert (first.returncode, first.stderr) == (0, "")
    lines = [line.split() for line in first.stdout.splitlines()]
    assert ["test", "800", "800"] in lines
    assert ["modality", "width", "length", "min/median/max", "absent", "features"] in lines
    assert ["text", "16", "6/9/12"] in [line[:3] for line in lines]
    assert ["agreement", "train", "disagree"] in [line[:3] for line in lines]
    assert "no feature value had to be replaced" in first.stdout
    assert f"written to {tmp_path / 'planted' / '1.1.0'}" in first.stdout
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}

    second = run("--dataset=planted", f"--data_dir={tmp_path}")
    assert second.returncode == 0
    expected = "planted: already prepared, nothing was read; --overwrite builds it again"
    assert second.stdout.startswith(expected)
    assert second.stdout.splitlines()[1:] == first.stdout.splitlines()[2:]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == files

    third = run("--dataset=planted", f"--data_dir={tmp_path}", "--overwrite")
    assert third.stdout.splitlines()[2:] == first.stdout.splitlines()[2:]
    assert haemsa_datasets.load("planted", tmp_path, ["test"]).splits["test"].ids[0] == "test-0000"


def failure(*flags, **options):
    """What a run that cannot work says: one line and exit status 2."""
    done = run(*flags, **options)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    return done.stderr


def test_unknown_data_set(tmp_path):
    message = failure("--dataset=planted,planets", f"--data_dir={tmp_path}")
    assert "data set 'planets' is unknown; choose from ch_sims/standard, " in message
    assert not list(tmp_path.iterdir())


def test_missing_raw_directory(tmp_path):
    message = failure("--dataset=hazumi", f"--raw_dir={tmp_path / 'no'}", f"--data_dir={tmp_path}")
    assert f"hazumi: raw directory {tmp_path / 'no'} is missing or empty" in message
    assert "GitHub organisation ouktlab" in message


def test_data_directory_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    message = failure("--dataset=planted", f"--data_dir={tmp_path / 'file' / 'data'}")
    assert f"planted: cannot read or write {tmp_path / 'file' / 'data'}: Not a directory" in message


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files")
def test_full_disk(tmp_path):
    limited = ("sh", "-c", 'ulimit -f 200 && exec "$@"', "sh")
    message = failure("--dataset=planted", f"--data_dir={tmp_path}", before=limited)
    assert f"planted: cannot write to {tmp_path}: " in message and "File too large" in message
    assert not list(tmp_path.iterdir())
