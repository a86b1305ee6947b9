"""`launch/prepare_data.py`, run as a user runs it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import haemsa_datasets

ROOT = Path(__file__).parents[1]


def run(*flags, before=()):
    """The finished process; `before` goes in front of its command line."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "datasets")])
    return subprocess.run(
        [*before, sys.executable, "-W", "error", "-m", "launch.prepare_data", *map(str, flags)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )


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
    assert second.stdout.startswith("planted: already prepared; --overwrite builds it again")
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
    assert "data set 'planets' is unknown; choose from cmu_mosei/standard, " in message
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
