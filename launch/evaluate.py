"""Evaluates trained networks on the test split, which trainings and searches never read.

  python -m launch.evaluate --run_dir=runs/hazumi
  python -m launch.evaluate --run_dir=runs/found_0,runs/found_1 --ensemble=8 --out_dir=runs/found

Reads the selected network of every seed, or the best network of a search and with `--ensemble` its
best ones together; several runs count as seeds of one another. Prints a table with mean and
standard deviation over seeds, and writes into OUT_DIR: `SPLIT.json` (raw values), `SPLIT.md` (the
table), `SPLIT.png` (predictions against truth, and the gates of every level),
`SPLIT_architecture.png` (the network with its gate weights) and `SPLIT_predictions.csv` (every
sample with its words, what is predicted, and what would be without each modality).

  python -m launch.evaluate --run_dir=runs/hazumi --protocol=utterance --baselines
  python -m launch.evaluate --run_dir=runs/hazumi --protocol=patterns \\
    --beside=plain=runs/plain,specialists=runs/only_{pattern}

With `--diagnose` also `SPLIT_diagnosis.json` and `.png`: how far predictions move without each
modality, expert, link and fusion operator, and how well shared and specific parts tell their
modality.

With a `--protocol` the split is read with modalities missing: `patterns` (each subset of them),
`utterance` (each modality of each utterance with a rate) or `frame` (each token with a rate), the
same losses for every model. OUT_DIR then gets `SPLIT_PROTOCOL.json`, `.md` and `.png`.
"""

import dataclasses
import functools
import json
import os
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
from absl import flags
from tqdm import tqdm

import haemsa_datasets
from haemsa_jax.config import FUSION_OPERATORS, LOCAL_EXPERTS, NetworkConfig, dataset_of
from haemsa_jax.data import SPLITS, Dataset
from haemsa_jax.data.missing import PROTOCOLS, keep_modalities
from haemsa_jax.errors import InputError
from haemsa_jax.reporting import architecture, baselines, diagnosis, robustness, samples, tables
from haemsa_jax.reporting.figures import TaskReport, evaluation_figure
from haemsa_jax.training.checkpoint import Trained, load_trained
from haemsa_jax.training.evaluation import (
    Evaluate,
    TaskEvaluation,
    check_data,
    make_evaluate,
    pool,
)
from haemsa_jax.training.metrics import BY_CLASS
from launch import cli, words

_RUN_DIR = flags.DEFINE_list(
    "run_dir", None, "Directory that launch.train or launch.evolve wrote; a comma list of several.",
    required=True,
)  # fmt: skip
_OUT_DIR = flags.DEFINE_string("out_dir", None, "Where results go; by default the only RUN_DIR.")
_DATA_DIR = flags.DEFINE_string("data_dir", "data", "Directory of prepared data sets.")
_SPLIT = flags.DEFINE_enum("split", "test", ["test", "validation"], "Split to read.")
_BASELINES = flags.DEFINE_bool("baselines", False, "Also constant and ridge regression.")
_ENSEMBLE = flags.DEFINE_integer(
    "ensemble",
    0,
    "Also average predictions of so many networks of a run, of a search the best.",
)
_DIAGNOSE = flags.DEFINE_bool(
    "diagnose", False, "Also which part of the network, of the first RUN_DIR, says how much."
)
_PROTOCOL = flags.DEFINE_enum(
    "protocol", None, PROTOCOLS, "How modalities are missing; by default none are."
)
_MASK_SEED = flags.DEFINE_integer("mask_seed", 0, "Of what is missing under a protocol.")
_BESIDE = flags.DEFINE_list(
    "beside", [],
    "NAME=RUN_DIR, a comma list of other runs to measure under the same protocol; {pattern} in "
    "RUN_DIR stands for the modalities that are there.",
)  # fmt: skip
cli.define_resident_flag()


