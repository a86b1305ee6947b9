"""Damaged raw files of every data set, and damaged prepared ones."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import haemsa_datasets
from benchmarks.faults.judging import Tally, attempt, check_untouched, snapshot
from benchmarks.faults.mutation import damage
from benchmarks.faults.sources import SOURCES


def run(
    count: int, rng: np.random.Generator, work: Path, names: Sequence[str] = tuple(SOURCES)
) -> list[Tally]:
    """`count` damaged folders of raw files, each prepared as launch.prepare_data does, and a fifth
    as many damaged prepared data sets, each loaded.

    The damaged folder must stay as it was, and what was prepared before must stand where the
    damage is refused.
    """
    raw_files, prepared = Tally("raw files"), Tally("prepared data sets")
    for name in names:
        _prepare(work, name)
    for number in range(count):
        _raw(raw_files, rng, work, names[number % len(names)])
    for number in range(count // 5):
        _prepared(prepared, rng, work, names[number % len(names)])
    return [raw_files, prepared]


def _prepare(work: Path, name: str) -> None:
    raw = work / "whole" / name
    raw.mkdir(parents=True)
    SOURCES[name](raw)
    haemsa_datasets.prepare(name, raw, work / "data")
    haemsa_datasets.load(name, work / "data")


def _raw(tally: Tally, rng: np.random.Generator, work: Path, name: str) -> None:
    raw, data, marker = work / "raw", work / "tried", work / "a program ran"
    for folder, source in ((raw, work / "whole" / name), (data / name, work / "data" / name)):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(source, folder)
    what = f"{name}: {damage(rng, raw, marker)}"
    before, stood = snapshot(raw), snapshot(data)
    done = attempt(tally, lambda: haemsa_datasets.prepare(name, raw, data, overwrite=True), what)
    check_untouched(tally, raw, before, what)
    if not done:
        check_untouched(tally, data, stood, what)
    elif not attempt(Tally(""), lambda: haemsa_datasets.load(name, data), what):
        tally.note("lost", f"{what} @ what was prepared cannot be loaded")
    if marker.exists():
        marker.unlink()
        tally.note("lost", f"{what} @ a program in a pickle ran")


def _prepared(tally: Tally, rng: np.random.Generator, work: Path, name: str) -> None:
    data = work / "damaged"
    shutil.rmtree(data, ignore_errors=True)
    shutil.copytree(work / "data" / name, data / name)
    what = f"{name}: {damage(rng, data, work / 'a program ran')}"
    before = snapshot(data)
    attempt(tally, lambda: haemsa_datasets.load(name, data), what)
    check_untouched(tally, data, before, what)
