"""Everything that knows of `pmap`: several devices, of one process or of many, one logical step.

State, constants and data are replicated; each device takes its slice of every batch and gradients
are averaged. Where the devices are of several processes (jax.distributed), every process holds the
arrays of its own devices and calls the same programs in the same order. Networks come in stacks: S
members side by side under one `vmap`, be they the seeds of one experiment or the best of a search.

`jax.pmap` has been `jit(shard_map)` since JAX 0.10; replacing it would touch this file alone.
"""

import functools
import itertools
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from orbax.checkpoint import multihost

from haemsa_jax.config import NetworkConfig, TrainConfig, dataset_of
from haemsa_jax.data.batches import DeviceSplit, gather
from haemsa_jax.errors import InputError
from haemsa_jax.models.haemsa import Haemsa, Rates, variables_of
from haemsa_jax.training.step import longest_text, make_step

AXIS = "devices"
PATIENCE = 1800  # seconds that a process waits for others to come as far as it has
MEETINGS = itertools.count()  # each has a number of its own
Array = jax.Array


def check_divisible(batch_size: int, devices: int) -> None:
    """A batch must split evenly over the devices."""
    if batch_size % devices:
        raise InputError(
            f"batch_size={batch_size} does not divide over {devices} devices; choose a multiple of "
            f"{devices}, such as {-(-batch_size // devices) * devices}, or fewer devices"
        )


def writes(devices: list[jax.Device]) -> bool:
    """Whether this process is the one that writes what all of them have made."""
    return devices[0].process_index == jax.process_index()


def meet() -> None:
    """Waits until every process is here."""
    wait = multihost.get_barrier_sync_fn()
    wait(key=f"meeting {next(MEETINGS)}", timeout_ms=1000 * PATIENCE)


def anybody(yes: bool, devices: list[jax.Device]) -> bool:
    """Whether any process says yes; every process then has the same answer."""
    return yes if _mine(devices) == devices else bool(multihost_utils.process_allgather(yes).any())


def _pmap(function: Callable, devices: list[jax.Device], **axes: Any) -> Callable[..., Any]:
    """`jax.pmap`, with what the devices at hand want of it.

    Several processes begin each program together: communication gives up when a partner is half a
    minute late, and compiling takes longer than that, so all compile first, and meet. And where a
    CPU has a device for every core, operations are not cut for several cores, which would wait for
    each other.
    """
    mapped = jax.pmap(function, AXIS, devices=devices, **axes)
    alone = _mine(devices) == devices
    whole = devices[0].platform != "cpu" or len(devices) < os.cpu_count()
    if alone and whole:
        return mapped
    programs: dict[tuple, Callable[..., Any]] = {}

    def run(*arguments):
        leaves, structure = jax.tree.flatten(arguments)
        kind = structure, tuple((jnp.shape(x), jnp.result_type(x)) for x in leaves)
        if kind not in programs:
            programs[kind] = mapped
            if alone:
                options = {"xla_cpu_multi_thread_eigen": False}
                programs[kind] = mapped.lower(*arguments).compile(options)
            else:
                mapped.lower(*arguments).compile()
                meet()
        return programs[kind](*arguments)

    return run


def _mine(devices: list[jax.Device]) -> list[jax.Device]:
    """Those of this process."""
    return [device for device in devices if device.process_index == jax.process_index()]


def _share(x: Any, devices: list[jax.Device]) -> Any:
    """Of [devices, ...] what belongs to those of this process."""
    mine = _mine(devices)
    return x if mine == devices else x[np.array([device in mine for device in devices])]


def _joined(tree: Any, devices: list[jax.Device]) -> Any:
    """Inverse of `_share`: leaves of every process's devices, joined in the order of the axis."""
    if _mine(devices) == devices:
        return tree
    return multihost_utils.process_allgather(jax.tree.map(np.asarray, tree), tiled=True)


