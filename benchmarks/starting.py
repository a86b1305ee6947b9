"""What programs take until they are at work: the first process of its kind, and the second.

  python -m benchmarks.starting [--programs=train,evaluate,predict,evolve]

Each program is run twice on the generated data, as small as it goes, with an empty directory of
compiled programs; told are the CPU seconds of the process, since other work on the machine would
count as wall time.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import app, flags

import haemsa_datasets
from launch import recording
from launch.compilation import AGREED

_PROGRAMS = flags.DEFINE_list("programs", ["train", "evaluate", "predict", "evolve"], "In order.")
SMALL = ("--width=16", "--depth=1", "--heads=2", "--link_width=16")
recording.define_flags()


def main(argv: list[str]) -> None:
    del argv
    recording.check()
    with tempfile.TemporaryDirectory() as folder:
        measured = {name: [] for name in _PROGRAMS.value}
        place = Path(folder)
        run(place, "prepare_data", "--dataset=planted", f"--data_dir={place}/data")
        given = commands(place)
        for number in ("first", "second"):
            for name, seconds in measured.items():
                seconds.append(run(place, name, *(flag.format(number) for flag in given[name])))
    print(f"{'CPU seconds':12}{'first':>8}{'second':>8}{'ratio':>8}")
    for name, (first, second) in measured.items():
        print(f"{name:12}{first:8.1f}{second:8.1f}{second / first:8.2f}")
    columns = "first", "second"
    rows = {
        name: {column: [value] for column, value in zip(columns, seconds, strict=True)}
        for name, seconds in measured.items()
    }
    recording.save(
        data=["speed"],
        split="generated",
        selected="nothing",
        rows={"speed:starting": rows},
        runs=[],
    )


def commands(place: Path) -> dict[str, Sequence[str]]:
    """Flags by program, in which {} stands for the number of the process."""
    split = haemsa_datasets.load("planted", f"{place}/data", ["test"]).splits["test"]
    np.savez(place / "clips.npz", **{m: x[:4] for m, x in split.features.items()})
    trained = (f"--run_dir={place}/trained_{{}}",)
    learn = ("--tasks=planted", f"--data_dir={place}/data", *SMALL)
    return {
        "train": (*learn, *trained, "--epochs=1"),
        "evaluate": (f"--data_dir={place}/data", *trained),
        "predict": (f"--input={place}/clips.npz", f"--output={place}/said_{{}}.csv", *trained),
        "evolve": (
            *(*learn, f"--run_dir={place}/evolved_{{}}", "--noyardstick", "--folds=2"),
            *("--population=4", "--generations=1", "--steps=2", "--head_start=0", "--repeats=0"),
        ),
    }


def run(place: Path, name: str, *given: str) -> float:
    """CPU seconds of a program that keeps what it compiles at a place."""
    own = {key: value for key, value in os.environ.items() if key != AGREED}
    command = [sys.executable, "-m", f"launch.{name}", *given]
    process = subprocess.Popen(
        command, env={**own, "XDG_CACHE_HOME": str(place / "kept")}, stdout=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)} ended with status {os.waitstatus_to_exitcode(status)}")
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    app.run(main)
