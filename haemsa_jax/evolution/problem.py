"""A network as a search problem: how a member is trained and what its validation costs."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from haemsa_jax.config import NetworkConfig, TrainConfig, check_together, dataset_of
from haemsa_jax.data.batches import DeviceSplit, gather
from haemsa_jax.data.dataset import Dataset
from haemsa_jax.data.folds import make_partition
from haemsa_jax.data.presence import restrict
from haemsa_jax.errors import InputError
from haemsa_jax.evolution.evidence import BLOCKS, blocks_left_out
from haemsa_jax.evolution.genome import decode, default_genome, gene_table
from haemsa_jax.evolution.state import Problem, SearchConfig
from haemsa_jax.models import Rates, build, constants_at, default_structure, variables_of
from haemsa_jax.structure.parts import Structure
from haemsa_jax.structure.size import parameters
from haemsa_jax.tasks import kind_of, metrics
from haemsa_jax.training.engine.drawing import make_draw, of_fold
from haemsa_jax.training.engine.state import init_params, init_state
from haemsa_jax.training.engine.step import make_train_step
from haemsa_jax.training.measurement.normalization import begin_with
from haemsa_jax.training.measurement.scoring import label_reference
from haemsa_jax.training.random_streams import step_key

Array = jax.Array
CHUNK = 256  # samples that judge at a time


def make_problem(
    network: NetworkConfig,
    config: TrainConfig,
    search: SearchConfig,
    patterns: Sequence[Sequence[str]] | None = None,
) -> Problem:
    """The search of a network's structure and training.

    Args:
      network: the supernet.
      config: what of the training the genome leaves open, such as the batch size; its other values
        are the default genome's.
      search: fixes the learning-rate schedule, which spans the whole search where weights are
        inherited and one generation where they are not.
      patterns: modalities that are there, per presence pattern over which costs are averaged; None
        for the one with all of them. Of each a task is read with what its data set has.

    Returns:
      The problem; its data is what `search_data` makes. A network is a detached `TrainState`. Costs
      are 1 - `TaskKind.score` by task and pattern: 0 is perfect; 1 is what the training median
      reaches where the primary metric is the MAE, and a metric of zero where it is another. All
      tasks weigh the same.

    Raises:
      InputError: no pattern has a modality of one of the data sets, or an encoder would be trained
        whole.
    """
    objectives, weights = _objectives(network, config, patterns)
    step = make_train_step(network, config, total_steps=search.schedule)
    draw = make_draw(network, config)
    everything = jax.jit(functools.partial(_active, network))(default_structure(network))

    def init(key, data):
        del data
        return init_state(network, config, init_params(network, config, key))

    def train(member, genome, data, fold, key, start, count):
        structure, settings = decode(network, genome, config)
        own, constants = of_fold(data["train"], fold), constants_at(data["constants"], fold)

        def body(index, member):
            now = start + index
            batch, rng = draw(own, key, now), step_key(key, now)
            state = member.attached(structure, settings, constants)
            return step(state, batch, rng, now)[0].detached()

        return jax.lax.fori_loop(0, count, body, member)

    def share(genome):
        return _active(network, decode(network, genome, config)[0]) / everything

    return Problem(
        table=gene_table(network, config),
        default=default_genome(network, config),
        objectives=tuple(f"{task_id}|{'+'.join(pattern)}" for task_id, pattern in objectives),
        init=init,
        train=train,
        predict=_make_predict(network, config, objectives),
        judge=_make_judge(network, objectives),
        size=share,
        folds=config.networks,
        weights=weights,
    )


def _make_predict(network: NetworkConfig, config: TrainConfig, objectives) -> Callable[..., Any]:
    """predict(member, genome, data, fold) -> by objective what `_predictions` returns."""
    module = build(network)

    def predict(member, genome, data, fold):
        structure, _ = decode(network, genome, config)
        variables = variables_of(member.averaged, constants_at(data["constants"], fold))
        held_out = of_fold(data["held_out"], fold)
        predictions: dict[Any, Array] = {}
        for dataset in network.widths:
            first = network.tasks_of(dataset)[0]
            of_data = [pattern for task_id, pattern in objectives if task_id == first]
            predictions |= _predictions(
                network, module, variables, structure, held_out[dataset], dataset, of_data
            )
        return tuple(predictions[objective] for objective in objectives)

    return predict


def _make_judge(network: NetworkConfig, objectives) -> Callable[..., Array]:
    """judge(predictions, data) -> float[1 + J, O]."""

    def judge(predictions, data):
        pairs = zip(objectives, predictions, strict=True)
        return jnp.stack([_costs(network, data, task_id, x) for (task_id, _), x in pairs], axis=-1)

    return judge


def _objectives(
    network: NetworkConfig, config: TrainConfig, patterns: Sequence[Sequence[str]] | None
) -> tuple[list[tuple[str, tuple[str, ...]]], np.ndarray | None]:
    """Task and pattern of every cost, and what each weighs; None where all weigh the same."""
    check_together(network, config)
    for modality, spec in network.encoders.items():
        if spec.mode == "tuned":
            raise InputError(
                f"{modality}.mode='tuned': a population has no encoder each; use frozen, pooled or "
                "adapted"
            )
    of_data = {
        name: patterns_of(network, name, patterns or [network.modalities])
        for name in network.widths
    }
    objectives = [(t, pattern) for t in network.tasks for pattern in of_data[dataset_of(t)]]
    shares = np.array([1 / len(of_data[dataset_of(t)]) for t, _ in objectives])
    shares /= len(network.tasks)
    return objectives, None if len({*shares}) == 1 else shares.astype(np.float32)


def patterns_of(
    network: NetworkConfig, dataset: str, patterns: Sequence[Sequence[str]]
) -> list[tuple[str, ...]]:
    """What patterns leave of the modalities that a data set has, each once.

    Raises:
      InputError: they leave nothing.
    """
    widths = network.widths[dataset]
    left = dict.fromkeys(tuple(m for m in pattern if m in widths) for pattern in patterns)
    if not any(left):
        names = ", ".join("+".join(pattern) for pattern in patterns)
        raise InputError(
            f"patterns {names}: none has a modality of {dataset}, {', '.join(widths)}; add one"
        )
    return [pattern for pattern in left if pattern]


def _active(network: NetworkConfig, structure: Structure) -> Array:
    """float[], parameters that are active for a task, mean over tasks: the size that is priced.

    A part that two tasks use counts for both, so that it becomes cheaper when one of them lets it
    go; by the size of the whole network, only the last of them would gain.
    """
    each = [parameters(network, structure, (task_id,)) for task_id in network.tasks]
    return jnp.mean(jnp.stack(each))


def search_data(
    network: NetworkConfig,
    config: TrainConfig,
    datasets: Mapping[str, Dataset],
    given: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What networks are trained on and judged by; never the test split.

    Args:
      network: the supernet.
      config: with the folds.
      datasets: with the splits train and validation.
      given: weights that are no member's, such as those of an encoder that adapters stand beside.

    Returns:
      `train` and `held_out` by data set, of all folds; `constants` of all folds; `references`, by
      task what scores compare with; `left_out`, by data set bool[J, N], samples but for those of a
      block of groups.

    Raises:
      InputError: there are fewer groups than folds.
    """
    partition = make_partition(datasets, config.folds, config.train_missing)
    _, constants = begin_with(network, partition, given or {})
    training, held_out = partition.device_splits(network)
    groups = {name: split.group for name, split in partition.held_out.items()}
    blocks = min(len(blocks_left_out(group, BLOCKS)) for group in groups.values())
    return {
        "train": training,
        "held_out": held_out,
        "constants": constants,
        "references": {
            task_id: np.float32(label_reference(network, partition.training, task_id))
            for task_id in network.tasks
        },
        "left_out": {name: blocks_left_out(group, blocks) for name, group in groups.items()},
    }


