"""The training loop, read in order: restore, then block of steps, log, validate, checkpoint.

It runs on the host and only looks at what comes back from the devices between blocks. Several seeds
are one stack of networks, trained side by side in one program. Everything that decides the result
is a function of configuration, data and step, so that a killed run resumes bit for bit. With folds
each seed has K networks, which stand next to each other in the stack; the sample that one of them
has not seen judges it, and all of a seed stop at the same step.
"""

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from haemsa_jax.config import NetworkConfig, TrainConfig, check_together
from haemsa_jax.data.dataset import Dataset
from haemsa_jax.data.description import describe_data
from haemsa_jax.data.folds import Partition, make_partition
from haemsa_jax.models import constants_at, default_structure
from haemsa_jax.structure.parts import check_structure
from haemsa_jax.training.engine import parallel, reports
from haemsa_jax.training.engine.blocks import make_agreement_of_members, make_block
from haemsa_jax.training.engine.budget import fitted
from haemsa_jax.training.engine.drawing import batch_sizes, label_counts, steps_per_epoch
from haemsa_jax.training.engine.progress import (
    check_sizes,
    fresh_progress,
    is_over,
    spans_of,
    with_scores,
)
from haemsa_jax.training.engine.state import (
    check_fits,
    init_params,
    init_state,
    settings_from_config,
    stack,
)
from haemsa_jax.training.engine.streaming import RESIDENT, Feed
from haemsa_jax.training.measurement.doubts import doubts
from haemsa_jax.training.measurement.normalization import begin_with
from haemsa_jax.training.measurement.validation import make_validate
from haemsa_jax.training.persistence.experiment import Experiment
from haemsa_jax.training.persistence.run_directory import InMemory, RunDirectory
from haemsa_jax.training.persistence.trained import Trained, trained_tree
from haemsa_jax.training.random_streams import fold_keys, stream

BLOCK = 50  # steps between two looks at the losses, at most

Observe = Callable[[dict[str, Any]], None]
Stop = Callable[[], bool]


@dataclass(frozen=True)
class Start:
    """Where a training begins, if not with everything open and random weights.

    Attributes:
      structure: of all seeds, as the network's model takes it.
      params: first weights of all seeds, all of the tree or some of its leaves, such as those of a
        pretrained encoder (by `config.encoder_name`); what is missing starts at random.
      origin: says where both come from, as JSON values; a run resumes only where they agree.
    """

    structure: Any
    params: Mapping[str, Any]
    origin: Mapping[str, Any]


@dataclass(frozen=True)
class _Programs:
    """What every run of one `make_train` shares."""

    network: NetworkConfig
    config: TrainConfig
    devices: list[jax.Device]
    counts: dict[str, int]
    sizes: dict[str, int]
    per_epoch: int
    checkpoint_every: int
    fixed: tuple[Any, Any, Any, Any]  # structures, settings, constants, folds
    feed: Feed
    init: Callable[[jax.Array], Any]
    block: Callable[..., Any]
    validate: Callable[..., Any]
    agreement: Callable[..., Any] | None
    doubts: list[str]

    @property
    def total(self) -> int:
        return self.per_epoch * self.config.epochs


def make_train(
    network: NetworkConfig,
    config: TrainConfig,
    datasets: Mapping[str, Dataset],
    devices: list[jax.Device] | None = None,
    checkpoint_every: int = 500,
    start: Start | None = None,
    gradients: bool = False,
    resident: int = RESIDENT,
) -> Callable[..., Trained]:
    """Put the data on the devices and make the programs; every run then shares both.

    Args:
      network: the network.
      config: the training; its first seed is `config.seed` unless `train` is given another.
      datasets: by name, with the splits train and validation.
      devices: to spread batches over; all local ones by default. Of several processes, each of
        which calls this alike with `jax.devices()`, one writes.
      checkpoint_every: steps between checkpoints, beside those at each validation.
      start: structure and first weights; by default everything is open and random.
      gradients: at every validation also log whether the tasks' gradients agree.
      resident: bytes of features up to which a split stays on the devices; larger ones stream.

    Returns:
      train(directory=None, seed=config.seed, observe=..., stop=...) -> `Trained`: the networks of
      `config.seeds` seeds, those of each seed's best validation, with `progress` at the end:
      `step`, `total`, `stale`, `sizes` (samples of each task in a step), and `best_step` and
      `best_score` by seed. With a directory it goes on where an earlier call stopped; without one
      nothing is written. `observe` is called with every row of the log, and first with one of kind
      `plan` (`reports.plan`), which is not kept. What of `config` follows the size of the data has
      its numbers in `Trained.experiment`. `stop` is asked after every
      block of steps; where it says yes, the state is saved and training ends early
      (`parallel.anybody` makes several processes agree). It raises InputError where the directory
      cannot be written or holds a run of another configuration or data, and NonFiniteLossError.

    Raises:
      InputError: the batch does not divide over the devices, the start is of another network, the
        data have too few groups for the folds, or are too large to be resident with folds.
    """
    devices = devices or jax.local_devices()
    parallel.check_divisible(config.batch_size, len(devices))
    check_together(network, config)
    start = start or Start(default_structure(network), {}, {})
    check_structure(network, start.structure)
    partition = make_partition(datasets, config.folds, config.train_missing)
    programs = _make_programs(
        network, config, partition, devices, checkpoint_every, start, gradients, resident
    )
    description = describe_data(datasets)

    def train(
        directory: str | os.PathLike | None = None,
        seed: int = config.seed,
        observe: Observe = lambda row: None,
        stop: Stop = lambda: False,
    ) -> Trained:
        seeded = dataclasses.replace(programs.config, seed=seed)
        experiment = Experiment(network, seeded, start.origin, description)
        store: RunDirectory | InMemory = InMemory()
        if directory is not None:
            store = RunDirectory(directory, experiment, parallel.writes(devices))
        with store:
            return _run(programs, experiment, store, observe, stop)

    return train


