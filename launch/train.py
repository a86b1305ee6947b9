"""Trains one network on any number of tasks at once, on all local devices.

  python -m launch.train --tasks=planted --run_dir=runs/planted
  python -m launch.train --tasks=hazumi:ui,hazumi:tc --past=8 --seeds=5 --run_dir=runs/hazumi
  python -m launch.train --genome=runs/evolved/best.json --seeds=5 --run_dir=runs/small
  python -m launch.train --tasks=hazumi --past=8 --folds=5 --run_dir=runs/bag

All seeds are trained side by side in one program. RUN_DIR holds the log, the curves, the checkpoint
from which the same command again resumes, and the selected network of every seed. A genome
(structure and training of a network) that launch.evolve found brings tasks, network and training
with it; flags that are given come first, and only what the genome uses is built. --init_from starts
from a trained network, also of other tasks, or of the same to train longer than was planned, in
another RUN_DIR:

  python -m launch.train --tasks=planted --epochs=40 --init_from=runs/planted --run_dir=runs/longer

Batch size and epochs follow the size of the data unless they are given; a run keeps the numbers.

With --folds a seed is a bag: several networks that predict by their mean, each trained without one
share (fold) of the groups (people, videos, dialogues) of the splits train and validation, and
validated on it.
"""

import dataclasses
from pathlib import Path

from absl import flags
from flax.traverse_util import flatten_dict

from haemsa_jax.config import NetworkConfig, TrainConfig
from haemsa_jax.data.fingerprint import fingerprint_of
from haemsa_jax.errors import InputError
from haemsa_jax.evolution.outcome import SavedGenome, begin, read_genome
from haemsa_jax.models import default_structure, overlaid
from haemsa_jax.reporting.progress import TrainingBar
from haemsa_jax.structure.warm_start import take
from haemsa_jax.training.engine.loop import Start, make_train
from haemsa_jax.training.engine.progress import summary
from haemsa_jax.training.measurement.scoring import score_in_words
from haemsa_jax.training.persistence import log
from haemsa_jax.training.persistence.experiment import Experiment
from haemsa_jax.training.persistence.trained import load_trained
from haemsa_jax.writing import draft_of

from . import cli, program, tasks, words
from .interrupt import Interrupt
from .processes import define_process_flags

_GENOME = flags.DEFINE_string(
    "genome",
    None,
    "File of structure and training that launch.evolve found (a genome), such as best.json.",
)
_WEIGHTS = flags.DEFINE_enum(
    "weights",
    "random",
    ["random", "inherited"],
    "Where training of a genome starts: afresh, or from what its search had trained.",
)
_INIT_FROM = flags.DEFINE_string(
    "init_from",
    None,
    "Run directory of a trained network, also on other tasks, from whose weights this one starts.",
)
_GRADIENTS = flags.DEFINE_bool(
    "gradients", False, "Log the cosine of the tasks' gradients at every validation."
)
_MODALITIES = flags.DEFINE_string(
    "modalities",
    None,
    "Modalities that tasks may read, joined by +, such as text+audio; all by default.",
)
_TASK_WEIGHTS = flags.DEFINE_list("task_weights", [], "TASK=weight, a comma list; others weigh 1.")
tasks.define_flags()
cli.define_training_flags()
define_process_flags()


