"""The training loop, read in order: restore, then block of steps, log, validate, checkpoint.

It runs on the host and only looks at what comes back from the devices between blocks. Several seeds
are one stack of networks, trained side by side in one program. Everything that decides the result
is a function of configuration, data and step, so that a killed run resumes bit for bit.
"""

import dataclasses
import os
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from haemsa_jax.config import NetworkConfig, TaskSpec, TrainConfig, check_together, dataset_of
from haemsa_jax.data.dataset import Dataset, known_of, splits_of
from haemsa_jax.errors import InputError
from haemsa_jax.models.architecture import Architecture, default_architecture
from haemsa_jax.training import checkpoint, metrics, parallel
from haemsa_jax.training.checkpoint import (
    BEST,
    LATEST,
    Checkpoints,
    Experiment,
    trained_tree,
)
from haemsa_jax.training.conflict import make_conflict, named
from haemsa_jax.training.constants import begin_with
from haemsa_jax.training.log import RunLog
from haemsa_jax.training.state import (
    UNCERTAINTY,
    averaged_params,
    hyper_from_config,
    init_params,
    init_state,
    stack,
)
from haemsa_jax.training.step import batch_sizes, label_counts, steps_per_epoch, stream
from haemsa_jax.training.streaming import RESIDENT, Feed, host_splits, on_split

BLOCK = 50  # steps between two looks at the losses, at most
EVALUATION_BATCH = 256

Observe = Callable[[dict[str, Any]], None]
Stop = Callable[[], bool]


@dataclass(frozen=True)
class Start:
    """Where a training begins, if not with everything open and random weights.

    Attributes:
      architecture: of all seeds.
      params: first weights of all seeds, all of the tree or some of its leaves, such as those of a
        pretrained `encoder`; what is not there starts at random.
      origin: says where both come from, as JSON values; a run resumes only where they agree.
    """

    architecture: Architecture
    params: Mapping[str, Any]
    origin: Mapping[str, Any]


class NonFiniteLossError(RuntimeError):
    """Training diverged. The message names the steps and the task; the last checkpoint is kept."""