def _make_programs(
    network, config, partition: Partition, devices, checkpoint_every, start, gradients, resident
) -> _Programs:
    data, _ = partition.device_splits(network)
    counts = label_counts(network, data)
    config = fitted(config, counts, len(devices))
    sizes = batch_sizes(counts, config, len(devices))
    per_epoch = steps_per_epoch(counts, sizes)
    given, constants = begin_with(network, partition, start.params)
    settings = settings_from_config(config, network)
    folds = np.tile(np.arange(config.networks, dtype=np.int32), config.seeds)
    structures, settings = stack((start.structure, settings), len(folds))
    fixed = parallel.replicate(
        (structures, settings, constants_at(constants, folds), folds), devices
    )

    def fresh(key, given):
        return init_state(network, config, init_params(network, config, stream(key, "init"), given))

    init = jax.jit(jax.vmap(fresh, (0, None)))
    check_fits(init.eval_shape(_roots(np.arange(config.seeds), config.folds), given), devices)
    agreement = None
    if gradients and len(network.tasks) > 1:
        agreement = make_agreement_of_members(network, config, len(devices))
    return _Programs(
        network=network,
        config=config,
        devices=devices,
        counts=counts,
        sizes=sizes,
        per_epoch=per_epoch,
        checkpoint_every=checkpoint_every,
        fixed=fixed,
        feed=Feed(network, data, sizes, len(folds), BLOCK, devices, resident),
        init=lambda keys: init(keys, given),
        block=make_block(
            network, config, total_steps=per_epoch * config.epochs, length=BLOCK, devices=devices
        ),
        validate=make_validate(network, partition, devices, resident),
        agreement=agreement,
        doubts=doubts(network, partition),
    )


def _run(
    programs: _Programs, experiment: Experiment, store: RunDirectory | InMemory,
    observe: Observe, stop: Stop,
) -> Trained:  # fmt: skip
    """One training, from where the store leaves off."""
    network, config, total = programs.network, programs.config, programs.total
    structures, _, constants, _ = programs.fixed
    seed = experiment.train.seed
    keys = _roots(np.arange(seed, seed + config.seeds), config.folds)
    restored = store.restore()
    if restored is None:
        members, chosen = programs.init(keys), None
        progress = fresh_progress(total, programs.sizes, config.seeds)
    else:
        members, chosen, progress = restored
        check_sizes(store.path, progress, programs.sizes)
    members, keys = parallel.replicate((members, keys), programs.devices)
    chosen = members.averaged if chosen is None else parallel.replicate(chosen, programs.devices)
    store.begin_log(None if restored is None else progress["step"])

    def record(row):
        store.record(row)
        observe(row)

    observe(reports.plan(config, programs.counts, progress, programs.doubts))
    looks = programs.per_epoch * config.evaluate_every, programs.checkpoint_every
    spans = spans_of(progress["step"], total, programs.feed.length, *looks)
    pieces = programs.feed(range(seed, seed + config.seeds), spans)
    stopped = False
    for (first, step), data in zip(spans, pieces, strict=True):
        if stopped or is_over(progress, config.patience):
            break
        members, losses = programs.block(
            members, *programs.fixed, data, keys, np.int32(step - first)
        )
        losses = reports.by_seed(np.asarray(losses)[: step - first], config.networks, axis=1)
        for row in reports.loss_rows(network, first, seed, losses):
            epoch = row["step"] / programs.per_epoch
            record({**row, "epoch": epoch, "done": step, "total": total})
        progress = {**progress, "step": step}
        evaluated, due = (step == total or step % every == 0 for every in looks)
        if evaluated:
            scores = _report(programs, members, data, keys, step, record)
            better = np.greater(scores, progress["best_score"])
            progress = with_scores(progress, better, step, scores)
            if better.any():
                renewed = np.repeat(better, config.networks)
                chosen = _select(renewed, members.averaged, chosen)
                store.select(step, trained_tree(chosen, constants, structures), progress)
        stopped = stop()
        if stopped or evaluated or due:
            store.save(step, members, progress)
    tree = jax.device_get(trained_tree(chosen, constants, structures))
    return Trained(experiment=experiment, progress=progress, **tree)


def _report(programs: _Programs, members, data, keys, step: int, record: Observe) -> list[float]:
    """Validates, logs what it sees and returns the scores by seed."""
    network, (structures, _, constants, _) = programs.network, programs.fixed
    count = programs.config.networks
    values, scores = programs.validate(members.averaged, constants, structures)
    record({"step": step, "kind": "validation", "score": scores, **values})
    about: dict[str, Any] = reports.epochs_seen(step, programs.counts, programs.sizes)
    about |= reports.task_weights(network, members.averaged, count)
    if programs.config.balances:
        about |= reports.balance(network, members, count)
    if programs.agreement:
        cosines = programs.agreement(members, *programs.fixed, data, keys, np.int32(step - 1))
        about |= reports.agreement(network, np.asarray(cosines), count)
    record({"step": step, "kind": "tasks", **about})
    return scores


@functools.partial(jax.jit, static_argnums=1)
def _roots(seeds: jax.Array, folds: int) -> jax.Array:
    return jax.vmap(lambda seed: fold_keys(jax.random.key(seed), folds))(seeds).reshape(-1)


@jax.jit
def _select(better: jax.Array, new: Any, old: Any) -> Any:
    """The new network where it is better, bool[S], the old one elsewhere."""
    return jax.tree.map(
        lambda n, o: jax.numpy.where(better.reshape(-1, *[1] * (n.ndim - 1)), n, o), new, old
    )