def _predictions(
    network: NetworkConfig, module, variables, structure, split: DeviceSplit, dataset: str, patterns
) -> dict[Any, Array]:
    """By task and pattern what a person reads, float[n] or float[n, C], of the rows of one fold.

    One loop over tasks, patterns and chunks of samples, so that the network is compiled once.
    """
    tasks = network.tasks_of(dataset)
    objectives = [(task_id, pattern) for task_id in tasks for pattern in patterns]
    of_task = [split.rows[network.tasks[task_id].name] for task_id in tasks]
    counts = [len(rows) for rows in of_task]
    chunks = -(-max(counts) // CHUNK)
    chunk = -(-max(counts) // chunks)
    # The last chunk is filled up, and cut off again below.
    padded = [jnp.pad(x, (0, chunks * chunk - len(x)), mode="edge") for x in of_task]
    rows = jnp.repeat(jnp.stack(padded), len(patterns), axis=0).reshape(-1, chunk)
    index = np.repeat([network.task_index(task_id) for task_id, _ in objectives], chunks)
    present = [[m in pattern for m in network.modalities] for _, pattern in objectives]
    visible = np.repeat(np.array(present), chunks, axis=0)

    def some(item):
        rows, task, visible = item
        allowed = {m: visible[network.modalities.index(m)] for m in network.widths[dataset]}

        def one(row):
            sample = restrict(gather(split, row, task, *network.context_of(dataset)), allowed)
            return module.apply(variables, sample, structure, Rates(), dataset).predictions

        return jax.vmap(one)(rows)

    logits = jax.lax.map(some, (rows, jnp.asarray(index, jnp.int32), jnp.asarray(visible)))
    predictions = {}
    for place, (task_id, pattern) in enumerate(objectives):
        task, count = network.tasks[task_id], counts[tasks.index(task_id)]
        own = logits[task_id].reshape(len(objectives), chunks * chunk, -1)[place, :count]
        predictions[task_id, pattern] = kind_of(task.kind).readable(task, own)
    return predictions


def _costs(network, data, task_id: str, predictions: Array) -> Array:
    """float[1 + J], 1 - score of one objective, on all samples and without each block.

    Args:
      network: tasks.
      data: of the search.
      task_id: of the objective.
      predictions: float[K, n] or float[K, n, C], of the rows that judge each fold.
    """
    task, split = network.tasks[task_id], data["held_out"][dataset_of(task_id)]
    kind, (folds, count) = kind_of(task.kind), predictions.shape[:2]
    rows = split.rows[task.name].reshape(folds, count)
    valid = jnp.ones((folds, count), bool)
    if split.counts:
        valid = jnp.arange(count) < split.counts[task.name][:, None]
    rows, valid = rows.reshape(-1), valid.reshape(-1)
    kept = data["left_out"][dataset_of(task_id)][:, rows] & valid
    predictions = predictions.reshape(folds * count, *predictions.shape[2:])
    truth = jnp.asarray(split.labels[task.name])[rows]

    def cost(mask):
        values = metrics.compute(task, predictions, truth, mask)
        return 1.0 - kind.score(task, values, data["references"][task_id])

    return jax.vmap(cost)(jnp.concatenate([valid[None], kept]))
