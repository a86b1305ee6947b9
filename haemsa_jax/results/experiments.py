"""The list of experiments, `reproduce.toml`, and how one is run again.

An experiment is a few commands, of which the last ones record results. What others made already (an
encoder, prepared data) is an experiment of its own that is needed.
"""

import json
import math
import os
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from haemsa_jax.errors import InputError
from haemsa_jax.regular import regular
from haemsa_jax.writing import draft_of, write_text

DONE = "done.json"
AGAIN = "the same command again goes on from here"


@dataclass(frozen=True)
class Experiment:
    """Commands and what they make.

    Attributes:
      name: such as `hazumi/main`; of one that records, its record's.
      groups: names by which it can be asked for.
      commands: launchers or modules with their flags; `{source}`, `{data}` and `{work}` stand for
        directories of raw data, prepared data and of all experiments' runs.
      minutes: that it took on two processor cores.
      records: results that it leaves, by default its own name.
      needs: experiments that come before.
      inputs: files or folders of raw data, relative to `{source}`.
      allowed: by how much the mean of a metric may differ from the kept one beyond two standard
        deviations over seeds.
      where: where inputs are to be had.
      pictures: by the picture of a page the file of which it is a copy, such as
        `{work}/hazumi/main/test.png`.
    """

    name: str
    groups: Sequence[str]
    commands: Sequence[str]
    minutes: float
    records: Sequence[str] | None = None
    needs: Sequence[str] = ()
    inputs: Sequence[str] = ()
    allowed: float = 0.0
    where: str = ""
    pictures: Mapping[str, str] = field(default_factory=dict)

    @property
    def recorded(self) -> Sequence[str]:
        """Names of the results that it leaves."""
        return [self.name] if self.records is None else self.records


def read(path: Path) -> dict[str, Experiment]:
    """All experiments by name.

    Raises:
      InputError: the file is not understood.
    """
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
        for wrong in [name for name, values in tables.items() if not isinstance(values, dict)]:
            raise InputError(f'{path}: {wrong} is no table; an experiment begins with ["NAME"]')
        experiments = {name: Experiment(name=name, **values) for name, values in tables.items()}
    except (OSError, tomllib.TOMLDecodeError, TypeError) as error:
        raise InputError(f"cannot read the experiments in {path}: {error}") from error
    for experiment in experiments.values():
        unknown = [name for name in experiment.needs if name not in experiments]
        if unknown:
            raise InputError(f"{path}: {experiment.name} needs {unknown[0]}, which is not there")
    return experiments


def chosen(
    experiments: Mapping[str, Experiment], groups: Sequence[str], only: Sequence[str]
) -> list[Experiment]:
    """Experiments of groups or names, each after those that it needs.

    Args:
      experiments: all.
      groups: `all` is every one.
      only: names, of experiments or of records that they leave.

    Raises:
      InputError: there is no such group or name.
    """
    known = dict.fromkeys(group for x in experiments.values() for group in x.groups)
    named = dict.fromkeys(name for x in experiments.values() for name in (x.name, *x.recorded))
    for name, names in ((groups, ["all", *known]), (only, named)):
        for wrong in [x for x in name if x not in names]:
            raise InputError(f"no experiment or group {wrong!r}; choose from {', '.join(names)}")
    wanted = [
        x.name
        for x in experiments.values()
        if {x.name, *x.recorded} & {*only} or "all" in groups or {*x.groups} & {*groups}
    ]
    order: dict[str, Experiment] = {}

    def add(name: str) -> None:
        for needed in experiments[name].needs:
            add(needed)
        order.setdefault(name, experiments[name])

    for name in wanted:
        add(name)
    return [*order.values()]


def missing(experiment: Experiment, source: Path) -> list[Path]:
    """Raw data that an experiment reads and that is not there."""
    return [source / name for name in experiment.inputs if not (source / name).exists()]


def run(
    experiment: Experiment,
    places: Mapping[str, Path],
    commit: str,
    observe: Callable[[str], None] = lambda command: None,
) -> float:
    """Runs what is not done at this commit yet; a second call goes on where the first was stopped.

    Args:
      experiment: to run.
      places: directories for `{source}`, `{data}`, `{work}` and `{results}`.
      commit: of the code.
      observe: called with each command before it runs.

    Returns:
      Seconds that its commands took, over all calls.

    Raises:
      InputError: a command fails.
    """
    path = places["work"] / experiment.name / DONE
    kept = _kept(path, commit)
    for number, command in enumerate(_commands(experiment, places)):
        if number < len(kept):
            continue
        observe(command)
        began = time.perf_counter()
        words = [sys.executable, "-m", *shlex.split(command)]
        try:
            done = subprocess.run(words, env=os.environ | {"PYTHONUNBUFFERED": "1"}, check=False)
        except KeyboardInterrupt:
            print(f"\n{experiment.name}: stopped; {AGAIN}", file=sys.stderr, flush=True)
            raise
        if done.returncode:
            raise InputError(
                f"{experiment.name}: `{command}` ended with status {done.returncode}; {AGAIN}"
            )
        kept = [*kept, round(time.perf_counter() - began, 1)]
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps({"commit": commit, "seconds": kept}))
    return sum(kept)


def keep_pictures(
    experiment: Experiment, places: Mapping[str, Path], root: Path, *, anew: bool
) -> list[Path]:
    """Copies what an experiment drew to the pages that show it; returns what was written.

    Args:
      experiment: that was run.
      places: as in `run`.
      root: that names of pictures are relative to.
      anew: whether pictures that are there are replaced.
    """
    written = []
    for name, source in experiment.pictures.items():
        if anew or not (root / name).exists():
            with draft_of(root / name) as draft:
                shutil.copyfile(_placed(source, places), draft)
            written.append(root / name)
    return written


def _commands(experiment: Experiment, places: Mapping[str, Path]) -> Iterator[str]:
    for command in experiment.commands:
        yield _placed(command, {name: shlex.quote(str(place)) for name, place in places.items()})


def _placed(text: str, places: Mapping[str, str | Path]) -> str:
    for name, place in places.items():
        text = text.replace(f"{{{name}}}", str(place))
    return text


def _kept(path: Path, commit: str) -> list[float]:
    """Seconds of the commands that are done at this commit; none where the file is damaged."""
    try:
        values = json.loads(regular(path).read_text("utf-8"))
        kept = [float(x) for x in values["seconds"]] if values["commit"] == commit else []
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return []
    return kept if all(map(math.isfinite, kept)) else []