def make_train(
    network: NetworkConfig,
    config: TrainConfig,
    datasets: Mapping[str, Dataset],
    devices: list[jax.Device] | None = None,
    checkpoint_every: int = 500,
    start: Start | None = None,
    gradients: bool = False,
    resident: int = RESIDENT,
) -> Callable[..., dict[str, Any]]:
    """Put the data on the devices and make the programs; every run then shares both.

    Args:
      network: the network.
      config: the training; its first seed is `config.seed` unless `train` is told otherwise.
      datasets: by name, with the splits train and validation.
      devices: to spread batches over; all local ones by default. With `jax.devices()` of several
        processes, each of which calls this alike, one of them writes.
      checkpoint_every: steps between checkpoints, beside those at each validation.
      start: architecture and first weights; by default everything is open and random.
      gradients: at every validation also log whether the tasks' gradients agree.
      resident: bytes of features up to which a split is kept on the devices; a larger one is
        streamed.

    Returns:
      train(directory, seed=config.seed, observe=..., stop=...) -> progress at the end: `step`,
      `total`, `stale`, `sizes` (samples of each task in a step), and `best_step` and `best_score`
      by seed. It trains `config.seeds` networks in `directory`, or goes on where an earlier call
      stopped; `observe` is called with every row of the log, in which losses and metrics are lists
      by seed. `stop` is asked after every block of steps; where it says yes, the state is saved and
      training ends early (of several processes all must say the same, as `parallel.anybody` sees
      to). It raises InputError where the directory cannot be written or holds a run of another
      configuration, and NonFiniteLossError.

    Raises:
      InputError: the batch does not divide over the devices.
    """
    devices = devices or jax.local_devices()
    writes = parallel.writes(devices)
    parallel.check_divisible(config.batch_size, len(devices))
    check_together(network, config)
    data = host_splits(network, splits_of(datasets, "train"))
    counts = label_counts(network, data)
    sizes = batch_sizes(counts, config, len(devices))
    per_epoch = steps_per_epoch(counts, sizes)
    total = per_epoch * config.epochs
    start = start or Start(default_architecture(network), {}, {})
    members = start.architecture, hyper_from_config(config, network)
    given, constants = begin_with(network, datasets, start.params)
    fixed = parallel.replicate([constants, *stack(members, config.seeds)], devices)
    constants, architectures, _ = fixed
    feed = Feed(network, data, sizes, config.seeds, BLOCK, devices, resident)

    def fresh(key, given):
        params = init_params(network, config, stream(key, "init"), given)
        return init_state(params, len(network.modalities))

    init = jax.jit(jax.vmap(fresh, (0, None)))
    roots = jax.jit(jax.vmap(jax.random.key))
    average = jax.jit(jax.vmap(averaged_params))
    select = jax.jit(_select)
    block = parallel.make_block(network, config, total, BLOCK, devices)
    validate = make_validate(network, datasets, "validation", devices, resident)
    conflict = None
    if gradients and len(network.tasks) > 1:
        conflict = make_conflict(network, config, len(devices))

    def train(
        directory: str | os.PathLike, seed: int = config.seed,
        observe: Observe = lambda row: None, stop: Stop = lambda: False,
    ) -> dict[str, Any]:  # fmt: skip
        seeded = dataclasses.replace(config, seed=seed)
        experiment = Experiment(network, seeded, start.origin, known_of(datasets))
        keys = roots(np.arange(seed, seed + config.seeds))
        abstract, selected = checkpoint.abstract_trees(experiment)
        # Two states and two selected networks: the new one is written before the old one goes.
        checkpoint.check_directory(Path(directory), 3 * checkpoint.bytes_of(abstract))
        checkpoint.check_kept(Path(directory), experiment, LATEST, BEST)
        parallel.meet()  # nobody begins what others still look for
        nobody = {"best_step": [0] * config.seeds, "best_score": [-np.inf] * config.seeds}
        progress = {"step": 0, "total": total, "stale": 0, "sizes": sizes, **nobody}

        with Checkpoints(directory, LATEST) as latest, Checkpoints(directory, BEST) as best:
            saved = latest.metadata()
            if saved is not None:
                _check_sizes(directory, saved["progress"], sizes)
                state, progress = latest.load(abstract), saved["progress"]
            else:
                state = init(keys, given)
            state, keys = parallel.replicate((state, keys), devices)
            # Where the kill came between the two checkpoints, `best` is ahead of `latest`: the
            # steps between are taken again, and select the same.
            chosen = best.load(selected)["params"] if best.metadata() else average(state)
            chosen = parallel.replicate(chosen, devices)

            begun = progress["step"] if saved else None
            with RunLog(directory, begun) if writes else nullcontext() as log:

                def record(row):
                    if log:
                        log.write(row)
                    observe(row)

                stopped = False
                looks = per_epoch * config.evaluate_every, checkpoint_every
                spans = _spans(progress["step"], total, feed.length, *looks)
                mine = feed(range(seed, seed + config.seeds), spans)
                for (first, step), data in zip(spans, mine, strict=True):
                    if stopped or _over(progress, config.patience):
                        break
                    state, losses = block(state, *fixed, data, keys, np.int32(step - first))
                    for row in _loss_rows(network, first, seed, np.asarray(losses)[: step - first]):
                        epoch = row["step"] / per_epoch
                        record({**row, "epoch": epoch, "done": step, "total": total})
                    progress = {**progress, "step": step}
                    evaluated, due = (step == total or step % every == 0 for every in looks)

                    if evaluated:
                        averaged = average(state)
                        values, scores = validate(averaged, constants, architectures)
                        record({"step": step, "kind": "validation", "score": scores, **values})
                        about = _seen(step, counts, sizes) | _task_weights(network, averaged)
                        about |= _leads(network, config, state)
                        if conflict:
                            last = state.params, *fixed, data, keys, np.int32(step - 1)
                            cosines = conflict(*last)
                            about |= named(network, np.asarray(cosines))
                        record({"step": step, "kind": "tasks", **about})
                        better = np.greater(scores, progress["best_score"])
                        progress["stale"] = 0 if better.any() else progress["stale"] + 1
                        if better.any():
                            chosen = select(better, averaged, chosen)
                            progress |= _selected(progress, better, step, scores)
                            tree = trained_tree(chosen, constants, architectures)
                            best.save(step, tree, experiment, progress)
                    stopped = stop()
                    if stopped or evaluated or due:
                        latest.save(step, state, experiment, progress)
        return progress

    return train


def _check_sizes(
    directory: str | os.PathLike, progress: Mapping[str, Any], sizes: dict[str, int]
) -> None:
    """What a run has seen is counted in batches, which must go on as they began."""
    before = progress.get("sizes", sizes)  # earlier versions did not keep them
    if before != sizes:
        raise InputError(
            f"{directory} was begun with {before} samples of the tasks in a step; these devices "
            f"would make it {sizes}, since --sampling_temperature is rounded to multiples of their "
            "number: resume on as many devices as before, or give another --run_dir"
        )


def _select(better: jax.Array, new: Any, old: Any) -> Any:
    """The new network where it is better, bool[S], the old one elsewhere."""
    return jax.tree.map(
        lambda n, o: jax.numpy.where(better.reshape(-1, *[1] * (n.ndim - 1)), n, o), new, old
    )


def _seen(step: int, counts: dict[str, int], sizes: dict[str, int]) -> dict[str, float]:
    """How often each task's samples have been seen."""
    return {f"epochs/{task}": step * sizes[task] / count for task, count in counts.items()}


def _task_weights(network: NetworkConfig, params: dict) -> dict[str, list[float]]:
    """Factors that were learnt for the tasks, by seed."""
    if UNCERTAINTY not in params:
        return {}
    factors = np.exp(-np.asarray(params[UNCERTAINTY]))
    return {f"weight/{task}": factors[:, k].tolist() for k, task in enumerate(network.tasks)}


