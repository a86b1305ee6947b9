"""Results of runs on one split: measured, beside yardsticks, and written as files."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from haemsa_jax.config import dataset_of
from haemsa_jax.data import Dataset
from haemsa_jax.data.dataset import splits_of
from haemsa_jax.data.missing import keep_modalities
from haemsa_jax.reporting import architecture, baselines, diagnosis, samples, tables
from haemsa_jax.reporting.figures import TaskReport, evaluation_figure
from haemsa_jax.reporting.robustness import modalities_of
from haemsa_jax.reporting.runs import Contender, Run, evaluator
from haemsa_jax.reporting.verdicts import chance, verdicts
from haemsa_jax.structure.parts import declare
from haemsa_jax.tasks import kind_of
from haemsa_jax.tasks.metrics import BY_CLASS
from haemsa_jax.training.engine.streaming import RESIDENT
from haemsa_jax.training.measurement.evaluation import TaskEvaluation, pool
from haemsa_jax.writing import draft_of, write_text

ByTask = dict[str, TaskEvaluation]
# best_possible(dataset, task): metric -> value, empty where it is not known.
BestPossible = Callable[[str, str], Mapping[str, float]]


@dataclass(frozen=True)
class Evaluated:
    """Networks on one split.

    Attributes:
      tasks: by task id, over the seeds of all runs.
      without: by modality the same, with that modality absent from all samples.
      gates: by task id and gate float[parts], mean weights of the first run.
    """

    tasks: ByTask
    without: dict[str, ByTask]
    gates: dict[str, Mapping[str, np.ndarray]]


def evaluate_runs(
    runs: Sequence[Run],
    datasets: Mapping[str, Dataset],
    *,
    split: str,
    ensemble: int = 0,
    resident: int = RESIDENT,
) -> Evaluated:
    """All tasks of all runs, as they are and without each modality.

    Args:
      runs: whose networks are seeds of one another.
      datasets: by name, with the split.
      split: the split to read.
      ensemble: also average so many networks of each run.
      resident: bytes of features up to which a split is kept on the devices.

    Raises:
      InputError: as `evaluator` does.
    """
    evaluates = [evaluator(run, datasets, ensemble=ensemble, resident=resident) for run in runs]
    splits = splits_of(datasets, split)
    without = {}
    for modality in modalities_of(datasets):
        hidden = {
            name: keep_modalities(whole, [m for m in whole.masks if m != modality])
            for name, whole in splits.items()
            if {modality} < {*whole.masks}
        }
        if hidden:
            pooled = _pooled([evaluate({**splits, **hidden}) for evaluate in evaluates])
            without[modality] = {t: task for t, task in pooled.items() if dataset_of(t) in hidden}
    whole = [evaluate(splits) for evaluate in evaluates]
    gates = {task_id: task.gates for task_id, task in whole[0].items()}
    return Evaluated(_pooled(whole), without, gates)


def measure_runs(
    runs: Sequence[Run],
    datasets: Mapping[str, Dataset],
    *,
    split: str,
    ensemble: int = 0,
    resident: int = RESIDENT,
) -> ByTask:
    """All tasks of runs beside those that are looked at closely.

    Args:
      runs, datasets, split, ensemble, resident: as `evaluate_runs` takes them; no ensemble where a
        run holds fewer networks.
    """
    enough = all(run.trained.count >= ensemble for run in runs)
    count = ensemble if enough else 0
    evaluates = [evaluator(run, datasets, ensemble=count, resident=resident) for run in runs]
    return _pooled([evaluate(splits_of(datasets, split)) for evaluate in evaluates])


def _pooled(evaluated: Sequence[ByTask]) -> ByTask:
    return {task_id: pool([run[task_id] for run in evaluated]) for task_id in evaluated[0]}


def results_of(
    measured: Mapping[str, ByTask],
    contenders: Sequence[Contender],
    *,
    split: str,
    ensemble: int = 0,
    yardsticks: Mapping[str, Dataset] | None = None,
    best_possible: BestPossible = lambda dataset, task: {},
) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Results by task, and of tasks with classes by class of the first contender.

    Args:
      measured: by the contender's label.
      contenders: in the order of their rows.
      split: the split that was read, on which yardsticks are measured as well.
      ensemble: as `evaluate_runs` took it.
      yardsticks: the data sets as `runs.vectors_of` puts them; none to measure no yardsticks.
      best_possible: what nobody can beat, shown beside yardsticks where it is known.
    """
    results = {}
    first = measured[contenders[0].label]
    for task_id in first:
        rows: dict[str, dict[str, list[float]]] = {}
        for contender in contenders:
            rows |= _rows(contender, measured[contender.label][task_id], ensemble)
        if yardsticks is not None:
            name, task_name = dataset_of(task_id), first[task_id].spec.name
            fitted: dict[str, Mapping[str, float]] = {
                **baselines.evaluate(yardsticks[name], task_name, split=split)
            }
            best = best_possible(name, task_name)
            if best:
                fitted[tables.BEST_POSSIBLE] = best
            for row, values in fitted.items():
                rows[row] = {metric: [value] for metric, value in values.items()}
        results[task_id] = rows
    for task_id, task in first.items():
        if task.classes:
            results[f"{task_id}, by class"] = _by_class(task)
    return results


