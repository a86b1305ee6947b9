"""`--record`: a result goes into the store, with all that led to it."""

import shlex
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from absl import flags

from haemsa_jax.results import environment, record

from . import cli

# The flags defined here belong to the launcher, whose --help then lists them.
flags.disclaim_key_flags()

BEGAN = time.monotonic()


def define_flags() -> None:
    """Under which name, and into which store."""
    flags.DEFINE_string(
        "record", None, "Name under which the result goes into the store; by default into none."
    )
    flags.DEFINE_string("results_dir", "results", "The store of recorded results.")


def check() -> None:
    """Refuses at the start what could not be recorded at the end."""
    if flags.FLAGS.record is not None:
        record.check_name(flags.FLAGS.record)
        environment.commit()


def save(
    *,
    data: Iterable[str],
    split: str,
    selected: str,
    rows: record.Rows,
    runs: Iterable[Path],
    predictions: Mapping[str, np.ndarray] | None = None,
    before: Iterable[str] = (),
) -> None:
    """Records, where `--record` asks for it.

    Args:
      data: names of data sets.
      split, selected, rows, predictions: as `make_record` takes them.
      runs: directories whose commands led here, before this one.
      before: other commands that did.
    """
    if flags.FLAGS.record is None:
        return
    result = record.make_record(
        flags.FLAGS.record,
        data="+".join(data),
        split=split,
        selected=selected,
        rows=rows,
        commands=[*dict.fromkeys([*before, *record.commands_of(runs), shlex.join(cli.command())])],
        seconds=time.monotonic() - BEGAN,
        predictions=predictions,
    )
    print(f"recorded: {record.write(Path(flags.FLAGS.results_dir), result)}", flush=True)
