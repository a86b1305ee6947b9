"""What each idea is worth: trains an evolved network whole, and without one idea at a time.

  python -m launch.evolve --tasks=hazumi --past=8 --run_dir=runs/found
  python -m launch.ablate --genome=runs/found/best.json --seeds=5 --epochs=7 --run_dir=runs/ablated

Each is trained from random weights on the same batches, for as many steps (fewer where --patience
ends one), with the same seeds: `hierarchy` has one level of experts, as wide as makes up for the
others' parameters; `evolution` the default architecture and the training that the search started
from; `transfer` no cross-modal transfer (links, imputed parts, distillation); `multitask` one
network a task. Validation selects; the test split is read once everything is trained, with all
modalities and with every subset of them. --genome takes several genomes, such as of several data
sets. The same command again resumes.

RUN_DIR holds a run of launch.train for each, and `ablation.md` (metrics, paired differences and
their confidence intervals), `ablation.png` and `ablation.json` (raw values).
"""

import functools
import json
from pathlib import Path

from absl import flags

from haemsa_jax.config import TrainConfig, dataset_of, slug
from haemsa_jax.data import SPLITS, Dataset
from haemsa_jax.errors import InputError
from haemsa_jax.evolution.outcome import SavedGenome, check_fits, read_genome
from haemsa_jax.reporting import ablation, robustness
from haemsa_jax.reporting.progress import TrainingBar
from haemsa_jax.reporting.tables import Tables, as_markdown
from haemsa_jax.structure.ablation import (
    ABLATIONS,
    WHOLE,
    Variant,
    ablate,
    possible,
    specialised,
)
from haemsa_jax.training.engine.loop import Start, make_train
from haemsa_jax.training.measurement.evaluation import make_evaluate
from haemsa_jax.training.persistence.trained import load_trained
from haemsa_jax.writing import draft_of, write_text

from . import cli, program, recording, tasks, words
from .interrupt import Interrupt

flags.DEFINE_list(
    "genome",
    None,
    "File of structure and training that launch.evolve found (a genome), such as best.json; a "
    "comma list of several, a name with a comma in double quotes.",
    required=True,
)
_ABLATE = flags.DEFINE_list(
    "ablate",
    None,
    f"What is taken away, one at a time, of {', '.join(ABLATIONS)}; by default all, but multitask "
    "where there is one task.",
)
tasks.define_flags()
cli.define_training_flags()
recording.define_flags()


def main() -> None:
    recording.check()
    devices, genomes = cli.devices(), [read_genome(path) for path in cli.listed("genome")]
    for name in _ABLATE.value or ():
        if name not in ABLATIONS:
            raise InputError(f"--ablate={name} is unknown; choose from {', '.join(ABLATIONS)}")
    places = [slug("+".join(source.experiment.network.widths)) for source in genomes]
    if len({*places}) < len(places):
        raise InputError(f"--genome: two genomes are on the same data sets, {', '.join(places)}")
    prepared = [_variants(source, len(devices)) for source in genomes]
    measured, counted = {}, {}
    directory = cli.run_directory(*(source.path for source in genomes))
    with Interrupt() as interrupt:
        for (variants, datasets), place in zip(prepared, places, strict=True):
            for model, networks in variants.items():
                for number, variant in enumerate(networks):
                    into = directory / place / _named(model, number)
                    progress = _train(variant, datasets, into, devices, interrupt)
                    cli.note_command(directory)
                    if interrupt():
                        at = f"{into}, step {progress['step']} of {progress['total']}"
                        interrupt.end(f"in {at}")
                    row = counted.setdefault(place, {}).setdefault(model, [])
                    row.append({"parameters": variant.parameters, "steps": progress["step"]})
            runs = {
                ABLATIONS.get(model, model): [
                    directory / place / _named(model, number) for number in range(len(networks))
                ]
                for model, networks in variants.items()
            }
            for task_id, models in _measure(runs, datasets).items():
                # Several networks may do the same task.
                measured[f"{task_id} ({place})" if len(places) > 1 else task_id] = models
    _write(directory, measured, counted)
    recording.save(
        data=counted,
        split="test",
        selected="validation",
        rows=ablation.rows_of(measured),
        runs=[directory, *(source.path.parent for source in genomes)],
    )


def _named(model: str, number: int) -> str:
    return f"{model}_{number}" if model == "multitask" else model


def _variants(
    source: SavedGenome, devices: int
) -> tuple[dict[str, list[Variant]], dict[str, Dataset]]:
    """Everything to train on the tasks of one genome, the whole first, and all their data."""
    datasets, network = tasks.from_flags(SPLITS, source.experiment.network)
    check_fits(source, network)
    train = cli.from_flags(TrainConfig, source.train)
    unevolved = cli.from_flags(TrainConfig, source.experiment.train)
    counts = {
        task_id: int(datasets[dataset_of(task_id)].splits["train"].labelled[task.name].sum())
        for task_id, task in network.tasks.items()
    }
    structure = source.structure
    variants = {WHOLE: [specialised(network, structure, train)]}
    tasks.check_context(variants[WHOLE][0].network)
    for name in _ABLATE.value or possible(network):
        variants[name] = ablate(name, network, structure, train, unevolved, counts, devices)
    return variants, datasets


def _train(variant: Variant, datasets, directory: Path, devices, stop) -> dict:
    """Progress at the end of one training, which is resumed where it was begun."""
    data = {name: datasets[name] for name in variant.network.widths}
    params = words.weights(variant.network)
    start = Start(variant.structure, params, {"ablation": directory.name})
    train = make_train(
        variant.network,
        variant.train,
        data,
        devices,
        flags.FLAGS.checkpoint_every,
        start,
        resident=flags.FLAGS.resident_mib << 20,
    )
    with TrainingBar(f"{directory.parent.name}/{directory.name}") as bar:
        return train(directory, observe=bar, stop=stop).progress


def _measure(runs: dict[str, list[Path]], datasets: dict[str, Dataset]) -> robustness.Robustness:
    """Every model on the test split, with every subset of modalities."""

    @functools.cache
    def ready(model: str) -> list:
        resident = flags.FLAGS.resident_mib << 20
        return [make_evaluate(load_trained(run), resident=resident) for run in runs[model]]

    models = {model: lambda condition, name=model: ready(name) for model in runs}
    return robustness.measure(models, datasets, "test", "patterns", 0, {})


def _write(directory: Path, measured: robustness.Robustness, counted: dict) -> None:
    """Raw values, tables and the picture."""
    measured_tables = ablation.tables_of(measured, WHOLE)
    sizes = ablation.sizes_table(counted, ABLATIONS)
    table = as_markdown(Tables([sizes, *measured_tables.tables], measured_tables.note))
    path = directory / "ablation.json"
    write_text(path, json.dumps({"metrics": measured, "sizes": counted}, indent=1))
    write_text(path.with_suffix(".md"), table)
    with draft_of(path.with_suffix(".png")) as draft:
        ablation.figure(measured, WHOLE, draft)
    print(table)
    print(f"written: {path}, .md and .png")


def run() -> None:
    """The program as a command."""
    program.run(main)


if __name__ == "__main__":
    run()
