"""One run in a directory at a time."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest
from launchers import ROOT

from haemsa_jax import locking
from haemsa_jax.errors import InputError
from haemsa_jax.locking import FILE, locked

HOLD = """
import sys, time
from pathlib import Path
from haemsa_jax.locking import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds the directory."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_another_process_is_named(other, tmp_path):
    where = rf"^{tmp_path} is in use by process {other.pid} on {socket.gethostname()} since 20"
    with pytest.raises(InputError, match=where), locked(tmp_path):
        pass
    assert json.loads((tmp_path / FILE).read_text())["pid"] == other.pid
    other.communicate()  # it ends
    assert not list(tmp_path.iterdir())
    with locked(tmp_path):
        pass


def test_what_a_killed_process_leaves_is_stale(other, tmp_path):
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert (tmp_path / FILE).exists()
    with locked(tmp_path):
        assert json.loads((tmp_path / FILE).read_text())["pid"] == os.getpid()
    assert not list(tmp_path.iterdir())


def test_a_thread_holds_it_repeatedly_and_no_other_does(tmp_path):
    refused = []

    def take():
        try:
            with locked(tmp_path / "sub" / ".."):
                pass
        except InputError as error:
            refused.append(str(error))

    with locked(tmp_path):
        with locked(tmp_path):
            pass
        assert (tmp_path / FILE).exists()
        thread = threading.Thread(target=take)
        thread.start()
        thread.join()
    assert len(refused) == 1 and f"in use by process {os.getpid()}" in refused[0]
    assert not (tmp_path / FILE).exists()


@pytest.mark.parametrize("alive", [True, False])
def test_an_owner_elsewhere_is_watched(tmp_path, monkeypatch, alive):
    """Where the disk's locks are not shared, signs of life tell."""
    monkeypatch.setattr(locking, "BEAT", 0.02)
    path = tmp_path / FILE
    owner = {"pid": 7, "host": "elsewhere", "command": "train", "since": "2026-01-01 00:00:00"}
    path.write_text(json.dumps(owner))
    ended = threading.Event()
    if alive:
        file = os.open(path, os.O_RDWR)
        threading.Thread(target=locking._beat, args=(file, ended), daemon=True).start()
        with pytest.raises(InputError, match="in use by process 7 on elsewhere"), locked(tmp_path):
            pass
        ended.set()
        assert json.loads(path.read_text()) == owner
    else:
        with locked(tmp_path):
            assert json.loads(path.read_text())["pid"] == os.getpid()


@pytest.mark.parametrize(
    "content", [b"", b"\xff{", b"[1]", b'{"pid": 1}', pytest.param(b"[" * 99_999, id="nested")]
)
def test_a_lock_that_says_nothing_is_stale(tmp_path, content):
    (tmp_path / FILE).write_bytes(content)
    with locked(tmp_path):
        pass


def test_a_disk_without_locks_goes_by_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(locking, "BEAT", 0.02)

    def unsupported(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(locking.fcntl, "flock", unsupported)
    with locked(tmp_path), monkeypatch.context() as patch:
        patch.setattr(locking, "_held", {})
        with pytest.raises(InputError, match="is in use by process"), locked(tmp_path):
            pass
    with locked(tmp_path):
        pass
