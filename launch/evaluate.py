"""Evaluates trained networks on the test split, which trainings and searches never read.

  python -m launch.evaluate --run_dir=runs/hazumi
  python -m launch.evaluate --run_dir=runs/found_0,runs/found_1 --ensemble=8 --out_dir=runs/found

Reads the selected network of every seed, or the best network of a search and with `--ensemble` its
best ones together. Several runs are rows of one table, named by `--beside` or by their directories;
those that differ in nothing but their seeds are one row. Prints a table with mean and standard
deviation over seeds and, with `--baselines`, where no network is better than a baseline. Writes
into OUT_DIR: `SPLIT.json` (raw values), `SPLIT.md` (the table) and, of the first row, `SPLIT.png`
(predictions against truth, and the gates of every level), `SPLIT_architecture.png` (the network
with its gate weights) and `SPLIT_predictions.csv` (every sample with its words, its prediction, and
that without each modality). In the last a leading `'` keeps spreadsheets from reading texts as
formulas.

  python -m launch.evaluate --run_dir=runs/hazumi --beside=recurrent=runs/recurrent --baselines
  python -m launch.evaluate --run_dir=runs/hazumi --protocol=utterance --baselines
  python -m launch.evaluate --run_dir=runs/hazumi --protocol=patterns \\
    --beside=plain=runs/plain,specialists=runs/only_{pattern}

With `--diagnose` also `SPLIT_diagnosis.json` and `.png`: how far predictions move without each
modality, expert, link and fusion operator, and how well shared and specific parts tell their
modality.

With a `--protocol` the split is read with modalities missing: `patterns` (each subset of them),
`utterance` (each modality of each utterance with a rate) or `frame` (each token with a rate), the
same ones for every model. OUT_DIR then gets `SPLIT_PROTOCOL.json`, `.md` and `.png`.

With `--others=mine=my_module:fit` predictions of your own are a row as well, with a protocol too:
`fit(dataset, task)` returns `predict(split)`.
"""

from pathlib import Path

from absl import flags
from tqdm import tqdm

import haemsa_datasets
from haemsa_jax.data.missing import PROTOCOLS, incomplete
from haemsa_jax.errors import InputError
from haemsa_jax.reporting import protocols, results, robustness, tables
from haemsa_jax.reporting.runs import (
    Contender,
    Run,
    incomplete_told,
    load_beside,
    load_contenders,
    parse_beside,
    splits_for,
    vectors_of,
)
from haemsa_jax.reporting.verdicts import chance, verdicts
from haemsa_jax.training.measurement.evaluation import check_unseen

from . import cli, others, program, recording, words

_RUN_DIR = flags.DEFINE_list(
    "run_dir",
    None,
    "Directory that launch.train or launch.evolve wrote; a comma list of several, a name with a "
    "comma in double quotes: '\"lr=1e-3,wd=0\"'.",
    required=True,
)
_OUT_DIR = flags.DEFINE_string("out_dir", None, "Where results go; by default the only RUN_DIR.")
_DATA_DIR = flags.DEFINE_string("data_dir", "data", "Directory of prepared data sets.")
_SPLIT = flags.DEFINE_enum("split", "test", ["test", "validation"], "Split to read.")
_BASELINES = flags.DEFINE_bool("baselines", False, "Also measure a constant and ridge regressions.")
_ENSEMBLE = flags.DEFINE_integer(
    "ensemble",
    0,
    "Also average predictions of so many networks (seeds, or bags of folds) of a run, of a search "
    "the best.",
)
_DIAGNOSE = flags.DEFINE_bool(
    "diagnose", False, "Also measure how far predictions move without each part of the network."
)
_PROTOCOL = flags.DEFINE_enum(
    "protocol", None, PROTOCOLS, "How modalities are missing; by default none are."
)
_MASK_SEED = flags.DEFINE_integer("mask_seed", 0, "Seed of what is missing under a --protocol.")
_BESIDE = flags.DEFINE_list(
    "beside",
    [],
    "NAME=RUN_DIR, a comma list of other runs to measure beside it, in double quotes where RUN_DIR "
    "has a comma; with --protocol=patterns {pattern} in RUN_DIR stands for the modalities that are "
    "present.",
)
others.define_flag()
cli.define_resident_flag()
recording.define_flags()
cli.define_encoder_flag()