def _rows(contender: Contender, task: TaskEvaluation, ensemble: int):
    """Rows of one contender: each network, the bags or networks, and what is made of several."""
    name, label = contender.name, contender.label
    rows = {name + tables.ONE_NETWORK: dict(task.alone)} if any(task.alone.values()) else {}
    rows[label] = dict(task.metrics)
    if any(task.chosen.values()):
        rows[f"{name}, ensemble chosen out of fold"] = dict(task.chosen)
    if any(task.ensemble.values()):
        rows[f"{label}, ensemble of {ensemble}"] = dict(task.ensemble)
    return rows


def with_others(
    results: Mapping[str, dict[str, dict[str, list[float]]]],
    others: Mapping[str, baselines.Fit],
    datasets: Mapping[str, Dataset],
    *,
    split: str,
) -> dict[str, dict[str, dict[str, list[float]]]]:
    """The same results, with rows of predictions from anywhere.

    Args:
      results: what `results_of` returned.
      others: by name of its row what makes predictions of a data set and task.
      datasets: by name, with the split and those that the others read.
      split: the split that was read.

    Raises:
      InputError: a row of that name is there already, or predictions do not fit.
    """
    whole = {task_id: dict(rows) for task_id, rows in results.items()}
    for task_id, rows in whole.items():
        name, _, task = task_id.rpartition(":")
        if name not in datasets or task not in datasets[name].tasks:
            continue  # a table by class
        baselines.check_names(others, rows)
        dataset = datasets[name]
        for row, predict in baselines.fit_others(others, dataset, task).items():
            values = baselines.measure(dataset.tasks[task], predict, dataset.splits[split])
            rows[row] = {metric: [value] for metric, value in values.items()}
    return whole


def _by_class(task: TaskEvaluation) -> dict[str, dict[str, list[float]]]:
    """F1 of every class with the number of its samples."""
    counts = kind_of(task.spec.kind).class_counts(task.spec, task.truth)
    return {
        f"{name}, n = {count}": {BY_CLASS: values}
        for (name, values), count in zip(task.classes.items(), counts, strict=True)
    }


def write_results(
    out: Path,
    split: str,
    run: Run,
    evaluated: Evaluated,
    results: tables.Results,
    notes: Sequence[str] = (),
) -> None:
    """Writes `SPLIT.json`, `.md`, `.png`, `_architecture.png` and `_predictions.csv`.

    Args:
      out: directory, made where it is not there.
      split: its name.
      run: the first; searches find different architectures, and its first network is drawn.
      evaluated: what was measured.
      results: the rows of the tables.
      notes: further sentences below the tables.
    """
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / f"{split}.json", json.dumps(results, indent=1))
    sentences = [*verdicts(results), *chance(evaluated.tasks), *notes]
    write_text(out / f"{split}.md", tables.markdown(results) + tables.paragraphs(sentences))
    network = run.network
    reports = []
    for task_id, task in evaluated.tasks.items():
        mean, count = task.predictions.mean(axis=0), len(task.predictions)
        report = TaskReport(
            task_id, task.spec, task.truth, mean, count, declare(network), task.gates
        )
        reports.append(report)
    with draft_of(out / f"{split}.png") as draft:
        evaluation_figure(reports, draft)
    structure = jax.tree.map(lambda x: np.asarray(x)[0], run.trained.structures)
    with draft_of(out / f"{split}_architecture.png") as draft:
        architecture.figure(network, structure, evaluated.gates, draft)
    samples.write(out / f"{split}_predictions.csv", evaluated.tasks, evaluated.without)


def write_diagnosis(
    out: Path, split: str, run: Run, datasets: Mapping[str, Dataset]
) -> dict[str, Sequence[float]]:
    """Writes `SPLIT_diagnosis.json` and `.png`: how much depends on which part.

    Args:
      out: directory.
      split: the split to read.
      run: whose networks are diagnosed.
      datasets: by name, with the split.

    Returns:
      By kind of representation the share of vectors that tell their modality, a value a seed.
    """
    result = diagnosis.diagnose(run.trained, splits_of(datasets, split))
    influence = {
        task_id: {f"{level}/{part}": values for (level, part), values in parts.items()}
        for task_id, parts in result.influence.items()
    }
    path = out / f"{split}_diagnosis.json"
    write_text(path, json.dumps({"influence": influence, "probe": result.probe}, indent=1))
    with draft_of(path.with_suffix(".png")) as draft:
        diagnosis.figure(result, draft)
    return dict(result.probe)
