"""Runs that are measured together: read, checked to be comparable, made ready, and their data."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from haemsa_jax.config import EncoderSpec, NetworkConfig
from haemsa_jax.data import SPLITS, Dataset
from haemsa_jax.errors import InputError
from haemsa_jax.reporting.tables import model_label
from haemsa_jax.training.engine.streaming import RESIDENT
from haemsa_jax.training.measurement.evaluation import Evaluate, check_data, make_evaluate
from haemsa_jax.training.persistence.trained import Trained, load_trained

# load(name, splits, encoders): a data set, with vectors or tokens of its raw input.
Load = Callable[[str, Sequence[str], Mapping[str, EncoderSpec]], Dataset]
SEEDS = ("model", "tasks", "modalities", "encoders")  # in which seeds of one another agree
RIVALS = ("tasks", "encoders")  # in which networks that are compared agree


@dataclass(frozen=True)
class Run:
    """A directory and the networks that it holds."""

    directory: Path
    trained: Trained

    @property
    def network(self) -> NetworkConfig:
        """The configuration of the networks."""
        return self.trained.experiment.network

    @property
    def label(self) -> str:
        """The model's name in tables."""
        label, folds = model_label(self.network.model), self.trained.experiment.train.folds
        return f"{label}, bag of {folds}" if folds else label


def load_runs(directories: Sequence[Path]) -> list[Run]:
    """Runs whose networks count as seeds of one another.

    Args:
      directories: of trainings or searches.

    Raises:
      InputError: one holds no trained network, or another model, tasks, modalities or words than
        the first.
    """
    runs = [Run(directory, load_trained(directory)) for directory in directories]
    for run in runs:
        check_comparable(run, runs[0], SEEDS)
    return runs


def check_comparable(run: Run, first: Run, fields: Sequence[str]) -> None:
    """Refuses a run that differs from the first in a field of its configuration.

    Raises:
      InputError: it does.
    """
    for field in fields:
        ours, others = getattr(first.network, field), getattr(run.network, field)
        if others != ours:
            raise InputError(
                f"{run.directory} cannot be measured together with {first.directory}: {field} "
                f"{_shown(others)}, there {_shown(ours)}; measure them one by one"
            )


def _shown(value) -> str:
    if isinstance(value, Mapping) and any(isinstance(x, EncoderSpec) for x in value.values()):
        value = tuple(map(str, value.values()))
    return (", ".join(value) or "none") if isinstance(value, Mapping | tuple) else str(value)


def evaluator(
    run: Run, datasets: Mapping[str, Dataset], *, ensemble: int = 0, resident: int = RESIDENT
) -> Evaluate:
    """`make_evaluate` of a run, once its data are those it was trained on.

    Raises:
      InputError: they are not, or it holds fewer networks than the ensemble; with its directory.
    """
    try:
        check_data(run.trained.experiment, datasets)
        return make_evaluate(run.trained, None, ensemble, resident)
    except InputError as error:
        raise InputError(f"{run.directory}: {error}") from error


def splits_for(split: str, *, fitted: bool) -> tuple[str, ...]:
    """The splits that a measurement on one of them reads: no other test split than that asked for.

    Args:
      split: that is measured.
      fitted: whether yardsticks are fitted, or what is lost is replaced, from the training split.
    """
    return tuple(x for x in SPLITS if x == split or (fitted and x != "test"))


def vectors_of(
    datasets: Mapping[str, Dataset],
    network: NetworkConfig,
    load: Load,
    splits: Sequence[str] = SPLITS,
) -> dict[str, Dataset]:
    """The data as yardsticks read them: where a network reads numbers of tokens, vectors.

    Args:
      datasets: by name, as the network reads them.
      network: which may hold encoders; then those that are published make the vectors.
      load: reads a data set.
      splits: that are read.
    """
    frozen = {
        modality: dataclasses.replace(spec, mode="frozen") if spec.within else spec
        for modality, spec in network.encoders.items()
    }
    return {
        name: load(name, splits, frozen) if network.encoded(name) else dataset
        for name, dataset in datasets.items()
    }
