"""Damaged run directories: every file of every checkpoint, and what stands beside them."""

import shutil
from pathlib import Path

import jax
import numpy as np

from benchmarks.faults.judging import Tally, attempt, check_untouched, snapshot
from benchmarks.faults.mutation import damage
from haemsa_jax.reporting.page import page
from haemsa_jax.training.persistence.checkpoint import LATEST, Checkpoints
from haemsa_jax.training.persistence.trained import Trained, abstract_trees, load_trained


def run(count: int, rng: np.random.Generator, work: Path, directory: Path) -> Tally:
    """`count` copies of a run directory with one damaged file each: loaded, resumed and reported.

    What is loaded must be what was saved, or refused; nothing in the directory may be lost.
    """
    tally, copy, whole = Tally("checkpoints"), work / "copied", load_trained(directory)
    for number in range(count):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(directory, copy)
        kind = ("best", LATEST)[number % 2]
        part = copy / kind if (copy / kind).is_dir() and number % 8 else copy
        what = f"{part.name}: {damage(rng, part, work / 'a program ran')}"
        before = snapshot(copy)
        attempt(tally, lambda what=what: _check_loaded(tally, whole, copy, what), what)
        attempt(Tally(""), lambda: page(copy), what)
        check_untouched(tally, copy, before, what)
        if (copy / LATEST).is_dir():
            again = Tally("")
            attempt(again, lambda: _resumed(copy, whole), what)
            for kind in ("tracebacks", "hangs"):
                if getattr(again, kind):
                    tally.note(kind, f"resumed, {again.examples[0].partition(': ')[2]}")
            if {*before.values()} - {*snapshot(copy).values()}:
                tally.note("lost", f"{what} @ resuming deleted a file")
    return tally


def _check_loaded(tally: Tally, whole: Trained, copy: Path, what: str) -> None:
    loaded = load_trained(copy)
    trees = [(of.params, of.constants, of.structures) for of in (whole, loaded)]
    if not jax.tree.all(jax.tree.map(np.array_equal, *trees)):
        tally.note("lost", f"{what} @ other arrays were loaded, without a word")


def _resumed(copy: Path, whole: Trained) -> None:
    """As a training that goes on reads its state."""
    with Checkpoints(copy, LATEST) as checkpoints:
        if checkpoints.metadata() is not None:
            checkpoints.load(abstract_trees(whole.experiment)[0])
