"""Trains one network on any number of tasks at once, on all local devices.

  python -m launch.train --tasks=planted --run_dir=runs/planted
  python -m launch.train --tasks=hazumi:ui,hazumi:tc --past=8 --seeds=5 --run_dir=runs/hazumi

All seeds are trained side by side in one program. RUN_DIR holds the log, the curves, the checkpoint
from which the same command again resumes, and the selected network of every seed.
"""

import shutil
from pathlib import Path
from statistics import fmean

import jax
from absl import flags
from tqdm import tqdm

from haemsa_jax.config import NetworkConfig, TrainConfig
from haemsa_jax.errors import InputError
from haemsa_jax.reporting.figures import training_figure
from haemsa_jax.training import log
from haemsa_jax.training.loop import make_train
from launch import cli
from launch.tasks import load_tasks, per_dataset, task_weights

_TASKS = flags.DEFINE_list("tasks", None, "DATASET or DATASET:TASK, a comma list.")
_DATA_DIR = flags.DEFINE_string("data_dir", "data", "Directory of prepared data sets.")
_RUN_DIR = flags.DEFINE_string("run_dir", None, "Directory of the run.")
_PAST = flags.DEFINE_list(
    "past", ["0"], "Utterances before the target in conversational data: N, or DATASET=N,..."
)
_FUTURE = flags.DEFINE_list("future", ["0"], "Utterances after the target, likewise.")
_TASK_WEIGHTS = flags.DEFINE_list("task_weights", [], "TASK=weight, a comma list; others weigh 1.")
_DEVICES = flags.DEFINE_integer("devices", 0, "Local devices to use; 0 for all.")
_CHECKPOINT_EVERY = flags.DEFINE_integer("checkpoint_every", 500, "Steps between checkpoints.")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Delete what RUN_DIR holds.")
cli.define_flags(NetworkConfig)
cli.define_flags(TrainConfig)


def main() -> None:
    devices = _devices()
    datasets, tasks = load_tasks(_TASKS.value, _DATA_DIR.value, ("train", "validation"))
    talking = [name for name, dataset in datasets.items() if dataset.conversational]
    past = per_dataset("past", _PAST.value, talking or datasets)
    future = per_dataset("future", _FUTURE.value, talking or datasets)
    network = cli.from_flags(
        NetworkConfig,
        widths={name: dict(dataset.widths) for name, dataset in datasets.items()},
        tasks=tasks,
        context={name: (past.get(name, 0), future.get(name, 0)) for name in talking},
    )
    weights = task_weights(_TASK_WEIGHTS.value, tasks)
    if _CHECKPOINT_EVERY.value < 1:
        raise InputError(f"--checkpoint_every={_CHECKPOINT_EVERY.value} must be at least 1")
    config = cli.from_flags(TrainConfig, task_weights=weights)
    train = make_train(network, config, datasets, devices, _CHECKPOINT_EVERY.value)
    directory = Path(_RUN_DIR.value)
    if _OVERWRITE.value and directory.exists():
        shutil.rmtree(directory)
    with cli.Interrupt() as interrupt, _Bar() as bar:
        progress = train(directory, observe=bar, stop=interrupt)
    training_figure(log.read(directory), directory / "training.png")
    chosen = zip(progress["best_score"], progress["best_step"], strict=True)
    for seed, (score, step) in enumerate(chosen, start=config.seed):
        print(
            f"seed {seed}: best validation score {score:.4f} at step {step} of {progress['step']}"
        )
    print(f"written: {directory}: best, latest, log.jsonl, training.png", flush=True)
    if interrupt():
        interrupt.end(f"at step {progress['step']} of {progress['total']}")


def _devices() -> list[jax.Device]:
    there = jax.local_devices()
    if not 0 <= _DEVICES.value <= len(there):
        raise InputError(
            f"--devices={_DEVICES.value}, but JAX finds {len(there)} ({there[0].platform}); give a "
            f"number from 1 to {len(there)}, or 0 for all"
        )
    return there[: _DEVICES.value or None]


class _Bar:
    """One progress bar: step rate, losses and validation metrics, mean over seeds."""

    def __init__(self):
        self.bar = tqdm(unit="step", dynamic_ncols=True, mininterval=0.5)
        self.shown: dict[str, str] = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.bar.close()

    def __call__(self, row: dict) -> None:
        if row["kind"] == "train":
            # What a resumed run already had behind it does not count towards the rate.
            if self.bar.total is None:
                self.bar.total, self.bar.initial = row["total"], row["step"] - 1
                self.bar.n = row["step"] - 1
            self.bar.update(row["step"] - self.bar.n)
            self.shown["loss"] = f"{fmean(row['loss']):.3f}"
        else:
            measured = {name: values for name, values in row.items() if "/" in name}
            self.shown |= {name: f"{fmean(values):.3f}" for name, values in measured.items()}
        self.bar.set_postfix(self.shown, refresh=False)


if __name__ == "__main__":
    flags.mark_flags_as_required(["tasks", "run_dir"])
    cli.run(main)
