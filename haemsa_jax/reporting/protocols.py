"""Runs and others beside them under a protocol of missing modalities: measured and written."""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from haemsa_jax.data import Dataset
from haemsa_jax.errors import InputError
from haemsa_jax.reporting import robustness, tables
from haemsa_jax.reporting.runs import (
    PATTERN,
    Contender,
    evaluator,
    load_beside,
    parse_beside,
)
from haemsa_jax.training.engine.streaming import RESIDENT
from haemsa_jax.training.measurement.evaluation import Evaluate
from haemsa_jax.writing import draft_of, write_text

Models = dict[str, Callable[[str], Sequence[Evaluate]]]


def models_of(
    contenders: Sequence[Contender],
    beside: Sequence[str],
    datasets: Mapping[str, Dataset],
    *,
    protocol: str,
    resident: int = RESIDENT,
) -> Models:
    """By name the networks that `robustness.measure` measures under a condition.

    Args:
      contenders: the first rows.
      beside: as `parse_beside` takes them. Such a run is read when its turn comes, once.
      datasets: by name.
      protocol: of `PROTOCOLS`.
      resident: bytes of features up to which a split is kept on the devices.

    Raises:
      InputError: the data has one modality alone, or as `parse_beside`; later, a run beside is of
        other tasks or words.
    """
    known = robustness.modalities_of(datasets)
    if len(known) < 2:
        raise InputError(
            f"--protocol: {', '.join(datasets)} has one modality, {', '.join(known)}, of which "
            "nothing can be missing; leave the flag away"
        )
    places = parse_beside(beside, [c.label for c in contenders], protocol=protocol)

    def ready(contender: Contender) -> list[Evaluate]:
        return [evaluator(run, datasets, resident=resident) for run in contender.runs]

    @functools.cache
    def others(name: str, directory: str) -> list[Evaluate]:
        return ready(load_beside(name, directory, contenders[0].runs[0]))

    def of_condition(name: str, place: str, condition: str) -> list[Evaluate]:
        return others(name, place.replace(PATTERN, condition))

    models: Models = {}
    for contender in contenders:
        first = ready(contender)
        models[contender.label] = functools.partial(lambda made, condition: made, first)
    for name, place in places.items():
        models[name] = functools.partial(of_condition, name, place)
    return models


def directories_of(
    contenders: Sequence[Contender],
    beside: Sequence[str],
    datasets: Mapping[str, Dataset],
    *,
    protocol: str,
) -> list[Path]:
    """Directories of all runs that `models_of` reads, under any condition."""
    names = robustness.conditions(protocol, robustness.modalities_of(datasets))
    places = parse_beside(beside, [c.label for c in contenders], protocol=protocol).values()
    return [
        *(run.directory for contender in contenders for run in contender.runs),
        *(Path(place.replace(PATTERN, name)) for place in places for name in names),
    ]


def text(split: str, protocol: str, seed: int, measured: robustness.Robustness) -> str:
    """Tables for the terminal, below what was measured: the seed is that of what is missing."""
    table = tables.as_text(robustness.tables_of(protocol, measured))
    return f"{split} split, protocol {protocol}, masks of seed {seed}\n\n{table}"


def write_protocol(out: Path, split: str, protocol: str, measured: robustness.Robustness) -> None:
    """Writes `SPLIT_PROTOCOL.json`, `.md` and `.png` into a directory."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{split}_{protocol}.json"
    write_text(path, json.dumps(measured, indent=1))
    write_text(path.with_suffix(".md"), robustness.markdown(protocol, measured))
    with draft_of(path.with_suffix(".png")) as draft:
        robustness.figure(protocol, measured, draft)
