"""Launchers that are killed, that meet in one directory, and whose disk is full."""

import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faults.judging import Tally
from benchmarks.faults.programs import Ended, Program, finish, prepare, programs, run, start

DISK = 20  # MiB
NEEDS = {  # what a program reads
    "train": "prepare_data",
    "evolve": "prepare_data",
    "evolve, two devices": "prepare_data",
    "ablate": "evolve",
    "predict": "train",
}


class Campaign:
    """Small runs that nobody disturbed, and the same ones disturbed.

    Args:
      work: directory for all of them; what is there of an earlier campaign is used again.
      rng: draws moments.
    """

    def __init__(self, work: Path, rng: np.random.Generator):
        self.work, self.rng = work, rng
        self.seconds: dict[str, float] = {}
        self.results: dict[str, dict[str, Any]] = {}
        if not (work / "words").is_dir():
            prepare(work)
        self.programs = programs(work)

    def place(self, name: str, folder: Path) -> Path:
        """Where a program's results go: predictions are a file."""
        if name == "prepare_data" and folder.name == "whole":
            return self.work / "data"
        return folder / (f"{name}.jsonl" if name == "predict" else name)

    def whole(self, name: str) -> dict[str, Any]:
        """The results of an undisturbed run, timed once everything is compiled."""
        if name in NEEDS:
            self.whole(NEEDS[name])
        if name not in self.results:
            folder = self.work / "whole"
            folder.mkdir(exist_ok=True)
            place = self.place(name, folder)
            for _ in range(2):  # the first compiles
                shutil.rmtree(place, ignore_errors=True)
                begun = time.monotonic()
                ended = run(self.programs[name].command(place), self.work)
                self.seconds[name] = time.monotonic() - begun
                if ended.status != 0:
                    raise RuntimeError(f"{name} fails undisturbed: {ended.words[-2000:]}")
            self.results[name] = self.programs[name].result(place)
        return self.results[name]

    def _limit(self, name: str) -> float:
        return 120 + 20 * self.seconds[name]

    def _fresh(self, folder: str) -> Path:
        path = self.work / folder
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        return path

    def _judge(self, tally: Tally, name: str, place: Path, ended: Ended, what: str) -> None:
        """Counts how a run ended that nobody disturbs any more."""
        last = " ".join(ended.words.splitlines()[-1:])[:200]
        if ended.status is None:
            tally.note("hangs", f"{what} @ {last}")
        elif ended.refused:
            tally.refused += 1
        elif ended.status != 0:
            tally.note("tracebacks", f"{what} @ status {ended.status}: {last}")
        elif (result := self.programs[name].result(place)) != (whole := self.whole(name)):
            differ = [key for key in whole if result.get(key) != whole[key]]
            tally.note("lost", f"{what} @ another result: {', '.join(differ)}")
        else:
            tally.done += 1

    def killed(self, name: str, count: int) -> Tally:
        """SIGKILL at a random moment, once or twice, then the same command to its end."""
        tally, program = Tally(f"SIGKILL of {name}"), self.programs[name]
        self.whole(name)
        for _ in range(count):
            place = self.place(name, self._fresh("killed"))
            moments = self.rng.uniform(0, 1.05 * self.seconds[name], self.rng.integers(1, 3))
            for moment in moments:
                process = start(program.command(place), self.work)
                self._kill_after(process, moment)
            tally.tried += 1
            ended = run(program.command(place), self.work, self._limit(name))
            what = f"killed after {', '.join(f'{moment:.2f}' for moment in moments)} s"
            self._judge(tally, name, place, ended, what)
        return tally

    def _kill_after(self, process: subprocess.Popen, seconds: float) -> Ended:
        try:
            _, words = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            _, words = process.communicate()
        return Ended(process.returncode, words)

    def met(self, name: str, count: int) -> Tally:
        """Two processes of one command in one directory, of which either is killed."""
        tally, program = Tally(f"two processes of {name}"), self.programs[name]
        self.whole(name)
        for _ in range(count):
            place = self.place(name, self._fresh("met"))
            delay, moment = self.rng.uniform(0, self.seconds[name], 2)
            which = int(self.rng.integers(2))
            both = [start(program.command(place), self.work)]
            time.sleep(delay)
            both.append(start(program.command(place), self.work))
            what = f"second after {delay:.2f} s, number {which + 1} killed after {moment:.2f} s"
            self._kill_after(both[which], moment)
            other = finish(both[1 - which], self._limit(name))
            tally.tried += 1
            if other.traceback:
                tally.note("tracebacks", f"{what} @ {other.words[-200:]}")
            elif other.status not in (0, 2):
                tally.note("tracebacks", f"{what} @ status {other.status}")
            self._judge(tally, name, place, run(program.command(place), self.work), what)
        return tally

    def filled(self, name: str, count: int) -> Tally:
        """A disk that is full after a random number of bytes; then, with room, it goes on."""
        tally, program = Tally(f"full disk, {name}"), self.programs[name]
        self.whole(name)
        disk = self.work / "disk"
        disk.mkdir(exist_ok=True)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}m", "tmpfs", str(disk)]
        mounted = subprocess.run(mount, capture_output=True, text=True)
        if mounted.returncode:
            tally.skipped = f"no disk can be mounted: {mounted.stderr.strip()}"
            return tally
        try:
            size = self._size(self.place(name, self.work / "whole"))
            for _ in range(count):
                self._fill(tally, name, program, disk, int(self.rng.uniform(0, 1.3 * size)))
        finally:
            subprocess.run(["umount", str(disk)], check=True)
        return tally

    def _size(self, place: Path) -> int:
        files = place.rglob("*") if place.is_dir() else [place]
        return sum(path.stat().st_size for path in files if path.is_file())

    def _fill(self, tally: Tally, name: str, program: Program, disk: Path, room: int) -> None:
        place, ballast = self.place(name, disk / "run"), disk / "ballast"
        shutil.rmtree(disk / "run", ignore_errors=True)
        place.parent.mkdir()
        ballast.write_bytes(bytes(max(0, shutil.disk_usage(disk).free - room)))
        ended = run(program.command(place), self.work, self._limit(name))
        ballast.unlink()
        tally.tried += 1
        what = f"{room:,} bytes free"
        if ended.status is None:
            tally.note("hangs", f"{what} @ with the disk full")
        elif ended.traceback or not (ended.refused or ended.status == 0):
            tally.note("tracebacks", f"{what} @ {ended.words[-300:]}")
        self._judge(tally, name, place, run(program.command(place), self.work), f"{what}, again")