def _placed(tree: Any, devices: list[jax.Device], spec: PartitionSpec) -> Any:
    mine = _mine(devices)
    mesh = jax.make_mesh((len(mine),), (AXIS,), devices=mine, axis_types=(AxisType.Auto,))
    return jax.device_put(tree, NamedSharding(mesh, spec))


def replicate(tree: Any, devices: list[jax.Device]) -> Any:
    """The same arrays on every device of this process."""
    return _placed(tree, devices, PartitionSpec())


def make_block(
    network: NetworkConfig, config: TrainConfig, total_steps: int, length: int,
    devices: list[jax.Device],
) -> Callable[..., tuple[Any, Array]]:  # fmt: skip
    """Many training steps of S members in one call.

    Returns:
      block(states, constants, architectures, hypers, data, seeds, steps) -> (states, losses): the
      plural arguments have a leading axis S, seeds are keys, steps an int[] <= length and losses
      float[length, S, K], zeros after `steps`. The number of steps is data: one program serves
      every block, and a run cut anywhere takes the same steps.
    """
    check_divisible(config.batch_size, len(devices))
    step = make_step(network, config, total_steps, AXIS, len(devices))
    step = _side_by_side(network, step, (0, None, 0, 0, None, 0, 0))

    def block(_, states, constants, architectures, hypers, data, seeds, steps):
        def body(index, carry):
            states, losses = carry
            states, now = step(states, constants, architectures, hypers, data, seeds, states.step)
            return states, losses.at[index].set(now)

        losses = jnp.zeros((length, len(seeds), len(network.tasks)))
        return jax.lax.fori_loop(0, steps, body, (states, losses))

    mapped = _pmap(block, devices, in_axes=(0, *[None] * 7), out_axes=None)
    lanes = _share(np.arange(len(devices)), devices)
    return lambda *arguments: mapped(lanes, *arguments)


