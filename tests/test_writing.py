"""Files that are there whole or not at all."""

import dataclasses
import errno
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from haemsa_jax.evolution import outcome
from haemsa_jax.evolution.state import History
from haemsa_jax.training.persistence import log
from haemsa_jax.writing import draft_of, write_text


def test_a_file_takes_its_place_whole_or_not_at_all(tmp_path):
    path = tmp_path / "test.json"
    write_text(path, "before")
    with pytest.raises(ZeroDivisionError), draft_of(path) as draft:
        draft.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


def test_of_a_link_the_target_is_written(tmp_path):
    path, link = tmp_path / "results" / "test.json", tmp_path / "link.json"
    path.parent.mkdir()
    link.symlink_to(path)
    for text in ("one", "two"):
        write_text(link, text)
        assert link.is_symlink() and path.read_text() == text


def test_what_is_no_file_is_written_to_itself():
    write_text(Path(os.devnull), "nothing")
    assert not os.path.isfile(os.devnull)


def test_a_name_as_long_as_the_system_allows(tmp_path):
    path = tmp_path / ("\u65e5" * 83 + ".json")
    write_text(path, "{}")
    assert list(tmp_path.iterdir()) == [path]


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_named_with_its_file(tmp_path, monkeypatch):
    """Whether it shows at writing, or only when the disk is asked for it."""
    history = History(*(np.zeros((2, 3)) for _ in dataclasses.fields(History)))
    path = tmp_path / "history.npz"
    path.write_bytes(b"before")
    with log.RunLog(tmp_path / "run") as run_log, monkeypatch.context() as patch:
        patch.setattr(run_log, "_lines", type("Full", (), {"write": full, "closed": True}))
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)) as caught:
            run_log.write({"step": 1})
        assert caught.value.filename == str(run_log.path)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)) as caught:
        outcome.save_history(path, history, ["a"], ["b"])
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"before" and {*tmp_path.iterdir()} == {path, tmp_path / "run"}


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is of Linux")
def test_a_device_that_is_full_is_named():
    with pytest.raises(OSError, match="/dev/full"):
        write_text(Path("/dev/full"), json.dumps([0] * 9999))


def test_a_folder_that_is_missing_is_said_of_the_file(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        write_text(tmp_path / "no" / "test.json", "")
    assert caught.value.filename == str(tmp_path / "no" / "test.json")