def _leads(network: NetworkConfig, config: TrainConfig, state: Any) -> dict[str, list[float]]:
    """How far each modality is ahead of the others, by seed, where they are balanced."""
    if not config.balances:
        return {}
    leads = np.asarray(state.lead)
    return {f"lead/{m}": leads[:, k].tolist() for k, m in enumerate(network.modalities)}


def _selected(progress: dict, better: np.ndarray, step: int, scores: list[float]) -> dict:
    steps = np.where(better, step, progress["best_step"]).tolist()
    return {
        "best_step": steps, "best_score": np.where(better, scores, progress["best_score"]).tolist()
    }  # fmt: skip


def make_validate(
    network: NetworkConfig, datasets: Mapping[str, Dataset], split: str,
    devices: list[jax.Device], resident: int = RESIDENT,
) -> Callable[..., tuple[dict[str, list[float]], list[float]]]:  # fmt: skip
    """validate(params, constants, architectures) -> metrics by `task/metric`, and scores, by seed.

    A score is the mean over tasks of `metrics.score`; 1 is perfect.
    """
    splits = splits_of(datasets, split)
    everywhere = parallel.make_predict(network, EVALUATION_BATCH, devices)
    predict = {
        name: on_split(everywhere, network, there, name, devices, resident)
        for name, there in host_splits(network, splits).items()
    }
    references = {task_id: label_reference(network, datasets, task_id) for task_id in network.tasks}

    def validate(params, constants, architectures):
        measured, scores = {}, []
        for task_id, task in network.tasks.items():
            dataset = dataset_of(task_id)
            rows = np.flatnonzero(splits[dataset].labelled[task.name])
            arrays = params, constants, architectures
            said = predict[dataset](*arrays, task_id, rows)["prediction"]
            truth = splits[dataset].labels[task.name][rows]
            values = [measure(task, probabilities(task, one), truth) for one in said]
            for name in task.metrics:
                measured[f"{task_id}/{name}"] = [one[name] for one in values]
            scores.append([metrics.score(task, one, references[task_id]) for one in values])
        return measured, np.mean(scores, axis=0).tolist()

    return validate


def probabilities(task: TaskSpec, outputs: np.ndarray) -> np.ndarray:
    """Raw outputs float[n, C] as a person reads them, in float64.

    Label units float64[n] for a regression, class or label probabilities float64[n, C] otherwise.
    """
    outputs = outputs.astype(np.float64)
    if task.kind == "regression":
        return outputs[:, 0]
    if task.kind == "multilabel":
        return 1.0 / (1.0 + np.exp(-outputs))
    odds = np.exp(outputs - outputs.max(axis=-1, keepdims=True))
    return odds / odds.sum(axis=-1, keepdims=True)


def measure(task: TaskSpec, predictions: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Metrics of what `probabilities` returns, in float64."""
    values = metrics.compute(task, predictions, labels, np.ones(len(labels), bool))
    return {name: float(value) for name, value in values.items()}


def label_reference(network: NetworkConfig, datasets: Mapping[str, Dataset], task_id: str) -> float:
    """Mean absolute error of the training median on the training labels; 1 for other kinds."""
    task = network.tasks[task_id]
    split = datasets[dataset_of(task_id)].splits["train"]
    labels = split.labels[task.name][split.labelled[task.name]]
    if task.kind != "regression":
        return 1.0
    return float(np.abs(labels - np.median(labels)).mean()) or 1.0


def _spans(start: int, total: int, length: int, *looks: int) -> list[tuple[int, int]]:
    """Blocks of at most `length` steps [first, stop) from `start` on, which end where there is
    something to do.
    """
    spans = []
    while start < total:
        stop = min(start + length, total, *((start // every + 1) * every for every in looks))
        spans.append((start, stop))
        start = stop
    return spans


def _over(progress: dict, patience: int) -> bool:
    return progress["step"] == progress["total"] or 0 < patience <= progress["stale"]


def _loss_rows(network: NetworkConfig, first: int, seed: int, losses: np.ndarray):
    """One log row a step of losses float[steps, S, K]; one that is not finite ends the run."""
    bad = ~np.isfinite(losses)
    if bad.any():
        step, member, task = np.argwhere(bad)[0]
        raise NonFiniteLossError(
            f"the loss of {list(network.tasks)[task]!r} is {losses[step, member, task]} at step "
            f"{first + step + 1} with seed {seed + member} (block of steps {first + 1} to "
            f"{first + len(losses)}); the last checkpoint is kept. Lower --learning_rate or "
            "--clip_norm, or look at the data"
        )
    for index, now in enumerate(losses):
        named = {f"loss/{t}": now[:, k].tolist() for k, t in enumerate(network.tasks)}
        yield {
            "step": first + index + 1, "kind": "train", "loss": now.mean(axis=1).tolist(), **named
        }  # fmt: skip
