"""Damages whatever the library reads, kills whatever it runs, and counts what becomes of it.

  python -m benchmarks.faults                                   # a few of each, minutes
  python -m benchmarks.faults --counts=files=10000,checkpoints=1000 --out=faults.jsonl
  python -m benchmarks.faults --counts=kills=100,disks=100,meetings=100,threads=60

Only the parts that --counts names are run:

  files        damaged raw files; beside them, a fifth as many each, damaged prepared data sets,
               samples to predict, result files to report and configurations.
  checkpoints  run directories with one damaged file: loaded, resumed and reported.
  kills        SIGKILL at random moments of each launcher, and the same command again.
  meetings     two processes in one run directory, of which either is killed.
  disks        a small disk that is full at a random moment; needs root, to mount it.
  threads      seconds for which 64 threads share one predictor.

--record adds up what stands in --out of this commit, so that parts may run one after the other.

A part that ends in another way than the same result or one line is a fault; the status is 1 where
there are some. Printed and written to --out, a row a part: tried, refused, done, tracebacks, hangs,
lost, and examples.
"""

import contextlib
import json
import resource
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from absl import app, flags, logging

from benchmarks.faults import checkpoints, inputs, readers, smallest, threads
from benchmarks.faults.judging import COUNTED, Tally, as_results
from benchmarks.faults.processes import Campaign
from haemsa_jax.inference import Predictor
from haemsa_jax.results import environment
from launch import cli, recording

PARTS = "files", "checkpoints", "kills", "meetings", "disks", "threads"
KILLED = "train", "evolve", "evolve, two devices", "ablate", "predict"
FILLED = "prepare_data", "train", "evolve", "ablate", "predict"
MEMORY = 24 << 30  # bytes that may be asked for, so that no damaged length takes the machine
THREADS = 64

_COUNTS = flags.DEFINE_list(
    "counts", ["files=20", "checkpoints=20", "kills=1", "threads=2"], "PART=COUNT, a comma list."
)
_SEED = flags.DEFINE_integer("seed", 0, "Of all damage and moments.")
_ONLY = flags.DEFINE_list("only", None, "Of kills, meetings and disks these launchers alone.")
_WORK = flags.DEFINE_string(
    "work", None, "Directory for all files; kept, so that its small runs serve again."
)
_OUT = flags.DEFINE_string("out", None, "JSON lines, to which rows are appended.")
recording.define_flags()


def main(argv: list[str]) -> None:
    del argv
    counts, about = _counts(), {"seed": _SEED.value, "command": shlex.join(cli.command())}
    recording.check()
    if flags.FLAGS.record is not None:
        if not _OUT.value:
            raise app.UsageError("--record adds up what stands in --out; give that as well")
        about["commit"] = environment.commit()
    logging.set_verbosity(logging.FATAL)  # as launchers do: Orbax tells of every file
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.RLIM_INFINITY))
    tallies = []
    with contextlib.ExitStack() as stack:
        temporary = stack.enter_context(tempfile.TemporaryDirectory())
        kept = Path(_WORK.value or f"{temporary}/kept").absolute()
        kept.mkdir(parents=True, exist_ok=True)
        for tally in _tallies(counts, Path(temporary), kept):
            tallies.append(tally)
            _show(tally)
            if _OUT.value:
                with open(_OUT.value, "a", encoding="utf-8") as file:
                    row = {**about, **tally.to_json()}
                    file.write(json.dumps(row) + "\n")
    if flags.FLAGS.record is not None:
        with open(_OUT.value, encoding="utf-8") as file:
            rows = [row for row in map(json.loads, file) if row.get("commit") == about["commit"]]
        recording.save(
            data=["faults"],
            split="none",
            selected="nothing",
            rows=as_results(rows),
            runs=[],
            before=[row["command"] for row in rows],
        )
    sys.exit(int(any(tally.faults for tally in tallies)))


def _counts() -> dict[str, int]:
    counts = {}
    for entry in _COUNTS.value:
        part, _, count = entry.partition("=")
        if part not in PARTS or not count.isdecimal():
            raise app.UsageError(f"--counts={entry}: expected PART=COUNT of {', '.join(PARTS)}")
        counts[part] = int(count)
    return counts


def _tallies(counts: dict[str, int], work: Path, kept: Path) -> Iterator[Tally]:
    """Every part has random numbers of its own, whichever others are run."""
    streams = np.random.SeedSequence(_SEED.value).spawn(len(PARTS))
    rngs = {part: np.random.default_rng(s) for part, s in zip(PARTS, streams, strict=True)}
    if {"files", "checkpoints", "threads"} & {*counts}:
        data = smallest.dataset()
        trained = smallest.trained(data)
        run = work / "run"
        smallest.write_run(run, trained, data)
    if "files" in counts:
        count, rng = counts["files"], rngs["files"]
        yield from readers.run(count, rng, work / "readers")
        few = max(1, count // 5)
        yield inputs.predicted(few, rng, work, Predictor(trained))
        yield inputs.reported(few, rng, work, run)
        yield inputs.configured(few, rng, work, run, trained.experiment)
    if "checkpoints" in counts:
        yield checkpoints.run(counts["checkpoints"], rngs["checkpoints"], work, run)
    if "threads" in counts:
        yield threads.run(THREADS, counts["threads"], rngs["threads"], Predictor(trained))
    kinds: dict[str, tuple[tuple[str, ...], Callable]] = {
        "kills": (KILLED, Campaign.killed),
        "meetings": (("train", "evolve"), Campaign.met),
        "disks": (FILLED, Campaign.filled),
    }
    for part, (names, disturb) in kinds.items():
        if part in counts:
            campaign = Campaign(kept, rngs[part])
            for name in names:
                if _ONLY.value is None or name in _ONLY.value:
                    yield disturb(campaign, name, counts[part])


def _show(tally: Tally) -> None:
    if tally.skipped:
        print(f"{tally.part:28} skipped: {tally.skipped}", flush=True)
        return
    cells = "".join(f"{name:>12} {getattr(tally, name):>5}" for name in COUNTED)
    print(f"{tally.part:28}{cells}", flush=True)
    for example in tally.examples:
        print(f"    {example}", flush=True)


if __name__ == "__main__":
    app.run(main)
