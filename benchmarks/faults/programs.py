"""Launchers with the smallest networks, as commands, and what must come out of them."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

import haemsa_datasets
from benchmarks.faults.smallest import ENCODER
from haemsa_jax.data.fingerprint import fingerprint
from haemsa_jax.training.persistence import log
from haemsa_jax.training.persistence.trained import load_trained

ROOT = Path(__file__).parents[2]
DATA = "cmu_mosi/standard"
NETWORK = (
    f"--tasks={DATA}", f"--text={ENCODER}", "--model=late_fusion", "--max_tokens=8",
    "--width=4", "--layers=1", "--batch_size=10", "--learning_rate=0.01",
)  # fmt: skip


@dataclass(frozen=True)
class Program:
    """A launcher and the flags of a small run.

    Attributes:
      name: of the launcher.
      flags: all but the place of its results.
      place: the flag of that place.
      result: what it leaves there, by name, as values that can be compared.
    """

    name: str
    flags: tuple[str, ...]
    place: str
    result: Callable[[Path], dict[str, Any]]

    def command(self, place: Path) -> list[str]:
        """To be started in `ROOT`."""
        return [sys.executable, "-m", f"launch.{self.name}", *self.flags, f"{self.place}={place}"]


@dataclass(frozen=True)
class Ended:
    """How a process ended: its status, None where it took too long, and its last words."""

    status: int | None
    words: str

    @property
    def refused(self) -> bool:
        """In one line that begins with `error: `."""
        lines = [line for line in self.words.splitlines() if line.strip()]
        return self.status == 2 and bool(lines) and lines[-1].startswith("error: ")

    @property
    def traceback(self) -> bool:
        """Whether a user would see one."""
        return "Traceback (most recent call last)" in self.words


def start(command: list[str], work: Path) -> subprocess.Popen:
    """A process of lowest priority; programs that were compiled once serve all."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "datasets")])
    flags = "--xla_backend_optimization_level=0 --xla_cpu_opt_preset=fast_compile"
    compiled = {"JAX_COMPILATION_CACHE_DIR": str(work / "compiled")}
    own = {"PYTHONPATH": path, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", **compiled}
    own["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    return subprocess.Popen(
        ["nice", "-n", "19", *command], cwd=ROOT, env={**os.environ, **own}, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(process: subprocess.Popen, limit: float) -> Ended:
    """Waits for the end, so many seconds at most."""
    try:
        _, words = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        process.kill()
        _, words = process.communicate()
        return Ended(None, words)
    return Ended(process.returncode, words)


def run(command: list[str], work: Path, limit: float = 3600) -> Ended:
    """From start to end."""
    return finish(start(command, work), limit)


def prepare(work: Path) -> None:
    """The data set that all of them read: words alone, good or bad."""
    rng = np.random.default_rng(0)
    rows = ["id,text,label,mode"]
    for mode, count in (("train", 60), ("valid", 12), ("test", 12)):
        for row in range(count):
            good = rng.random() < 0.5
            words = f"the plot was {'good' if good else 'bad'}"
            rows.append(f"{mode}{row // 6}_{row % 6 + 1},{words},{good * 3 - 1.5},{mode}")
    raw = work / "words"
    raw.mkdir(parents=True)
    (raw / "label.csv").write_text("\n".join(rows))
    lines = (json.dumps({"text": row.split(",")[1], "id": str(k)}) for k, row in enumerate(rows))
    (work / "rows.jsonl").write_text("\n".join(lines))


def _arrays(trained) -> dict[str, str]:
    leaves = jax.tree.leaves((trained.params, trained.constants, trained.structures))
    digest = hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in leaves))
    return {"networks": digest.hexdigest()}


def _trained(place: Path) -> dict[str, Any]:
    return {"log": log.read(place), **_arrays(load_trained(place))}


def _searched(place: Path) -> dict[str, Any]:
    with np.load(place / "history.npz") as file:
        history = {name: file[name].tobytes() for name in file.files}
    return {**history, "best": (place / "best.json").read_text(), **_arrays(load_trained(place))}


def _prepared(place: Path) -> dict[str, Any]:
    """What is loaded: each preparation writes the fields of a record in another order."""
    splits = haemsa_datasets.load(DATA, place).splits
    words = {name: split.words for name, split in splits.items()}
    return {"words": words, "arrays": fingerprint(splits)}


def programs(work: Path) -> dict[str, Program]:
    """By name; each needs what those before it have left in `work`."""
    data = f"--data_dir={work / 'data'}"
    genome = work / "whole" / "evolve" / "best.json"
    searched = (
        *NETWORK, data, "--population=4", "--generations=3", "--folds=2", "--steps=2",
        "--head_start=2", "--noyardstick",
    )  # fmt: skip
    trained = "--epochs=4", "--seeds=2", "--checkpoint_every=5"
    return {
        "prepare_data": Program(
            "prepare_data",
            (f"--dataset={DATA}", f"--raw_dir={work / 'words'}"),
            "--data_dir",
            _prepared,
        ),
        "train": Program("train", (*NETWORK, data, *trained), "--run_dir", _trained),
        "evolve": Program("evolve", searched, "--run_dir", _searched),
        "evolve, two devices": Program(
            "evolve", (*searched, "--devices=2"), "--run_dir", _searched
        ),
        "ablate": Program(
            "ablate",
            (f"--genome={genome}", data, "--ablate=evolution", *trained),
            "--run_dir",
            lambda place: {"ablation": (place / "ablation.json").read_text()},
        ),
        "predict": Program(
            "predict",
            (f"--run_dir={work / 'whole' / 'train'}", f"--input={work / 'rows.jsonl'}"),
            "--output",
            lambda place: {"predictions": place.read_bytes()},
        ),
    }
