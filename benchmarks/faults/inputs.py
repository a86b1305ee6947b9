"""Damaged samples to predict, result files to report, and configurations."""

import io
import json
import shutil
from pathlib import Path

import numpy as np

from benchmarks.faults.judging import Tally, attempt, check_untouched, snapshot
from benchmarks.faults.mutation import damage, edit, odd_json
from benchmarks.faults.smallest import WIDTH
from haemsa_jax.errors import InputError
from haemsa_jax.evolution.outcome import read_genome
from haemsa_jax.inference import Predictor
from haemsa_jax.inference.files import Row, read_rows
from haemsa_jax.inference.rows import predict_rows
from haemsa_jax.inference.writer import Writer
from haemsa_jax.reporting.page import page
from haemsa_jax.training.persistence import log
from haemsa_jax.training.persistence.checkpoint import BEST, LATEST
from haemsa_jax.training.persistence.experiment import Experiment, experiment_from_json

ROWS = [
    {"id": "a", "text": "the plot was good", "audio": [[0.5] * WIDTH] * 2, "speaker": "Ross"},
    {"id": "b", "dialogue": "d", "text": "bad"},
    {"id": "c", "dialogue": "d", "audio": [1.0] * WIDTH, "speaker": None},
    {"text": "the plot, again\u2026"},
]


def _samples() -> dict[str, bytes]:
    """The same samples in each format that launch.predict reads."""
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    cells = "id,text,dialogue,speaker\n" + "".join(
        f'{row.get("id", "")},"{row.get("text", "no")}",{row.get("dialogue", "")},Amy\n'
        for row in ROWS
    )
    rng = np.random.default_rng(0)
    arrays = {
        "audio": rng.normal(size=(3, 2, WIDTH)).astype(np.float32),
        "audio_mask": np.array([[1, 1], [1, 0], [1, 1]], bool),
        "text": np.array(["the plot was good", "bad", "so"]),
        "id": np.arange(3),
        "dialogue": np.array(["d", "d", ""]),
    }
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return {
        "rows.jsonl": lines.encode(),
        "rows.csv": cells.encode(),
        "rows.npz": stream.getvalue(),
    }


def predicted(count: int, rng: np.random.Generator, work: Path, predictor: Predictor) -> Tally:
    """Damaged files of samples, predicted as launch.predict does; rows that cannot be are reported.

    What stood in the place of the predictions must stand there where nothing can be predicted.
    """
    tally, files = Tally("samples to predict"), _samples()
    for number in range(count):
        name = sorted(files)[number % len(files)]
        folder, out = work / "samples", work / "predicted" / ("out.csv", "out.jsonl")[number % 2]
        for directory in (folder, out.parent):
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir(parents=True)
        (folder / name).write_bytes(files[name])
        out.write_text("before")
        what = damage(rng, folder, work / "a program ran")
        before, stood = snapshot(folder), snapshot(out.parent)
        done = attempt(tally, lambda p=folder / name, o=out: _predict(p, o, predictor), what)
        check_untouched(tally, folder, before, what)
        if not done:
            check_untouched(tally, out.parent, stood, what)
    return tally


def _predict(path: Path, out: Path, predictor: Predictor) -> None:
    def report(row: Row, error: str) -> None:
        if len(error.splitlines()) != 1:
            raise RuntimeError(f"a report of several lines: {error}")

    with Writer(out, predictor.tasks) as writer:
        good = 0
        for row, prediction in predict_rows(predictor, read_rows(path, predictor.widths), report):
            if prediction is not None:
                writer.write(row, prediction)
                good += 1
        if not good:
            raise InputError(f"{path}: of its rows none can be predicted")


def reported(count: int, rng: np.random.Generator, work: Path, run: Path) -> Tally:
    """Damaged result files of a run, put on a page as launch.report does."""
    tally, copy = Tally("files of a report"), work / "reported"
    page(run)  # undamaged, so that what is refused is refused for its damage
    for _ in range(count):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(run, copy, ignore=shutil.ignore_patterns(BEST, LATEST, "search", "*.png"))
        what = damage(rng, copy, work / "a program ran")
        before = snapshot(copy)

        def read():
            # Both, whatever the first says of its part.
            log.read(copy)
            page(copy)

        attempt(tally, read, what)
        check_untouched(tally, copy, before, what)
    return tally


def configured(
    count: int, rng: np.random.Generator, work: Path, run: Path, experiment: Experiment
) -> Tally:
    """Damaged genome files, and configurations as they stand beside a checkpoint's arrays."""
    tally, source = Tally("configurations"), work / "genome"
    genome = (run / "best.json").read_bytes()
    for number in range(count):
        if number % 2:
            values = edit(rng, json.loads(json.dumps(experiment.to_json())), odd_json)
            attempt(tally, lambda v=values: experiment_from_json(v), _shown(values))
            continue
        shutil.rmtree(source, ignore_errors=True)
        source.mkdir()
        (source / "best.json").write_bytes(genome)
        what = damage(rng, source, work / "a program ran")

        def read():
            found = read_genome(source / "best.json")
            _ = found.structure, found.train

        attempt(tally, read, what)
    return tally


def _shown(values) -> str:
    return f"configuration {json.dumps(values)[:100]}"
