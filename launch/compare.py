"""Compares models on data sets: the same data, splits, seeds and budget of search for all.

  python -m launch.compare --plan=examples/compare.toml --run_dir=runs/compare

The plan is a TOML file:

  seeds = 5
  network = "--width=48"                     # flags of every network
  train = "--modality_dropout=0"             # flags of every training
  search = "--steps_total=20000"             # flags of every model's search; leave it away for none

  [data]                                     # a name of your own, and flags
  hazumi = "--tasks=hazumi:ui,hazumi:tc --past=8"

  [models]                                   # the model, or a row's name with --model, and flags
  haemsa = "--depth=1"
  recurrent = ""

Every model is trained as its flags say and, with a search, as the search found its genes, which
reads no test split either. What was stopped goes on with the same command. In the end the split is
read once: a table a task with paired differences to the best network, parameters, operations and
time; with --baselines where no network is better than one. Of several tasks, mean ranks over them
with Nemenyi's critical distance, and their picture. RUN_DIR gets `compare.json`, `.md` and `.png`;
with a --protocol of missing modalities also DATA/SPLIT_PROTOCOL.json, .md and .png.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import jax
from absl import flags
from tqdm import tqdm

from haemsa_jax.data.missing import PROTOCOLS, incomplete
from haemsa_jax.errors import InputError
from haemsa_jax.reporting import protocols, ranks, results, robustness, tables
from haemsa_jax.reporting.baselines import is_yardstick
from haemsa_jax.reporting.runs import (
    Contender,
    Run,
    check_comparable,
    incomplete_told,
    splits_for,
    vectors_of,
)
from haemsa_jax.reporting.verdicts import verdicts
from haemsa_jax.results import experiments, plan
from haemsa_jax.structure.size import size
from haemsa_jax.training.persistence.trained import load_trained
from haemsa_jax.version import __version__
from haemsa_jax.writing import draft_of, write_text

from . import cli, program, recording, words

_PLAN = flags.DEFINE_string("plan", None, "TOML file that says what is compared.", required=True)
_RUN_DIR = flags.DEFINE_string("run_dir", None, "Where runs and results go.", required=True)
_DATA_DIR = flags.DEFINE_string("data_dir", "data", "Directory of prepared data sets.")
_SPLIT = flags.DEFINE_enum("split", "test", ["test", "validation"], "Split to read.")
_BASELINES = flags.DEFINE_bool("baselines", False, "Also measure a constant and ridge regressions.")
_PROTOCOL = flags.DEFINE_enum(
    "protocol", None, PROTOCOLS, "Also measure with modalities missing in this way."
)
_MASK_SEED = flags.DEFINE_integer("mask_seed", 0, "Seed of what is missing under a --protocol.")
cli.define_resident_flag()
cli.define_encoder_flag()
recording.define_flags()


def main() -> None:
    recording.check()
    wanted = plan.read(Path(_PLAN.value))
    for name in filter(is_yardstick, wanted.models):
        raise InputError(f"{_PLAN.value}: {name!r} is the name of a baseline; choose another")
    planned = plan.cells(wanted, __package__)
    out = Path(_RUN_DIR.value).expanduser()
    minutes = _train(planned, out)
    rows: dict = {}
    costs: dict = {}
    missing: dict[str, robustness.Robustness] = {}
    notes: list[str] = []
    for data, row_names in planned.items():
        contenders = [_load(name, out / data / name) for name in row_names]
        for contender in contenders[1:]:
            check_comparable(contender.runs[0], contenders[0].runs[0])
        measured, partial = _measure(contenders, out / data)
        spent = {c.label: _cost(c.runs[0], minutes[data][c.name]) for c in contenders}
        rows |= {f"{data}/{task}": of_task for task, of_task in measured.items()}
        costs |= {f"{data}/{task}": spent for task in measured}
        missing |= {data: partial} if partial else {}
        notes += [f"{data}: {sentence}" for sentence in incomplete_told(contenders)]
    _show(rows, costs, missing, notes, out)
    recording.save(
        data=["compare"],
        split=_SPLIT.value,
        selected="validation",
        rows=rows,
        runs=[out / data / name for data, names in planned.items() for name in names],
    )


def _train(planned, out: Path) -> dict[str, dict[str, float]]:
    """Runs what is left of all cells; minutes by data and row."""
    todo = [(data, name) for data, row_names in planned.items() for name in row_names]
    minutes: dict[str, dict[str, float]] = {data: {} for data in planned}
    places = {"work": out, "data": Path(_DATA_DIR.value)}
    with tqdm(todo, unit="row", dynamic_ncols=True) as bar:
        for data, name in bar:
            cell = planned[data][name]
            bar.set_description(f"{data}, {name}")
            done = plan.fingerprint(cell, __version__)
            seconds = experiments.run(cell, places, done, lambda line: tqdm.write(f"  {line}"))
            minutes[data][name] = seconds / 60
    return minutes


def _load(name: str, directory: Path) -> Contender:
    return Contender(name, (Run(directory, load_trained(directory)),))


def _measure(contenders: list[Contender], out: Path):
    """By task and row, all metrics of every seed; and what a --protocol measures, or nothing."""
    first, split = contenders[0].runs[0], _SPLIT.value
    network, train = first.network, first.trained.experiment.train
    splits = splits_for(split, fitted=bool(_BASELINES.value or _PROTOCOL.value))
    loaded = {name: _data(name, splits, network.encoders) for name in network.widths}
    datasets = incomplete(loaded, train.train_missing)
    read = vectors_of(loaded, first, _data, splits) if _BASELINES.value else None
    resident = flags.FLAGS.resident_mib << 20
    measured = {
        contender.label: results.measure_runs(
            contender.runs, datasets, split=split, resident=resident
        )
        for contender in contenders
    }
    partial: robustness.Robustness = {}
    if _PROTOCOL.value:
        models = protocols.models_of(
            contenders, (), datasets, protocol=_PROTOCOL.value, resident=resident
        )
        partial = robustness.measure(
            models, datasets, split, _PROTOCOL.value, _MASK_SEED.value, read or {}
        )
        protocols.write_protocol(out, split, _PROTOCOL.value, partial)
    rows = results.results_of(measured, contenders, split=split, yardsticks=read)
    return {task: rows[task] for task in measured[contenders[0].label]}, partial


def _data(name, splits, encoders):
    return words.load(name, _DATA_DIR.value, splits, cli.encoders_of(encoders))


def _cost(run: Run, minutes: float) -> dict[str, float]:
    of = size(run.network, jax.tree.map(lambda x: x[0], run.trained.structures))
    return {"parameters": float(of.parameters), "FLOPs": float(of.flops), "minutes": minutes}


def _show(
    rows: tables.Results,
    costs,
    missing: Mapping[str, robustness.Robustness],
    notes: list[str],
    out: Path,
) -> None:
    of, split, protocol = ranks.ranks(rows), _SPLIT.value, _PROTOCOL.value
    shown, sentences = ranks.tables_of(rows, of, costs), [*verdicts(rows), *notes]
    path = out / "compare.json"
    links = [f"With modalities missing: [{x}]({x}/{split}_{protocol}.md)" for x in missing]
    below = "".join(f"\n{link}\n" for link in links)
    write_text(path, json.dumps({"results": rows, "costs": costs}, indent=1))
    write_text(
        path.with_suffix(".md"), tables.as_markdown(shown) + tables.paragraphs(sentences) + below
    )
    written = [f"{path} and .md"]
    if of.tasks > 1:
        written = [f"{path}, .md and .png"]
        with draft_of(path.with_suffix(".png")) as draft:
            ranks.figure(of, draft)
    else:  # of another plan
        path.with_suffix(".png").unlink(missing_ok=True)
    print("\n".join([f"{split} split\n\n{tables.as_text(shown)}", *sentences]))
    for data, partial in missing.items():
        print(f"\n{data}, {protocols.text(split, protocol, _MASK_SEED.value, partial)}")
        written.append(f"{out / data / split}_{protocol}.json, .md and .png")
    print(f"written: {'; '.join(written)}", flush=True)


def run() -> None:
    """The program as a command."""
    program.run(main)


if __name__ == "__main__":
    run()
