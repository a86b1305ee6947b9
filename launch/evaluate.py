"""Evaluates trained networks on the test split, which only this program reads.

  python -m launch.evaluate --run_dir=runs/hazumi

Reads the selected network of every seed, prints a table with mean and standard deviation over
seeds, and writes into RUN_DIR: `SPLIT.json` (raw values), `SPLIT.md` (the table), `SPLIT.png`
(predictions against truth, and the gates of every level) and `SPLIT_predictions.csv`.
"""

import csv
import json
from pathlib import Path

from absl import flags

import haemsa_datasets
from haemsa_jax.config import FUSION_OPERATORS, LOCAL_EXPERTS, dataset_of
from haemsa_jax.data import SPLITS
from haemsa_jax.reporting import baselines, tables
from haemsa_jax.reporting.figures import TaskReport, evaluation_figure
from haemsa_jax.training.checkpoint import load_trained
from haemsa_jax.training.evaluation import TaskEvaluation, evaluate
from launch import cli

_RUN_DIR = flags.DEFINE_string("run_dir", None, "Directory that launch.train wrote.")
_DATA_DIR = flags.DEFINE_string("data_dir", "data", "Directory of prepared data sets.")
_SPLIT = flags.DEFINE_enum("split", "test", ["test", "validation"], "Split to read.")
_BASELINES = flags.DEFINE_bool("baselines", False, "Also constant and ridge regression.")


def main() -> None:
    directory, split = Path(_RUN_DIR.value), _SPLIT.value
    trained = load_trained(directory)
    network, seeds = trained.experiment.network, trained.experiment.train.seeds
    splits = SPLITS if _BASELINES.value else (split,)
    datasets = {
        name: haemsa_datasets.load(name, _DATA_DIR.value, splits) for name in network.widths
    }
    evaluated = evaluate(trained, datasets, split)
    results = {task_id: {"HAEMSA": dict(task.metrics)} for task_id, task in evaluated.items()}
    if _BASELINES.value:
        for task_id, task in evaluated.items():
            results[task_id] |= _yardsticks(datasets[dataset_of(task_id)], task.spec.name)
            results[task_id] |= _known_best(task_id, task)
    print(f"{directory}: {split} split, {seeds} seeds\n\n{tables.text(results)}")
    (directory / f"{split}.json").write_text(json.dumps(results, indent=1))
    (directory / f"{split}.md").write_text(tables.markdown(results))
    reports = [_report(task_id, task, network.modalities) for task_id, task in evaluated.items()]
    evaluation_figure(reports, directory / f"{split}.png")
    _write_predictions(directory / f"{split}_predictions.csv", evaluated)
    print(f"written: {directory / split}.json, .md, .png and _predictions.csv")


def _yardsticks(dataset, task: str) -> dict:
    measured = baselines.evaluate(dataset, task)
    return {
        row: {metric: [value] for metric, value in values.items()}
        for row, values in measured.items()
    }


def _known_best(task_id: str, task: TaskEvaluation) -> dict:
    """What nobody can beat, where the data set knows it (generated data)."""
    about = haemsa_datasets.metadata(dataset_of(task_id), _DATA_DIR.value)
    best = about.get("bayes", {}).get(task.spec.name)
    return {"best possible": {name: [value] for name, value in best.items()}} if best else {}


def _report(task_id: str, task: TaskEvaluation, modalities: tuple[str, ...]) -> TaskReport:
    return TaskReport(
        task_id, task.spec, task.truth, task.predictions.mean(axis=0), len(task.predictions),
        modalities, LOCAL_EXPERTS, FUSION_OPERATORS, **task.gates,
    )  # fmt: skip


def _write_predictions(path: Path, evaluated: dict[str, TaskEvaluation]) -> None:
    """One row a sample, task and seed."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["task", "id", "seed", "truth", "prediction"])
        for task_id, task in evaluated.items():
            for number, predictions in enumerate(task.predictions):
                for name, truth, said in zip(task.ids, task.truth, predictions, strict=True):
                    writer.writerow([task_id, name, number, truth.tolist(), said.tolist()])


if __name__ == "__main__":
    flags.mark_flag_as_required("run_dir")
    cli.run(main)