def make_predict(
    network: NetworkConfig, batch_size: int, devices: list[jax.Device], parts: bool = False
) -> Callable[..., dict[str, np.ndarray]]:
    """Prediction of S members over many rows, tail included.

    Args:
      network: of the members.
      batch_size: rows at a time, over all devices.
      devices: the axis.
      parts: also tell `shared` and `specific`, [S, n, M, D].

    Returns:
      predict(params, constants, architectures, split, task_id, rows) -> dict of arrays, params and
      architectures with a leading axis S: `prediction` float[S, n, C] (label units, or logits),
      `local` [S, n, M, L, E], `links` [S, n, M, M], `fusion` [S, n, F] gate weights.
    """
    module, count = Haemsa(network), len(devices)
    share = max(1, batch_size // count)

    def forward(dataset: str, arrays, constants, split: DeviceSplit, task: Array, rows: Array):
        def one(member, sample, longest):
            params, architecture = member
            variables = variables_of(params, constants)
            out = module.apply(variables, sample, architecture, Rates(), dataset, longest)
            gates = {
                "local": out.local_gates,
                "links": out.link_weights,
                "fusion": out.fusion_gates,
            }
            if parts:
                gates |= {"shared": out.shared, "specific": out.specific}
            return out.predictions, gates

        def some(rows):
            window = network.context_of(dataset)
            samples = jax.vmap(lambda row: gather(split, row, task, *window))(rows)
            longest = longest_text(network, dataset, samples)
            each = jax.vmap(lambda member, sample: one(member, sample, longest), (None, 0))
            return _side_by_side(network, each, (0, None))(arrays, samples)

        return jax.lax.map(some, rows)

    # The task is data, so that all tasks of a data set share one program.
    mapped = {
        dataset: _pmap(
            functools.partial(forward, dataset), devices, in_axes=(None, None, None, None, 0)
        )
        for dataset in network.widths
    }

    def predict(params, constants, architectures, split, task_id, rows):
        rows, task = np.asarray(rows), np.int32(network.task_index(task_id))
        blocks = -(-len(rows) // (count * share))
        # The tail is filled up with the first row, and cut off again below.
        padded = np.full(count * blocks * share, rows[0], np.int32)
        padded[: len(rows)] = rows
        padded = _share(padded.reshape(count, blocks, share), devices)
        said, gates = _joined(
            mapped[dataset_of(task_id)]((params, architectures), constants, split, task, padded),
            devices,
        )

        def flat(x):  # [devices, blocks, S, share, ...] to [S, n, ...]
            x = np.moveaxis(np.asarray(x), 2, 0)
            return x.reshape(len(x), -1, *x.shape[4:])[:, : len(rows)]

        return jax.tree.map(flat, {"prediction": said[task_id], **gates})

    return predict


def _side_by_side(network: NetworkConfig, function, axes: tuple) -> Callable[..., Any]:
    """`function` of S members at once; one after the other where each fills the device alone."""
    alone = any(network.encodes(dataset) for dataset in network.widths)
    return in_turns(function, axes, 1) if alone else jax.vmap(function, axes)


def in_turns(function: Callable[..., Any], axes: tuple, together: int) -> Callable[..., Any]:
    """What `jax.vmap` of axes 0 and None computes, so many members together and then the next."""

    def mapped(*arguments):
        def one(mine):
            rest = iter(mine)
            filled = [next(rest) if axis == 0 else x for x, axis in zip(arguments, axes,
                                                                        strict=True)]  # fmt: skip
            return function(*filled)

        members = [x for x, axis in zip(arguments, axes, strict=True) if axis == 0]
        # A batch of one would be mapped too, and of a choice of branches all be computed.
        return jax.lax.map(one, members, batch_size=together if together > 1 else None)

    return mapped


def map_members(generation: Callable[..., Any], devices: list[jax.Device]) -> Callable[..., Any]:
    """Generations of a search, its population spread over the devices, in one call.

    Args:
      generation: (state, key, data) -> state. `members` and `fresh` of the state have leaves
        [P / devices, ...] on each device; all else is the same everywhere.
      devices: the axis.

    Returns:
      run(state, key, data, count) -> state, `count` generations later; those leaves are
      [devices, P / devices, ...].
    """

    def block(spread, state, key, data, count):
        def body(_, state):
            return generation(state, key, data)

        state = jax.lax.fori_loop(0, count, body, state.replace(**spread))
        return _split(state)

    mapped = _pmap(block, devices, in_axes=(0, None, None, None, None), out_axes=(0, None))

    def run(state, key, data, count):
        spread, rest = mapped(*_split(state), key, data, count)
        return rest.replace(**spread)

    return run


def _split(state: Any) -> tuple[dict[str, Any], Any]:
    """What is spread over the devices, and the rest."""
    return {"members": state.members, "fresh": state.fresh}, state.replace(members=None, fresh=None)


def place_members(state: Any, devices: list[jax.Device]) -> Any:
    """A search's state with its members spread over the devices and the rest on each of them."""
    spread, rest = _split(state)
    if len(state.members) == len(devices):  # all of them, on the host or just begun
        spread = {name: _share(x, devices) for name, x in spread.items()}
    spread = _placed(spread, devices, PartitionSpec(AXIS))
    return replicate(rest, devices).replace(**spread)


def whole(state: Any, devices: list[jax.Device]) -> Any:
    """A search's state with the members of all processes."""
    spread, rest = _split(state)
    return rest.replace(**_joined(spread, devices))


def member_slice(share: int) -> Array:
    """int[share], the places of this device's members in the population."""
    return jax.lax.axis_index(AXIS) * share + jnp.arange(share)


def all_members(mine: Any, devices: int) -> Any:
    """Leaves [P / devices, ...] of every device's members joined to [P, ...]."""
    if devices == 1:
        return mine
    return jax.tree.map(lambda x: jax.lax.all_gather(x, AXIS, tiled=True), mine)
