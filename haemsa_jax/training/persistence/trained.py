"""Trained networks, in memory and as a run directory keeps them."""

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from haemsa_jax.config import is_encoder
from haemsa_jax.errors import InputError
from haemsa_jax.models import (
    constants_at,
    default_structure,
    fresh_variables,
    variables_of,
)
from haemsa_jax.training.engine.state import TrainState, init_params, init_state, stack
from haemsa_jax.training.persistence.checkpoint import BEST, Checkpoints
from haemsa_jax.training.persistence.experiment import Experiment, experiment_from_json


@dataclass(frozen=True)
class Trained:
    """Trained networks with everything that is needed to use them.

    Attributes:
      experiment: what was trained, and how.
      params, constants, structures: with a leading axis S, the networks of all seeds of a training
        or of all members of a search, those of one bag next to each other; the constants of
        encoders are there once.
      progress: where training ended and which step of each seed was selected; of a search, how many
        members there are.
    """

    experiment: Experiment
    params: dict
    constants: dict
    structures: Any
    progress: dict[str, Any]

    @property
    def ranked(self) -> bool:
        """Members of one search, the best first, rather than seeds that are all alike."""
        return "search" in self.experiment.origin

    @property
    def size(self) -> int:
        """Networks of a bag, which predict together: one a fold, or 1."""
        return self.experiment.train.networks

    @property
    def count(self) -> int:
        """How many bags there are: seeds of a training, or members of a search."""
        return len(jax.tree.leaves(self.structures)[0]) // self.size

    def bags(self, count: int) -> "Trained":
        """The first so many bags alone."""
        kept = slice(0, count * self.size)
        params, structures = jax.tree.map(lambda x: x[kept], (self.params, self.structures))
        constants = constants_at(self.constants, kept)
        return dataclasses.replace(self, params=params, constants=constants, structures=structures)

    def network(self, seed: int = 0, fold: int = 0) -> tuple[dict, Any]:
        """Variables and structure of one of them, as the network's `apply` takes them.

        Args:
          seed: place of its bag, 0 to `count` - 1.
          fold: its place in the bag, 0 to `size` - 1.
        """
        place = seed * self.size + fold
        params, structure = jax.tree.map(lambda x: x[place], (self.params, self.structures))
        return variables_of(params, constants_at(self.constants, place)), structure


def abstract_trees(
    experiment: Experiment, count: int | None = None
) -> tuple[TrainState, dict[str, Any]]:
    """Shapes of a training's `latest/` and of `best/`, from the configuration alone.

    Args:
      experiment: what is trained.
      count: bags of networks, where they are not the seeds.
    """
    network = experiment.network
    count = (count or experiment.train.seeds) * experiment.train.networks

    def make(key):
        _, constants = fresh_variables(network, key)
        params = init_params(network, experiment.train, key)
        member, structure = (
            init_state(network, experiment.train, params),
            default_structure(network),
        )
        own = {name: x for name, x in constants.items() if not is_encoder(name)}
        member, params, structure, own = stack((member, params, structure, own), count)
        return member, trained_tree(params, {**constants, **own}, structure)

    return jax.eval_shape(make, jax.random.key(0))


def trained_tree(params: dict, constants: dict, structures: Any) -> dict[str, Any]:
    """What selected networks are made of, as `best/` keeps them."""
    return {"params": params, "constants": constants, "structures": structures}


def load_experiment(directory: str | os.PathLike) -> Experiment:
    """What a run trained, without its weights.

    Raises:
      InputError: there is no such run, or it has not reached its first validation.
    """
    path = _best_of(directory)
    with Checkpoints(path, BEST, reads=True) as checkpoints:
        return _described(checkpoints, path)[0]


def load_trained(directory: str | os.PathLike) -> Trained:
    """The selected networks of a run, from its directory alone.

    Raises:
      InputError: there is no such run, or it has not reached its first validation.
    """
    path = _best_of(directory)
    with Checkpoints(path, BEST, reads=True) as checkpoints:
        experiment, metadata = _described(checkpoints, path)
        # A search keeps its members, a training one network a seed.
        count = metadata["progress"].get("members")
        tree = checkpoints.load(abstract_trees(experiment, count)[1])
    return Trained(experiment=experiment, progress=metadata["progress"], **tree)


def _best_of(directory: str | os.PathLike) -> Path:
    path = Path(directory)
    if not (path / BEST).is_dir():
        raise InputError(
            f"{path} holds no trained network: there is no {path / BEST}; name the run directory "
            "of launch.train, after its first validation"
        )
    return path


def _described(checkpoints: Checkpoints, path: Path) -> tuple[Experiment, dict[str, Any]]:
    """The experiment and all that stands beside it."""
    metadata = checkpoints.metadata()
    if metadata is None:
        raise InputError(f"{path / BEST} holds no complete checkpoint; train again")
    try:
        return experiment_from_json(metadata["experiment"]), metadata
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