def main() -> None:
    _check_flags()
    recording.check()
    split, resident = _SPLIT.value, flags.FLAGS.resident_mib << 20
    contenders = load_contenders(cli.listed("run_dir"))
    if not _PROTOCOL.value:
        contenders += _beside(contenders)
    for contender in contenders:
        for run in contender.runs:
            check_unseen(run.trained, split)
    runs = contenders[0].runs
    network, out = runs[0].network, Path(_OUT_DIR.value or _RUN_DIR.value[0])
    beside = others.from_flag()
    fitted = _BASELINES.value or _PROTOCOL.value or beside
    splits = splits_for(split, fitted=bool(fitted))
    loaded = {name: _load(name, splits, network.encoders) for name in network.widths}
    datasets = incomplete(loaded, runs[0].trained.experiment.train.train_missing)
    read = vectors_of(loaded, runs[0], _load, splits) if _BASELINES.value or beside else {}
    yardsticks = read if _BASELINES.value else None
    if _PROTOCOL.value:
        _evaluate_protocol(contenders, datasets, yardsticks or {}, out, beside)
        return
    evaluated = results.evaluate_runs(
        runs, datasets, split=split, ensemble=_ENSEMBLE.value, resident=resident
    )
    measured = {contenders[0].label: evaluated.tasks}
    for other in contenders[1:]:
        measured[other.label] = results.measure_runs(
            other.runs, datasets, split=split, ensemble=_ENSEMBLE.value, resident=resident
        )
    rows = results.results_of(
        measured,
        contenders,
        split=split,
        ensemble=_ENSEMBLE.value,
        yardsticks=yardsticks,
        best_possible=_best_possible,
    )
    rows = results.with_others(rows, beside, read, split=split)
    notes = incomplete_told(contenders)
    results.write_results(out, split, runs[0], evaluated, rows, notes)
    print(f"{', '.join(_RUN_DIR.value)}: {split} split\n\n{tables.text(rows)}")
    for sentence in (*verdicts(rows), *chance(evaluated.tasks), *notes):
        print(sentence)
    print(f"written: {out / split}.json, .md, .png, _architecture.png and _predictions.csv")
    recording.save(
        data=network.widths,
        split=split,
        selected=_selected(runs[0]),
        rows=rows,
        runs=[run.directory for contender in contenders for run in contender.runs],
        predictions={name: task.predictions for name, task in evaluated.tasks.items()},
    )
    if _DIAGNOSE.value:
        probe = results.write_diagnosis(out, split, runs[0], datasets)
        for name, values in probe.items():
            if values:
                print(f"{name} parts tell their modality: {tables.cell('accuracy', values)} %")
        print(f"written: {out / split}_diagnosis.json and .png")


def _selected(run: Run) -> str:
    return "groups out of fold" if run.trained.experiment.train.folds else "validation"


def _check_flags() -> None:
    if not _RUN_DIR.value:
        raise InputError("--run_dir is empty: name the directory of a run, or several")
    cli.listed("run_dir")
    if len(_RUN_DIR.value) > 1 and _OUT_DIR.value is None:
        raise InputError("--out_dir is missing: with several runs, name where results go")
    if _PROTOCOL.value and (_ENSEMBLE.value or _DIAGNOSE.value):
        raise InputError("--ensemble and --diagnose read all modalities: drop --protocol")


def _beside(contenders) -> list[Contender]:
    places = parse_beside(_BESIDE.value, [c.label for c in contenders], protocol=None)
    first = contenders[0].runs[0]
    return [load_beside(name, place, first) for name, place in places.items()]


def _load(name, splits, encoders):
    return words.load(name, _DATA_DIR.value, splits, cli.encoders_of(encoders))


def _best_possible(dataset: str, task: str) -> dict[str, float]:
    """Of generated data, which know it."""
    return haemsa_datasets.metadata(dataset, _DATA_DIR.value).get("bayes", {}).get(task, {})


def _evaluate_protocol(contenders, datasets, yardsticks, out: Path, beside) -> None:
    protocol, split, seed = _PROTOCOL.value, _SPLIT.value, _MASK_SEED.value
    models = protocols.models_of(
        contenders,
        _BESIDE.value,
        datasets,
        protocol=protocol,
        resident=flags.FLAGS.resident_mib << 20,
    )
    with tqdm(unit="condition", dynamic_ncols=True) as bar:

        def observe(model: str, condition: str) -> None:
            bar.set_description(f"{model}, {condition}")
            bar.update()

        measured = robustness.measure(
            models, datasets, split, protocol, seed, yardsticks, observe, beside
        )
    protocols.write_protocol(out, split, protocol, measured)
    print(protocols.text(split, protocol, seed, measured))
    for sentence in incomplete_told(contenders):
        print(sentence)
    print(f"written: {out / split}_{protocol}.json, .md and .png")
    recording.save(
        data=datasets,
        split=split,
        selected=_selected(contenders[0].runs[0]),
        rows=robustness.rows_of(protocol, measured),
        runs=protocols.directories_of(contenders, _BESIDE.value, datasets, protocol=protocol),
    )


def run() -> None:
    """The program as a command."""
    program.run(main)


if __name__ == "__main__":
    run()
