"""The forward pass of a run's networks, and which networks, data set and modalities it is of."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from haemsa_jax.config import NetworkConfig
from haemsa_jax.data.batches import gather
from haemsa_jax.errors import InputError
from haemsa_jax.models import Rates, build, constant_axes, variables_of
from haemsa_jax.structure.parts import declare
from haemsa_jax.training.engine.members import in_turns
from haemsa_jax.training.persistence.trained import Trained


def make_forward(network: NetworkConfig, dataset: str):
    """forward(params, constants, structures, split, rows): S networks on some rows of a split.

    Returns:
      `predictions` by task name float[S, R, C], raw outputs, and `gates` float[S, K, R, ...] of the
      data set's K tasks.
    """
    model = build(network)
    past, future = network.context_of(dataset)
    task_ids = network.tasks_of(dataset)
    places = np.array([network.task_index(task_id) for task_id in task_ids])

    def forward(params, constants, structures, split, rows):
        def of(params, constants, structure):
            variables = variables_of(params, constants)

            def asked(task, row):
                sample = gather(split, row, task, past, future)
                return model.apply(variables, sample, structure, Rates(), dataset)

            out = jax.vmap(jax.vmap(asked, (None, 0)), (0, None))(jnp.asarray(places), rows)
            predictions = {
                network.tasks[task_id].name: out.predictions[task_id][number]
                for number, task_id in enumerate(task_ids)
            }
            return {"predictions": predictions, "gates": out.gates}

        # An encoder fills the device by itself.
        axes = (0, constant_axes(constants), 0)
        each = in_turns(of, axes, 1) if network.encoded(dataset) else jax.vmap(of, axes)
        return each(params, constants, structures)

    return forward


def joined(forward: Callable, tasks: Sequence[str], network: NetworkConfig) -> Callable:
    """What `forward` returns as two arrays, since each costs a copy from the device.

    Args:
      forward: of `make_forward`.
      tasks: their names, in order.
      network: whose gates they are.

    Returns:
      A function of the same arguments: raw outputs of all tasks, one after the other, float[S, R,
      ...], and the means over networks of all gates, as declared, float[K, R, ...].
    """

    def fetched(*arguments):
        outputs = forward(*arguments)
        raw = [outputs["predictions"][name] for name in tasks]
        gates = [outputs["gates"][gating.name] for gating in declare(network).gates]
        networks, rows, _ = raw[0].shape
        none = jnp.zeros((networks, len(raw), rows, 0))
        return jnp.concatenate(raw, -1), jnp.concatenate([none, *gates], -1).mean(0)

    return fetched


def chosen_networks(trained: Trained, networks: int | None) -> Trained:
    """Those whose predictions are averaged: so many, or all seeds, or a search's best."""
    count = trained.count
    wanted = (1 if trained.ranked else count) if networks is None else networks
    if not 1 <= wanted <= count:
        raise InputError(f"networks={networks} are asked for, but the run holds {count}")
    return trained.bags(wanted)


def read_by_task(trained: Trained, dataset: str) -> dict[str, tuple[str, ...]]:
    """By the name of each task on a data set the modalities that any network reads for it."""
    network = trained.experiment.network
    reads = {}
    for task_id in network.tasks_of(dataset):
        masks = np.asarray(trained.structures[f"modalities/{task_id}"])  # [S, modalities]
        opened = np.any(masks > 0, axis=0)
        reads[network.tasks[task_id].name] = tuple(
            m for m, some in zip(network.reads(task_id), opened, strict=True) if some
        )
    return reads


def chosen_dataset(network: NetworkConfig, dataset: str | None) -> str:
    """As which data set samples are read."""
    known = list(network.widths)
    if dataset is None and len(known) == 1:
        return known[0]
    if dataset not in known:
        raise InputError(
            f"dataset={dataset!r}: the network reads {', '.join(known)}; name one of them"
        )
    return dataset
