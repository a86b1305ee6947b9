"""A whole search in one call, on data sets of arrays as on any."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from haemsa_jax.config import NetworkConfig, TrainConfig, to_json
from haemsa_jax.data import Dataset
from haemsa_jax.data.description import describe_data
from haemsa_jax.evolution import outcome
from haemsa_jax.evolution.genome import describe
from haemsa_jax.evolution.problem import make_problem, search_data
from haemsa_jax.evolution.run import run_search
from haemsa_jax.evolution.search import make_search
from haemsa_jax.evolution.state import SearchConfig, SearchResult
from haemsa_jax.training.engine import budget
from haemsa_jax.training.engine.drawing import batch_sizes, label_counts, steps_per_epoch
from haemsa_jax.training.persistence.experiment import Experiment
from haemsa_jax.training.persistence.trained import Trained


@dataclass(frozen=True)
class Evolved:
    """What a search found.

    Attributes:
      result: genomes, costs and history.
      trained: the members that are left, the best first, as `evaluate` and `Predictor` take them.
    """

    result: SearchResult
    trained: Trained

    def describe(self) -> str:
        """What the best genome says, in words."""
        experiment = self.trained.experiment
        return describe(experiment.network, experiment.train, self.result.genome)


def evolve(
    network: NetworkConfig,
    train: TrainConfig,
    config: SearchConfig,
    datasets: Mapping[str, Dataset],
    directory: str | os.PathLike | None = None,
    *,
    patterns: Sequence[Sequence[str]] | None = None,
    devices: list[jax.Device] | None = None,
    observe: Callable[[dict[str, Any]], None] = lambda row: None,
) -> Evolved:
    """Searches structure and training of a network.

    Args:
      network: the supernet.
      train: the training of its members; `folds` says how they are judged.
      config: of the search.
      datasets: by name, with the splits train and validation; no other is read.
      directory: where `best.json`, `history.npz`, `best/` and what a stopped search goes on from
        are kept; without one nothing is written, and nothing observed.
      patterns: modalities that are there, as `make_problem` takes them.
      devices: to spread members over; all local ones by default.
      observe: called between rounds, as `run_search` says; `reporting.progress.SearchBar` is one.

    Raises:
      InputError: the data have too few groups for the folds, the directory holds another search, or
        all members diverged.
    """
    data = search_data(network, train, datasets)
    counts = label_counts(network, data["train"])
    train = budget.fitted(train, counts)
    per_epoch = steps_per_epoch(counts, batch_sizes(counts, train))
    # A genome is trained anew as long as the search has trained its line.
    epochs = max(1, round(config.schedule / per_epoch))
    train = dataclasses.replace(train, epochs=epochs, evaluate_every=0)
    problem = make_problem(network, train, config, patterns)
    search = make_search(problem, config, devices)
    agreed = {name: value for name, value in to_json(config).items() if name != "abreast"}
    origin = {"search": agreed, "patterns": [list(pattern) for pattern in patterns or ()]}
    experiment = Experiment(network, train, origin, describe_data(datasets))
    key = jax.random.key(train.seed)
    if directory is None:
        result = search(key, data)
    else:
        result = run_search(search, key, data, directory, experiment, observe=observe)
    trained = outcome.population(result, experiment, data["constants"])
    if directory is not None:
        outcome.save(Path(directory), result, trained, problem.objectives)
    return Evolved(result, trained)