def main() -> None:
    directories, split = [Path(name) for name in _RUN_DIR.value], _SPLIT.value
    if not directories:
        raise InputError("--run_dir is empty: name the directory of a run, or several")
    if len(directories) > 1 and _OUT_DIR.value is None:
        raise InputError("--out_dir is missing: with several runs, name where results go")
    if _PROTOCOL.value and (_ENSEMBLE.value or _DIAGNOSE.value):
        raise InputError("--ensemble and --diagnose are about what is all there: drop --protocol")
    if _BESIDE.value and not _PROTOCOL.value:
        raise InputError("--beside is for a --protocol; without one, give several to --run_dir")
    out = Path(_OUT_DIR.value) if _OUT_DIR.value else directories[0]
    runs = [load_trained(directory) for directory in directories]
    network = runs[0].experiment.network
    for directory, run in zip(directories, runs, strict=True):
        _check_like(directory, run, network, "tasks", "modalities", "depth", "text")
    splits = SPLITS if _BASELINES.value or _PROTOCOL.value else (split,)
    datasets = {
        name: words.load(name, _DATA_DIR.value, splits, network.text) for name in network.widths
    }
    plain = _as_vectors(datasets, network) if _BASELINES.value else {}
    if _PROTOCOL.value:
        _missing(runs, datasets, plain, out)
        return
    evaluated, without, first = _read(runs, datasets)
    results = {task_id: {"HAEMSA": dict(task.metrics)} for task_id, task in evaluated.items()}
    for task_id, task in evaluated.items():
        if _ENSEMBLE.value:
            results[task_id][f"HAEMSA, ensemble of {_ENSEMBLE.value}"] = dict(task.ensemble)
        if _BASELINES.value:
            results[task_id] |= _yardsticks(plain[dataset_of(task_id)], task.spec.name)
            results[task_id] |= _known_best(task_id, task)
    by_class = {
        f"{task_id}, by class": _by_class(task) for task_id, task in evaluated.items()
        if task.classes
    }  # fmt: skip
    shown = {**results, **by_class}
    count = len(next(iter(evaluated.values())).predictions)
    names = ", ".join(map(str, directories))
    print(f"{names}: {split} split, {count} seed{'s' if count > 1 else ''}\n\n{tables.text(shown)}")
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{split}.json").write_text(json.dumps(shown, indent=1))
    (out / f"{split}.md").write_text(tables.markdown(shown), "utf-8")
    reports = [_report(task_id, task, network.modalities) for task_id, task in evaluated.items()]
    evaluation_figure(reports, out / f"{split}.png")
    # Searches find different architectures; the first of them is drawn, with its own gates.
    drawn = jax.tree.map(lambda x: np.asarray(x)[0], runs[0].architectures)
    gates = {task_id: task.gates for task_id, task in first.items()}
    weights = architecture.average(gates, drawn, network)
    architecture.figure(drawn, network, weights, out / f"{split}_architecture.png")
    samples.write(out / f"{split}_predictions.csv", evaluated, without)
    print(f"written: {out / split}.json, .md, .png, _architecture.png and _predictions.csv")
    if _DIAGNOSE.value:
        _diagnose(runs[0], datasets, out / f"{split}_diagnosis")


def _ready(directory: str, run: Trained, datasets: dict[str, Dataset]) -> Evaluate:
    try:
        check_data(run.experiment, datasets)
        return make_evaluate(run, None, _ENSEMBLE.value, flags.FLAGS.resident_mib << 20)
    except InputError as error:
        raise InputError(f"{directory}: {error}") from error


Tasks = dict[str, TaskEvaluation]


def _read(
    runs: list[Trained], datasets: dict[str, Dataset]
) -> tuple[Tasks, dict[str, Tasks], Tasks]:
    """Every task of the split as it is; by modality without that; as it is, of the first run."""
    each = [_ready(*named, datasets) for named in zip(_RUN_DIR.value, runs, strict=True)]
    splits = {name: dataset.splits[_SPLIT.value] for name, dataset in datasets.items()}

    def pooled(said: list[Tasks]) -> Tasks:
        return {task_id: pool([one[task_id] for one in said]) for task_id in said[0]}

    without = {}
    for modality in robustness.modalities_of(datasets):
        hidden = {
            name: keep_modalities(split, [m for m in split.masks if m != modality])
            for name, split in splits.items()
            if {modality} < {*split.masks}
        }
        if hidden:
            said = pooled([evaluate({**splits, **hidden}) for evaluate in each])
            without[modality] = {t: task for t, task in said.items() if dataset_of(t) in hidden}
    whole = [evaluate(splits) for evaluate in each]
    return pooled(whole), without, whole[0]


