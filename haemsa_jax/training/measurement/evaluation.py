"""Evaluation: what selected networks say on a split, read once, and what their gates do."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import jax
import numpy as np

from haemsa_jax.config import TaskSpec, dataset_of
from haemsa_jax.data.dataset import Dataset, Split, splits_of
from haemsa_jax.errors import InputError
from haemsa_jax.tasks import kind_of
from haemsa_jax.training.engine import parallel
from haemsa_jax.training.engine.streaming import RESIDENT, host_splits, on_split
from haemsa_jax.training.measurement.prediction import EVALUATION_BATCH, make_predict
from haemsa_jax.training.measurement.scoring import measure, probabilities
from haemsa_jax.training.persistence.experiment import Experiment
from haemsa_jax.training.persistence.trained import Trained


@dataclass(frozen=True)
class TaskEvaluation:
    """One task on one split, over S networks, or bags of them, that are seeds of one another.

    Attributes:
      spec: the task.
      ids: names of the N labelled samples.
      words: what was said in each; empty where that is not known.
      group: int[N], the person, video or dialogue of each.
      truth: labels, [N] or [N, C].
      predictions: float64[S, N] in label units, or [S, N, C] probabilities (`TaskKind.readable`).
      metrics: per metric one value a seed.
      alone: per metric one value a network of the bags; empty lists where networks predict alone.
      chosen: per metric one value an ensemble that a search has chosen; else empty lists.
      ensemble: per metric one value an ensemble, of its members' mean prediction or probabilities;
        empty lists where none was asked for.
      classes: per class one F1 a seed; empty for a regression.
      gates: by name the mean weights over seeds and samples, float[parts].
    """

    spec: TaskSpec
    ids: Sequence[str]
    words: Sequence[str]
    group: np.ndarray
    truth: np.ndarray
    predictions: np.ndarray
    metrics: Mapping[str, list[float]]
    alone: Mapping[str, list[float]]
    chosen: Mapping[str, list[float]]
    ensemble: Mapping[str, list[float]]
    classes: Mapping[str, list[float]]
    gates: Mapping[str, np.ndarray]


Evaluate = Callable[[Mapping[str, Split]], dict[str, TaskEvaluation]]


def evaluate(
    trained: Trained,
    datasets: Mapping[str, Dataset],
    split: str = "test",
    devices: list[jax.Device] | None = None,
    ensemble: int = 0,
    resident: int = RESIDENT,
) -> dict[str, TaskEvaluation]:
    """All tasks of the networks of one run: every seed of a training, the best of a search.

    Args:
      trained: the networks.
      datasets: by name.
      split: the split to read.
      devices: local devices to spread samples over; all of them by default.
      ensemble: also average the predictions of the first so many networks, of a search the best.
      resident: bytes of features up to which a split is kept on the devices; a larger one is
        streamed.

    Raises:
      InputError: the data's modalities, tasks or division into splits are not those the networks
        were trained on, or there are fewer networks than the ensemble asks for.
    """
    check_data(trained.experiment, datasets)
    check_unseen(trained, split)
    of = make_evaluate(trained, devices, ensemble, resident)
    return of(splits_of(datasets, split))


def make_evaluate(
    trained: Trained,
    devices: list[jax.Device] | None = None,
    ensemble: int = 0,
    resident: int = RESIDENT,
) -> Evaluate:
    """The same for splits, by name of their data set: many of the same shapes, compiled once."""
    network = trained.experiment.network
    if not 0 <= ensemble <= trained.count:
        raise InputError(
            f"an ensemble of {ensemble} is asked for, but the run holds {trained.count}"
        )
    single = 1 if trained.ranked else trained.count
    chosen = trained.progress.get("ensemble", [])
    kept = trained.bags(max(single, ensemble, 1 + max(chosen, default=-1)))
    devices = devices or jax.local_devices()
    placed = parallel.replicate([kept.params, kept.constants, kept.structures], devices)
    everywhere = make_predict(network, EVALUATION_BATCH, devices)

    def of(splits):
        predict = {
            name: on_split(everywhere, network, split, name, devices, resident)
            for name, split in host_splits(network, splits).items()
        }
        return {
            task_id: _evaluate_task(
                task_id,
                task,
                placed,
                predict[dataset_of(task_id)],
                splits[dataset_of(task_id)],
                trained.size,
                {"single": single, "ensemble": ensemble, "chosen": chosen},
            )
            for task_id, task in network.tasks.items()
        }

    return of


def pool(evaluated: Sequence[TaskEvaluation]) -> TaskEvaluation:
    """The same task of several runs as one whose seeds are all of theirs."""
    first = evaluated[0]
    if any(other.ids != first.ids for other in evaluated):
        raise InputError(f"the runs were evaluated on different samples of {first.spec.name!r}")

    def joined(values):
        return {name: [x for v in values for x in v[name]] for name in first.metrics}

    return dataclasses.replace(
        first,
        predictions=np.concatenate([one.predictions for one in evaluated]),
        metrics=joined([one.metrics for one in evaluated]),
        alone=joined([one.alone for one in evaluated]),
        chosen=joined([one.chosen for one in evaluated]),
        ensemble=joined([one.ensemble for one in evaluated]),
        classes={
            name: [x for one in evaluated for x in one.classes[name]] for name in first.classes
        },
        gates=_pooled_gates(evaluated),
    )


def _pooled_gates(evaluated: Sequence[TaskEvaluation]) -> Mapping[str, np.ndarray]:
    """Mean gate weights over all seeds; of the first run where networks are built differently."""
    shapes = [{name: x.shape for name, x in one.gates.items()} for one in evaluated]
    if any(shape != shapes[0] for shape in shapes):
        return evaluated[0].gates
    weights = [len(one.predictions) for one in evaluated]
    return {
        name: np.average([one.gates[name] for one in evaluated], axis=0, weights=weights)
        for name in shapes[0]
    }


def _evaluate_task(task_id, task, placed, predict, split, size, which) -> TaskEvaluation:
    """Of one task; `which` bags count as seeds, are averaged, and were chosen by a search."""
    rows = np.flatnonzero(split.labelled[task.name])
    truth = split.labels[task.name][rows]
    outputs = predict(*placed, task_id, rows)
    networks = np.stack([probabilities(task, member) for member in outputs["prediction"]])
    # The networks of a bag predict together.
    bags = networks.reshape(-1, size, *networks.shape[1:]).mean(axis=1)
    single = which["single"]

    def measured(predictions: Iterable[np.ndarray]) -> dict[str, list[float]]:
        values = [measure(task, one, truth) for one in predictions]
        return {name: [value[name] for value in values] for name in task.metrics}

    by_seed = [kind_of(task.kind).class_f1(task, one, truth) for one in bags[:single]]
    averaged = [bags[: which["ensemble"]].mean(axis=0)] if which["ensemble"] else []
    chosen = [bags[which["chosen"]].mean(axis=0)] if which["chosen"] else []
    return TaskEvaluation(
        spec=task,
        ids=[split.ids[row] for row in rows],
        words=[split.words[row] if split.words else "" for row in rows],
        group=split.group[rows],
        truth=truth,
        predictions=bags[:single],
        metrics=measured(bags[:single]),
        alone=measured(networks[: single * size] if size > 1 else []),
        chosen=measured(chosen),
        ensemble=measured(averaged),
        classes={name: [values[name] for values in by_seed] for name in by_seed[0]},
        gates={name: x[: single * size].mean(axis=(0, 1)) for name, x in outputs["gates"].items()},
    )


def check_unseen(trained: Trained, split: str) -> None:
    """Networks of folds have trained on all samples but those of the test split.

    Raises:
      InputError: another split is to be read by such networks.
    """
    if trained.size > 1 and split != "test":
        raise InputError(
            f"split={split}: with folds={trained.size} the networks have trained on it; what each "
            "says of the fold that it has not seen is in the run's log.jsonl and report"
        )


def check_data(experiment: Experiment, datasets: Mapping[str, Dataset]) -> None:
    """A network reads only data of the widths, classes and splits that it was trained on."""
    network = experiment.network
    for name, widths in network.widths.items():
        if dict(datasets[name].widths) != dict(widths):
            raise InputError(
                f"{name}: the features are {dict(datasets[name].widths)} wide, the network was "
                f"trained on {dict(widths)}; prepare the data set it was trained on"
            )
        known = experiment.data.get(name, {}).get("partition")
        here = datasets[name].partition
        if known and here and known != here:
            raise InputError(
                f"{name}: the network was trained on another division into splits ({known}) than "
                f"is prepared ({here}), and may have seen what it would be evaluated on; prepare "
                "the data set it was trained on, or train again"
            )
    for task_id, task in network.tasks.items():
        own = datasets[dataset_of(task_id)].tasks.get(task.name)
        if own is None or (own.kind, own.classes) != (task.kind, task.classes):
            raise InputError(
                f"{task_id}: the network was trained on {task}, the data set has {own}; prepare "
                "the data set it was trained on"
            )
