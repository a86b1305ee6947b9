"""What is trained and how: what must agree for a run to be resumed."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from haemsa_jax.config import (
    NetworkConfig,
    TrainConfig,
    from_json,
    network_from_json,
    to_json,
)
from haemsa_jax.errors import InputError

# What things that have a fingerprint are called, or where they lay.
PLACES = {"encoder", "provenance", "init_from", "weights"}


@dataclass(frozen=True)
class Experiment:
    """What is trained and how; all that must agree for a run to be resumed.

    Attributes:
      network, train: the configuration.
      origin: where structure and first weights come from, or the search that made them, as JSON
        values; empty for everything open and random weights.
      data: what the networks must know of their data, as `describe_data` returns it.
    """

    network: NetworkConfig
    train: TrainConfig
    origin: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, as they come back from a checkpoint."""
        return {
            "network": to_json(self.network),
            "train": to_json(self.train),
            "origin": dict(self.origin),
            "data": dict(self.data),
        }


def experiment_from_json(values: Mapping[str, Any]) -> Experiment:
    """Inverse of `Experiment.to_json`.

    Raises:
      InputError: something is missing or unknown, as where another version wrote it.
    """
    try:
        network = network_from_json(values["network"])
        train = from_json(TrainConfig, values["train"])
        return Experiment(network, train, dict(values["origin"]), dict(values["data"]))
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"its configuration lacks or garbles {error}: another version of haemsa_jax wrote it; "
            "train again, or use that version"
        ) from error


def check_same(directory: Path, saved: dict[str, Any], wanted: Experiment) -> None:
    """A run resumes only what it began.

    Raises:
      InputError: something differs. Names and folders of what has a fingerprint do not count.
    """
    asked = wanted.to_json()
    differences = list(_differences(saved, asked))
    # Rows of masks and queries are numbered by task.
    orders = [list(config["network"]["tasks"]) for config in (saved, asked)]
    if sorted(orders[0]) == sorted(orders[1]) and orders[0] != orders[1]:
        differences.append(
            f"network.tasks: {', '.join(orders[0])} there, {', '.join(orders[1])} asked"
        )
    if differences:
        raise InputError(
            f"{directory} holds a checkpoint of another configuration: {'; '.join(differences)}. "
            "Give the same flags to resume, another --run_dir, or --overwrite to begin anew"
            + _longer(directory, saved, wanted)
        )


def _longer(directory: Path, saved: Mapping[str, Any], wanted: Experiment) -> str:
    """How to go on where more epochs are asked for than the schedule was made for."""
    before, epochs = saved["train"]["epochs"], wanted.train.epochs
    if epochs <= before or "search" in {**saved["origin"], **wanted.origin}:
        return ""
    # Networks of folds would begin from one that has seen what judges them.
    start = "" if saved["train"]["folds"] else f" --init_from={shlex.quote(str(directory))}"
    return (
        f". The learning rate falls to 0 within the {before} epochs that were planned; for longer "
        f"training begin another run{' from there' * bool(start)}: "
        f"--epochs={epochs}{start} --run_dir=ANOTHER"
    )


def same_but_seeds(first: Experiment, second: Experiment) -> bool:
    """Whether networks of two runs are seeds of one another: all else of them agrees."""
    return not list(_differences(_without_seeds(first), _without_seeds(second)))


def _without_seeds(experiment: Experiment) -> dict[str, Any]:
    values = experiment.to_json()
    train = {k: value for k, value in values["train"].items() if k not in ("seed", "seeds")}
    return {**values, "train": train}


def _differences(saved: Any, wanted: Any, path: str = ""):
    """`name: saved -> wanted` of every leaf that differs."""
    if isinstance(saved, dict) and isinstance(wanted, dict):
        # Without a fingerprint, as earlier versions wrote some, names are all there is to compare.
        known = "fingerprint" in saved and "fingerprint" in wanted
        skipped = PLACES if known else {"fingerprint"}
        for name in sorted({*saved, *wanted} - skipped):
            inner = f"{path}.{name}" if path else name
            yield from _differences(saved.get(name), wanted.get(name), inner)
    elif _plain(saved) != _plain(wanted):
        yield f"{path}: {saved} there, {wanted} asked"


def _plain(value: Any) -> Any:
    """JSON has no tuples."""
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
