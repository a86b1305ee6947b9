"""Runs and others beside them under a protocol of missing modalities: measured and written."""

import functools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from haemsa_jax.data import Dataset
from haemsa_jax.errors import InputError
from haemsa_jax.reporting import robustness
from haemsa_jax.reporting.runs import RIVALS, Run, check_comparable, evaluator
from haemsa_jax.training.engine.streaming import RESIDENT
from haemsa_jax.training.measurement.evaluation import Evaluate
from haemsa_jax.training.persistence.trained import load_trained
from haemsa_jax.writing import draft_of, write_text

PATTERN = "{pattern}"

Models = dict[str, Callable[[str], Sequence[Evaluate]]]


def models_of(
    runs: Sequence[Run],
    beside: Sequence[str],
    datasets: Mapping[str, Dataset],
    *,
    protocol: str,
    resident: int = RESIDENT,
) -> Models:
    """By name the networks that `robustness.measure` measures under a condition.

    Args:
      runs: whose networks are seeds of one another; the first row.
      beside: NAME=RUN_DIR; `{pattern}` in RUN_DIR stands for the modalities that are present. Such
        a run is read when its turn comes, once.
      datasets: by name.
      protocol: of `PROTOCOLS`.
      resident: bytes of features up to which a split is kept on the devices.

    Raises:
      InputError: the data has one modality alone; an entry is no NAME=RUN_DIR, names a row twice,
        or has a pattern under another protocol; later, a run beside is of other tasks or words.
    """
    known = robustness.modalities_of(datasets)
    if len(known) < 2:
        raise InputError(
            f"--protocol: {', '.join(datasets)} has one modality, {', '.join(known)}, of which "
            "nothing can be missing; leave the flag away"
        )

    @functools.cache
    def others(directory: str) -> list[Evaluate]:
        run = Run(Path(directory), load_trained(directory))
        check_comparable(run, runs[0], RIVALS)
        return [evaluator(run, datasets, resident=resident)]

    def of_condition(place: str, condition: str) -> list[Evaluate]:
        return others(place.replace(PATTERN, condition))

    first = [evaluator(run, datasets, resident=resident) for run in runs]
    models: Models = {runs[0].label: lambda condition: first}
    for entry in beside:
        name, _, place = entry.partition("=")
        if not name or not place:
            raise InputError(f"--beside={entry}: expected NAME=RUN_DIR")
        if PATTERN in place and protocol != "patterns":
            raise InputError(f"--beside={entry} needs --protocol=patterns")
        if name in models:
            raise InputError(f"--beside={entry}: {name} is a row already; choose another name")
        place = os.path.expanduser(place)
        models[name] = functools.partial(of_condition, place)
    return models


def write_protocol(out: Path, split: str, protocol: str, measured: robustness.Robustness) -> None:
    """Writes `SPLIT_PROTOCOL.json`, `.md` and `.png` into a directory."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{split}_{protocol}.json"
    write_text(path, json.dumps(measured, indent=1))
    write_text(path.with_suffix(".md"), robustness.markdown(protocol, measured))
    with draft_of(path.with_suffix(".png")) as draft:
        robustness.figure(protocol, measured, draft)
