"""A run of two processes of four devices is a run of one process of eight."""

import contextlib
import os
import signal
import socket
import subprocess
import time

import numpy as np
import pytest
from launchers import ROOT, SPOKEN

from haemsa_jax.training.persistence import log
from haemsa_jax.training.persistence.trained import load_trained

TRAIN = (
    *SPOKEN, "--epochs=4", "--batch_size=16", "--learning_rate=0.01", "--checkpoint_every=5",
    "--evaluate_every=2",
)  # fmt: skip
EVOLVE = (
    *SPOKEN, "--population=8", "--generations=3", "--steps=3", "--head_start=3", "--batch_size=8",
    "--learning_rate=0.01", "--noyardstick",
)  # fmt: skip


def devices(environment, count):
    flags = environment["XLA_FLAGS"].replace("count=2", f"count={count}")
    return {**environment, "XLA_FLAGS": flags}


def alone(launch, environment, program, *flags):
    """One process of eight devices, ended well."""
    done = launch(program, *flags, XLA_FLAGS=devices(environment, 8)["XLA_FLAGS"])
    assert done.returncode == 0, done.stderr


def by_flags(count):
    """Flags that say which process this is, and nothing in its surroundings."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        where = f"--coordinator=localhost:{free.getsockname()[1]}"
    return [([where, "--processes=2", f"--process={number}"], {}) for number in range(count)]


def by_slurm(count):
    """Flags that leave it to the cluster, and what SLURM says to each of its tasks."""
    said = {"JOB_ID": os.getpid(), "STEP_NODELIST": "localhost", "NTASKS": count}
    return [
        (
            ["--coordinator=auto"],
            {f"SLURM_{k}": str(v) for k, v in {**said, "PROCID": n, "LOCALID": n}.items()},
        )
        for n in range(count)
    ]


@contextlib.contextmanager
def pair(environment, told, program, *flags):
    """Both processes of a run, ended at the latest with the context."""
    both = [
        subprocess.Popen(
            [environment["PYTHON"], "-m", f"launch.{program}", *flags, *mine],
            cwd=ROOT, env={**devices(environment, 4), **surroundings}, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )
        for mine, surroundings in told(2)
    ]  # fmt: skip
    try:
        yield both
    finally:
        for process in both:
            process.kill()
            process.communicate()


def test_a_training(launch, environment, spoken_dir, tmp_path):
    """One process is lost; the other ends with a word; all start again and end like one process."""
    flags = *TRAIN, f"--data_dir={spoken_dir}"
    together = *flags, f"--run_dir={tmp_path / 'pair'}"
    logged = tmp_path / "pair" / "log.jsonl"
    with pair(environment, by_flags, "train", *together) as (first, second):
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline and first.poll() is None:
            if logged.exists() and logged.read_bytes().count(b"\n") > 9:
                break
            time.sleep(0.01)
        os.kill(second.pid, signal.SIGKILL)
        _, said = first.communicate(timeout=120)
    assert first.returncode == 2, said
    assert "error: another process of this run is gone" in said
    assert "start all of them again to resume" in said
    before = log.read(tmp_path / "pair")[-1]["step"]
    assert 8 < before < 32
    with pair(environment, by_flags, "train", *together) as both:
        said = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    # One of them speaks.
    assert ["best validation score" in out for out, _ in said] == [True, False], said

    alone(launch, environment, "train", *flags, f"--run_dir={tmp_path / 'one'}")
    one, two = (log.read(tmp_path / name) for name in ("one", "pair"))
    assert [row["step"] for row in one] == [row["step"] for row in two]
    for left, right in zip(one, two, strict=True):
        assert left.keys() == right.keys()
        for name in left.keys() - {"kind"}:
            np.testing.assert_allclose(left[name], right[name], atol=1e-5, err_msg=name)
    # Adam makes of a gradient that is rounding alone a step like any other: scores compare.
    ends = [load_trained(tmp_path / name).progress for name in ("one", "pair")]
    assert ends[0]["best_step"] == ends[1]["best_step"]
    np.testing.assert_allclose(ends[0]["best_score"], ends[1]["best_score"], atol=1e-5)
    kept = {name: sorted(os.listdir(tmp_path / name / "best")) for name in ("one", "pair")}
    assert kept["one"] == kept["pair"]


def test_a_search(launch, environment, spoken_dir, tmp_path):
    flags = *EVOLVE, f"--data_dir={spoken_dir}"
    with pair(environment, by_slurm, "evolve", *flags, f"--run_dir={tmp_path / 'pair'}") as both:
        said = [process.communicate(timeout=400) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert ["best.json" in out for out, _ in said] == [True, False], said
    alone(launch, environment, "evolve", *flags, f"--run_dir={tmp_path / 'one'}")
    one, two = (np.load(tmp_path / name / "history.npz") for name in ("one", "pair"))
    for name in ("parents", "diverged"):
        np.testing.assert_array_equal(one[name], two[name])
    for name in ("genomes", "fitness", "costs"):
        np.testing.assert_allclose(one[name], two[name], atol=1e-4, err_msg=name)
    assert load_trained(tmp_path / "pair").progress["members"] >= 2


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--coordinator=here"], "--coordinator=here --processes=None --process=None: expected"),
        (["--coordinator=here:1", "--processes=2", "--process=2"], "--process=2: expected HOST"),
        (["--processes=2"], "--coordinator=None --processes=2 --process=None: expected"),
        (["--coordinator=auto", "--process=0"], "or auto alone"),
    ],
)
def test_who_is_who_must_be_said(launch, tmp_path, flags, words):
    done = launch("train", "--tasks=planted", f"--run_dir={tmp_path / 'run'}", *flags)
    assert done.returncode == 2
    assert words in done.stderr
