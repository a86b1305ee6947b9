"""A network as a search problem: how a member is trained and what its validation costs."""

import functools
from collections.abc import Mapping, Sequence
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
from haemsa_jax.evolution.genome import decode, default_genome, gene_table
from haemsa_jax.evolution.state import Problem, SearchConfig
from haemsa_jax.models import Rates, build, constants_at, default_structure, variables_of
from haemsa_jax.structure.parts import Structure
from haemsa_jax.structure.size import parameters
from haemsa_jax.tasks import kind_of, metrics
from haemsa_jax.training.engine.drawing import make_draw
from haemsa_jax.training.engine.state import init_params, init_state
from haemsa_jax.training.engine.step import make_train_step
from haemsa_jax.training.measurement.normalization import begin_with
from haemsa_jax.training.measurement.scoring import label_reference
from haemsa_jax.training.random_streams import step_key

Array = jax.Array
CHUNK = 256  # validation samples at a time


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
      The problem; its data is what `search_data` makes. A member is a detached `TrainState`. Costs
      are 1 - `TaskKind.score` by task and pattern: 0 is perfect; 1 is what the training median
      reaches where the primary metric is the MAE, and a metric of zero where it is another. All
      tasks weigh the same.

    Raises:
      InputError: no pattern has a modality of one of the data sets, or an encoder would be trained
        whole.
    """
    objectives, weights = _objectives(network, config, patterns)
    module = build(network)
    step = make_train_step(network, config, total_steps=search.schedule)
    draw = make_draw(network, config)
    everything = jax.jit(functools.partial(_active, network))(default_structure(network))

    def init(key, data):
        del data
        return init_state(network, config, init_params(network, config, key))

    def train(member, genome, data, key, start, count):
        structure, settings = decode(network, genome, config)

        def body(index, member):
            now = start + index
            batch, rng = draw(data["train"], key, now), step_key(key, now)
            state = member.attached(structure, settings, data["constants"])
            return step(state, batch, rng, now)[0].detached()

        return jax.lax.fori_loop(0, count, body, member)

    def evaluate(member, genome, data):
        structure, _ = decode(network, genome, config)
        variables = variables_of(member.averaged, data["constants"])
        costs = {}
        for dataset in network.widths:
            first = network.tasks_of(dataset)[0]
            of_data = [pattern for task_id, pattern in objectives if task_id == first]
            costs |= _costs(network, module, variables, structure, data, dataset, of_data)
        return jnp.stack([costs[objective] for objective in objectives])

    def share(genome):
        return _active(network, decode(network, genome, config)[0]) / everything

    names = tuple(f"{task_id}|{'+'.join(pattern)}" for task_id, pattern in objectives)
    table, default = gene_table(network, config), default_genome(network, config)
    return Problem(table, default, names, init, train, evaluate, share, weights)


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
    patterns = {
        name: patterns_of(network, name, patterns or [network.modalities])
        for name in network.widths
    }
    objectives = [(t, pattern) for t in network.tasks for pattern in patterns[dataset_of(t)]]
    shares = np.array([1 / len(patterns[dataset_of(t)]) for t, _ in objectives]) / len(
        network.tasks
    )
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
    return sum(each) / len(each)


def search_data(
    network: NetworkConfig, datasets: Mapping[str, Dataset], given: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What members are trained and validated on; never the test split.

    Args:
      network: the supernet.
      datasets: with the splits train and validation.
      given: weights that are no member's, such as those of an encoder that adapters stand beside.
    """
    partition = make_partition(datasets)
    _, constants = begin_with(network, partition, given or {})
    training, held_out = partition.device_splits(network)
    return {
        "train": training,
        "validation": held_out,
        "constants": constants_at(constants, 0),
        "references": {
            task_id: np.float32(label_reference(network, partition.training, task_id))
            for task_id in network.tasks
        },
    }


def _costs(
    network: NetworkConfig, module, variables, structure, data, dataset: str, patterns
) -> dict[Any, Array]:
    """1 - score by task of one data set and pattern.

    One loop over tasks, patterns and chunks of samples, so that the network is compiled once.
    """
    split: DeviceSplit = data["validation"][dataset]
    tasks = network.tasks_of(dataset)
    objectives = [(task_id, pattern) for task_id in tasks for pattern in patterns]
    rows = [split.rows[network.tasks[task_id].name] for task_id in tasks]
    chunks = -(-max(map(len, rows)) // CHUNK)
    chunk = -(-max(map(len, rows)) // chunks)
    # The last chunk is filled up, and cut off again below.
    rows = [jnp.pad(r, (0, chunks * chunk - len(r)), mode="edge") for r in rows]
    rows = jnp.repeat(jnp.stack(rows), len(patterns), axis=0).reshape(-1, chunk)
    index = np.repeat([network.task_index(task_id) for task_id, _ in objectives], chunks)
    visible = [[m in pattern for m in network.modalities] for _, pattern in objectives]
    visible = np.repeat(np.array(visible), chunks, axis=0)

    def some(item):
        rows, task, visible = item
        allowed = {m: visible[network.modalities.index(m)] for m in network.widths[dataset]}

        def one(row):
            sample = restrict(gather(split, row, task, *network.context_of(dataset)), allowed)
            return module.apply(variables, sample, structure, Rates(), dataset).predictions

        return jax.vmap(one)(rows)

    logits = jax.lax.map(some, (rows, jnp.asarray(index, jnp.int32), jnp.asarray(visible)))
    costs = {}
    for place, (task_id, pattern) in enumerate(objectives):
        own = logits[task_id].reshape(len(objectives), chunks * chunk, -1)[place]
        costs[task_id, pattern] = _cost(network, split, data["references"], task_id, own)
    return costs


def _cost(network, split: DeviceSplit, references, task_id: str, logits: Array) -> Array:
    """1 - score of one task from the network's logits of its rows, float[>= n, C]."""
    task = network.tasks[task_id]
    kind, rows = kind_of(task.kind), split.rows[task.name]
    predictions = kind.readable(task, logits[: len(rows)])
    truth = split.labels[task.name][rows]
    values = metrics.compute(task, predictions, truth, jnp.ones(len(rows), bool))
    return 1.0 - kind.score(task, values, references[task_id])
