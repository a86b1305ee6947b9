"""The plan of a comparison of models: which, on which data, and with what budget of search."""

import hashlib
import re
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from haemsa_jax.errors import InputError
from haemsa_jax.regular import regular
from haemsa_jax.results.experiments import Experiment

SEARCHED = "searched"
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
FLAG = re.compile(r"--\w+(=.*)?", re.DOTALL)


@dataclass(frozen=True)
class Plan:
    """What is compared; flags are those of `launch.train` and `launch.evolve`.

    Attributes:
      data: by a name of your own, flags that name tasks and context.
      models: by the name of a row, flags of the network. The name is the model's, unless they have
        a `--model`.
      seeds: of every training.
      network: flags of every network.
      train: flags of every training.
      search: flags of every search, such as its budget; None for no search.
    """

    data: Mapping[str, str]
    models: Mapping[str, str]
    seeds: int = 5
    network: str = ""
    train: str = ""
    search: str | None = None


def read(path: Path) -> Plan:
    """A plan from a TOML file with the fields of `Plan`.

    Raises:
      InputError: the file is not understood.
    """
    try:
        values = tomllib.loads(regular(path).read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read the plan {path}: {error}") from error
    kinds = {"data": dict, "models": dict, "seeds": int, "network": str, "train": str}
    kinds["search"] = str
    for name, value in values.items():
        if name not in kinds:
            known = ", ".join(field.name for field in fields(Plan))
            raise InputError(f"{path}: {name!r} is no field of a plan; it has {known}")
        if not isinstance(value, kinds[name]) or isinstance(value, bool):
            raise InputError(f"{path}: {name} must be a {kinds[name].__name__}, not {value!r}")
        if isinstance(value, str):
            _check_flags(value, f"{path}: {name}")
    for table in ("data", "models"):
        entries = values.get(table, {})
        if not entries:
            raise InputError(f"{path}: [{table}] is missing or empty; name what is compared")
        for name, words in entries.items():
            if not NAME.fullmatch(name) or not isinstance(words, str):
                raise InputError(f"{path}: [{table}] {name!r} must be NAME = 'flags'")
            _check_flags(words, f"{path}: [{table}] {name}")
    if values.get("seeds", 1) < 1:
        raise InputError(f"{path}: seeds = {values['seeds']} must be at least 1")
    plan = Plan(**values)
    if plan.search is not None:
        for model in plan.models:
            for made in (f"{model}-{SEARCHED}", f"{model}-{SEARCHED}.search"):
                if made in plan.models:
                    raise InputError(
                        f"{path}: [models] {made} is where the search of {model} goes; rename it"
                    )
    return plan


def _check_flags(words: str, origin: str) -> None:
    """Another form than `--flag=value` could hide which model is meant."""
    try:
        wrong = [word for word in shlex.split(words) if not FLAG.fullmatch(word)]
    except ValueError as error:  # a quote is not closed
        raise InputError(f"{origin} = {words!r}: {error}") from error
    if wrong:
        raise InputError(f"{origin} = {words!r}: {wrong[0]!r} is no flag; write --flag=value")


def cells(plan: Plan, package: str) -> dict[str, dict[str, Experiment]]:
    """By data and row the commands that train its networks, into `{work}/DATA/ROW`.

    With a search every model has a second row: trained anew as its search found it.

    Args:
      plan: what is compared.
      package: that holds the launchers.
    """
    return {
        data: {
            row: experiment
            for model in plan.models
            for row, experiment in _rows(plan, package, data, model)
        }
        for data in plan.data
    }


def _rows(plan: Plan, package: str, data: str, model: str):
    own = plan.models[model]
    named = any(word.startswith("--model=") for word in shlex.split(own))
    where = "--data_dir={data} --run_dir={work}/" + f"{data}/"
    model_flag = "" if named else f"--model={model}"
    built = _joined(plan.data[data], plan.network, own, model_flag)
    trained = _joined(plan.train, f"--seeds={plan.seeds}")
    plain = f"{package}.train {built} {trained} {where}{model}"
    yield model, Experiment(f"{data}/{model}", (), (plain,), 0.0)
    if plan.search is not None:
        row = f"{model}-{SEARCHED}"
        searched = f"{row}.search"
        options = _joined(built, plan.search, "--noyardstick")
        search = f"{package}.evolve {options} {where}{searched}"
        best = "--genome={work}/" + f"{data}/{searched}/best.json"
        again = f"{package}.train {best} {trained} {where}{row}"
        yield row, Experiment(f"{data}/{row}", (), (search, again), 0.0)


def _joined(*flags: str) -> str:
    """Those that are there, a blank between two."""
    return " ".join(filter(None, map(str.strip, flags)))


def fingerprint(experiment: Experiment, version: str) -> str:
    """Of the commands: what they made is made again where they change."""
    return hashlib.sha256("\n".join([version, *experiment.commands]).encode()).hexdigest()
