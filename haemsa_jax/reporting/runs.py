"""Runs that are measured together: read, checked to be comparable, made ready, and their data."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from haemsa_jax.config import EncoderSpec, NetworkConfig
from haemsa_jax.data import SPLITS, Dataset
from haemsa_jax.data.missing import incomplete
from haemsa_jax.errors import InputError
from haemsa_jax.reporting.tables import model_label, row_label
from haemsa_jax.training.engine.streaming import RESIDENT
from haemsa_jax.training.measurement.evaluation import Evaluate, check_data, make_evaluate
from haemsa_jax.training.persistence.experiment import same_but_seeds
from haemsa_jax.training.persistence.trained import Trained, load_trained

# load(name, splits, encoders): a data set, with vectors or tokens of its raw input.
Load = Callable[[str, Sequence[str], Mapping[str, EncoderSpec]], Dataset]
AGREE = ("tasks", "encoders")  # in which networks that are compared must agree
PATTERN = "{pattern}"


@dataclass(frozen=True)
class Run:
    """A directory and the networks that it holds."""

    directory: Path
    trained: Trained

    @property
    def network(self) -> NetworkConfig:
        """The configuration of the networks."""
        return self.trained.experiment.network


@dataclass(frozen=True)
class Contender:
    """Runs whose networks are seeds of one another: one row of a table.

    Attributes:
      name: of the networks, without what is made of them.
      runs: one or several.
    """

    name: str
    runs: tuple[Run, ...]

    @property
    def label(self) -> str:
        """Of its row."""
        folds = self.runs[0].trained.experiment.train.folds
        return f"{self.name}, bag of {folds}" if folds else self.name


def load_contenders(directories: Sequence[Path]) -> list[Contender]:
    """Runs as rows: those that differ in their seeds, and in nothing else, are one.

    A row has the model's name, and its directory's as well where several have the same model.

    Args:
      directories: of trainings or searches.

    Raises:
      InputError: one holds no trained network, or of other tasks or words than the first.
    """
    alike: list[list[Run]] = []
    for directory in directories:
        run = Run(directory, load_trained(directory))
        if alike:
            check_comparable(run, alike[0][0])
        own = (of for of in alike if _pools(of, run))
        if (of := next(own, None)) is None:
            alike.append([run])
        else:
            of.append(run)
    labels = [model_label(of[0].network.model) for of in alike]
    names = [
        f"{label} of {of[0].directory}" if labels.count(label) > 1 else label
        for label, of in zip(labels, alike, strict=True)
    ]
    return [Contender(name, tuple(of)) for name, of in zip(names, alike, strict=True)]


def _pools(runs: Sequence[Run], run: Run) -> bool:
    """Whether a run's networks are further seeds of those: no seed counts twice."""
    own = run.trained.experiment
    pools = [other.trained.experiment.train for other in runs]
    taken = {seed for pool in pools for seed in range(pool.seed, pool.seed + pool.seeds)}
    again = taken & {*range(own.train.seed, own.train.seed + own.train.seeds)}
    return not again and same_but_seeds(runs[0].trained.experiment, own)


def parse_beside(
    entries: Sequence[str], taken: Sequence[str], *, protocol: str | None
) -> dict[str, str]:
    """Directories of runs that are measured beside others, by the name of their row.

    Args:
      entries: NAME=RUN_DIR; `{pattern}` in RUN_DIR stands for the modalities that are present.
      taken: names of rows.
      protocol: of `PROTOCOLS`, or None.

    Raises:
      InputError: an entry is no NAME=RUN_DIR, names a row twice, or has a pattern under another
        protocol.
    """
    places: dict[str, str] = {}
    for entry in entries:
        name, _, place = entry.partition("=")
        if not name or not place:
            raise InputError(f"--beside={entry}: expected NAME=RUN_DIR")
        if PATTERN in place and protocol != "patterns":
            raise InputError(f"--beside={entry} needs --protocol=patterns")
        if name in taken or name in places:
            raise InputError(f"--beside={entry}: {name} is a row already; choose another name")
        places[name] = os.path.expanduser(place)
    return places


def load_beside(name: str, place: str, first: Run) -> Contender:
    """A run that is measured beside another.

    Raises:
      InputError: it holds no trained network, or of other tasks or words.
    """
    run = Run(Path(place), load_trained(place))
    check_comparable(run, first)
    return Contender(name, (run,))


def check_comparable(run: Run, first: Run) -> None:
    """Refuses a run of other tasks or words than the first.

    Raises:
      InputError: it is.
    """
    for field in AGREE:
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


def incomplete_told(contenders: Sequence[Contender]) -> list[str]:
    """A sentence where training splits had lost something: what, and whose baselines read."""
    lost = {
        row_label(contender.label): contender.runs[0].trained.experiment.train.train_missing
        or "nothing"
        for contender in contenders
    }
    if {*lost.values()} == {"nothing"}:
        return []
    each = ", ".join(f"{label} {what}" for label, what in lost.items())
    return [
        f"Training splits had lost for good (train_missing): {each}; baselines are fitted on that "
        f"of {next(iter(lost))}."
    ]


def vectors_of(
    datasets: Mapping[str, Dataset],
    run: Run,
    load: Load,
    splits: Sequence[str] = SPLITS,
) -> dict[str, Dataset]:
    """The data as baselines read them: where a network reads numbers of tokens, vectors.

    Args:
      datasets: by name, as the network reads them.
      run: whose network may hold encoders; then those that are published make the vectors. What its
        training split had lost is lost here, too.
      load: reads a data set.
      splits: that are read.
    """
    frozen = {
        modality: dataclasses.replace(spec, mode="frozen") if spec.within else spec
        for modality, spec in run.network.encoders.items()
    }
    read = {
        name: load(name, splits, frozen) if run.network.encoded(name) else dataset
        for name, dataset in datasets.items()
    }
    return incomplete(read, run.trained.experiment.train.train_missing)
