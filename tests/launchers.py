"""Launchers as a user runs them, and data sets that they have prepared."""

import functools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from absl import flags
from samples import BERT

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """For launchers run as a user runs them."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "datasets")])
    xla = os.environ["XLA_FLAGS"].replace("count=8", "count=2")
    own = {"XLA_FLAGS": xla, "PYTHONPATH": path, "PYTHON": sys.executable}
    # One launcher after the other compiles the same small programs.
    return {**os.environ, **own, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}


@pytest.fixture
def own_flags(monkeypatch):
    """What `cli.define_network_flags` defines, apart from flags of the process."""
    from launch import cli

    own = flags.FlagValues()
    for name, kind in (("integer", int), ("float", float), ("string", str), ("enum", None)):
        define = functools.partial(getattr(flags, f"DEFINE_{name}"), flag_values=own)
        monkeypatch.setattr(cli.flags, f"DEFINE_{name}", define)
        if kind is not None:
            monkeypatch.setitem(cli._DEFINE, kind, define)
    return own


@pytest.fixture(scope="session")
def launch(environment, tmp_path_factory):
    """launch(program, *flags) -> the finished process; see `forked.py`."""
    command = [environment["PYTHON"], ROOT / "tests" / "forked.py"]
    server = subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    out, err = (tmp_path_factory.mktemp("said") / name for name in ("out", "err"))

    def run(program, *given, **surroundings):
        for path in (out, err):
            path.write_text("")
        told = list(map(str, given))
        order = program, told, surroundings, str(out), str(err)
        names = "program", "flags", "surroundings", "out", "err"
        print(json.dumps(dict(zip(names, order, strict=True))), file=server.stdin, flush=True)
        status = int(server.stdout.readline())
        return subprocess.CompletedProcess(told, status, out.read_text(), err.read_text())

    yield run
    server.communicate(timeout=60)


@pytest.fixture(scope="session")
def data_dir(launch, tmp_path_factory):
    """The planted data set, prepared."""
    directory = tmp_path_factory.mktemp("data")
    done = launch("prepare_data", "--dataset=planted", f"--data_dir={directory}")
    assert done.returncode == 0, done.stderr
    return directory


SPOKEN = (
    "--tasks=cmu_mosi/standard", f"--text={BERT}",
    "--max_tokens=8", "--width=8", "--depth=1", "--heads=2", "--link_width=4",
)  # fmt: skip


@pytest.fixture(scope="session")
def spoken_dir(launch, tmp_path_factory):
    """A data set of words alone, prepared: a network of one modality compiles in a third of the
    time. `SPOKEN` are the flags of a small one."""
    directory, rng = tmp_path_factory.mktemp("spoken"), np.random.default_rng(0)
    rows = ["id,text,label,mode"]
    for mode, count in (("train", 120), ("valid", 24), ("test", 24)):
        for row in range(count):
            good = rng.random() < 0.5
            label = np.clip(rng.normal(1.5 if good else -1.5, 0.5), -3, 3)
            words = f"the plot was {'good' if good else 'bad'}"
            rows.append(f"{mode}{row // 6}_{row % 6 + 1},{words},{label:.1f},{mode}")
    (directory / "label.csv").write_text("\n".join(rows))
    where = f"--raw_dir={directory}", f"--data_dir={directory}"
    done = launch("prepare_data", "--dataset=cmu_mosi/standard", *where)
    assert done.returncode == 0, done.stderr
    return directory


def stop_when(environment, program, given, number, status, ready):
    """Start a launcher, send it a signal as soon as `ready()`, check its exit status, and return
    what it said."""
    command = [environment["PYTHON"], "-m", f"launch.{program}", *given]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None and not ready():
        time.sleep(0.005)
    os.kill(process.pid, number)
    said, _ = process.communicate()
    assert process.returncode == status
    return said