def main() -> None:
    devices = cli.devices()
    source = _saved_genome()
    datasets, network = tasks.from_flags(
        ("train", "validation"), source and source.experiment.network
    )
    config = cli.from_flags(TrainConfig, source and source.train)
    if source and config.epochs == source.train.epochs and cli.leads():
        print(f"as long as {source.path} was trained: {config.epochs} epochs; --epochs changes it")
    if _TASK_WEIGHTS.value:
        weights = tasks.task_weights(_TASK_WEIGHTS.value, network.tasks)
        config = dataclasses.replace(config, task_weights=weights)
    if _MODALITIES.value is not None:
        network = tasks.restricted(network, _MODALITIES.value)
    start = Start(default_structure(network), {}, {})
    if source and _MODALITIES.value is not None:
        raise InputError("--modalities and --genome both say what tasks read; give one of them")
    if source and _WEIGHTS.value == "inherited":
        _check_unseen(source.path, source.experiment, network)
    if source:
        network, start = begin(source, network, inherit=_WEIGHTS.value == "inherited")
        tasks.check_context(network)
    start = dataclasses.replace(start, params=overlaid(words.weights(network), start.params))
    if _INIT_FROM.value is not None:
        start = _warm(start, network, config)
    train = make_train(
        network,
        config,
        datasets,
        devices,
        flags.FLAGS.checkpoint_every,
        start,
        _GRADIENTS.value,
        flags.FLAGS.resident_mib << 20,
    )
    reads = [source.path] if source else []
    directory = cli.run_directory(*reads, *filter(None, [_INIT_FROM.value]))
    with Interrupt() as interrupt, TrainingBar() as bar:
        progress = train(directory, observe=bar, stop=interrupt).progress
        stopped = interrupt()
    if cli.leads():
        _tell(directory, network, config, progress)
    if stopped:
        interrupt.end(f"at step {progress['step']} of {progress['total']}")


def _tell(directory: Path, network: NetworkConfig, config: TrainConfig, progress: dict) -> None:
    # Here, since what draws takes as long to import as all else.
    from haemsa_jax.reporting.figures import training_figure

    cli.note_command(directory)
    with draft_of(directory / "training.png") as draft:
        training_figure(log.read(directory), draft)
    print(f"score: {score_in_words(network)}")
    for place, score in enumerate(progress["best_score"]):
        judge = "out-of-fold" if config.folds else "validation"
        best = f"best {judge} score {score:.4f} {summary(progress, place)}"
        known = progress["best_step"][place]
        print(f"seed {config.seed + place}: {best if known else 'not validated yet'}")
    best = "best, " if any(progress["best_step"]) else ""
    print(f"written: {directory}: {best}latest, log.jsonl, training.png", flush=True)


def _saved_genome() -> SavedGenome | None:
    if _GENOME.value is not None:
        return read_genome(_GENOME.value)
    if _WEIGHTS.value == "inherited":
        raise InputError("--weights=inherited needs the --genome whose weights are meant")
    return None


def _check_unseen(path: Path, source: Experiment, network: NetworkConfig) -> None:
    """Refuses first weights of folds on the same data: they know what would select here."""
    shared = [name for name in source.network.widths if name in network.widths]
    if source.train.folds and shared:
        raise InputError(
            f"{path} was trained with folds={source.train.folds}, so that its networks have seen "
            f"samples of {', '.join(shared)} that would judge them here; start from random "
            "weights, or from a run with --folds=0"
        )


def _warm(start: Start, network: NetworkConfig, config: TrainConfig) -> Start:
    """The same start, with what fits of the weights of `--init_from`."""
    if _WEIGHTS.value == "inherited":
        raise InputError("--init_from and --weights=inherited both say where weights come from")
    trained = load_trained(_INIT_FROM.value)
    _check_unseen(Path(_INIT_FROM.value), trained.experiment, network)
    warm = take(network, config, trained)
    print(f"taken from {_INIT_FROM.value}: {', '.join(warm.taken)}")
    print(f"new: {', '.join(warm.new) or 'nothing'}", flush=True)
    whence = {
        "init_from": _INIT_FROM.value,
        "step": trained.progress.get("best_step"),
        "fingerprint": fingerprint_of(flatten_dict(warm.params, sep="/")),
    }
    params = overlaid(start.params, warm.params)
    return Start(start.structure, params, {**start.origin, **whence})


def run() -> None:
    """The program as a command."""
    program.run(main)


if __name__ == "__main__":
    run()