def _diagnose(run: Trained, datasets: dict[str, Dataset], path: Path) -> None:
    """Which part says how much, of the first run."""
    splits = {name: dataset.splits[_SPLIT.value] for name, dataset in datasets.items()}
    found = diagnosis.diagnose(run, splits)
    told = {
        task_id: {f"{level}/{part}": values for (level, part), values in parts.items()}
        for task_id, parts in found.influence.items()
    }
    path.with_suffix(".json").write_text(
        json.dumps({"influence": told, "probe": found.probe}, indent=1)
    )
    diagnosis.figure(found, path.with_suffix(".png"))
    for which, values in found.probe.items():
        if values:
            print(f"{which} parts tell their modality: {tables.cell('accuracy', values)} %")
    print(f"written: {path}.json and .png")


def _check_like(directory: Path | str, run: Trained, network: NetworkConfig, *fields: str) -> None:
    """Only networks on the same tasks and words may be measured together."""
    for field in fields:
        theirs, ours = getattr(run.experiment.network, field), getattr(network, field)
        if theirs != ours:
            said, wanted = (
                ", ".join(value) if isinstance(value, Mapping | tuple) else value
                for value in (theirs, ours)
            )
            raise InputError(
                f"{directory} cannot be measured together with {_RUN_DIR.value[0]}: {field} "
                f"{said}, there {wanted}; measure them one by one"
            )


def _as_vectors(datasets: dict[str, Dataset], network: NetworkConfig) -> dict[str, Dataset]:
    """What yardsticks read: of words the published encoder's vectors, never the tokens' numbers."""
    if network.text is None or not network.text.within:
        return datasets
    text = dataclasses.replace(network.text, mode="frozen")
    return {
        name: words.load(name, _DATA_DIR.value, SPLITS, text) if network.encodes(name) else dataset
        for name, dataset in datasets.items()
    }


def _missing(
    runs: list[Trained], datasets: dict[str, Dataset], plain: dict[str, Dataset], out: Path
) -> None:
    """Everything under a protocol of missing modalities."""
    protocol, split, network = _PROTOCOL.value, _SPLIT.value, runs[0].experiment.network
    known = robustness.modalities_of(datasets)
    if len(known) < 2:
        raise InputError(
            f"--protocol: {', '.join(datasets)} has one modality, {', '.join(known)}, of which "
            "nothing can be missing; leave the flag away"
        )

    @functools.cache
    def beside(directory: str) -> list[Evaluate]:
        run = load_trained(directory)
        _check_like(directory, run, network, "tasks", "text")
        return [_ready(directory, run, datasets)]

    ours = [_ready(*named, datasets) for named in zip(_RUN_DIR.value, runs, strict=True)]
    models = {"HAEMSA": lambda condition: ours}
    for entry in _BESIDE.value:
        name, _, place = entry.partition("=")
        if not name or not place:
            raise InputError(f"--beside={entry}: expected NAME=RUN_DIR")
        if "{pattern}" in place and protocol != "patterns":
            raise InputError(f"--beside={entry} needs --protocol=patterns")
        place = os.path.expanduser(place)
        models[name] = lambda condition, at=place: beside(at.replace("{pattern}", condition))
    with tqdm(unit="condition", dynamic_ncols=True) as bar:

        def observe(model: str, condition: str) -> None:
            bar.set_description(f"{model}, {condition}")
            bar.update()

        found = robustness.measure(
            models, datasets, split, protocol, _MASK_SEED.value, plain, observe
        )
    table = robustness.markdown(protocol, found)
    print(f"{split} split, protocol {protocol}, losses of seed {_MASK_SEED.value}\n\n{table}")
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{split}_{protocol}"
    path.with_suffix(".json").write_text(json.dumps(found, indent=1))
    path.with_suffix(".md").write_text(table, "utf-8")
    robustness.figure(protocol, found, path.with_suffix(".png"))
    print(f"written: {path}.json, .md and .png")


def _yardsticks(dataset, task: str) -> dict:
    measured = baselines.evaluate(dataset, task)
    return {
        row: {metric: [value] for metric, value in values.items()}
        for row, values in measured.items()
    }


def _by_class(task: TaskEvaluation) -> dict:
    """F1 of every class with the number of its samples."""
    if task.spec.kind == "multilabel":
        counts = task.truth.sum(axis=0).astype(int)
    else:
        counts = np.bincount(task.truth, minlength=task.spec.outputs)
    return {
        f"{name}, n = {count}": {BY_CLASS: values}
        for (name, values), count in zip(task.classes.items(), counts, strict=True)
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


if __name__ == "__main__":
    cli.run(main)
