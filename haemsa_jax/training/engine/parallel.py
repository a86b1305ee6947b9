"""Everything that knows of `pmap`: several devices, of one process or of many, one logical step.

State, constants and data are replicated; each device takes its slice of every batch and gradients
are averaged. Where the devices are of several processes (jax.distributed), every process holds the
arrays of its own devices and calls the same programs in the same order.

`jax.pmap` has been `jit(shard_map)` since JAX 0.10; replacing it would touch this file alone.
"""

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

from haemsa_jax.errors import InputError

AXIS = "devices"
SPREAD = ("members", "finals", "fresh")  # of a search's state
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
    return yes if _local(devices) == devices else bool(multihost_utils.process_allgather(yes).any())


def spread(function: Callable, devices: list[jax.Device], **axes: Any) -> Callable[..., Any]:
    """`jax.pmap`, with what the devices at hand want of it.

    Several processes begin each program together: communication gives up when a partner is half a
    minute late, and compiling takes longer than that, so all compile first, and meet. And where a
    CPU has a device for every core, operations are not cut for several cores, which would wait for
    each other.
    """
    mapped = jax.pmap(function, AXIS, devices=devices, **axes)
    alone = _local(devices) == devices
    whole = devices[0].platform != "cpu" or len(devices) < (os.cpu_count() or 1)
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


def _local(devices: list[jax.Device]) -> list[jax.Device]:
    """Those of this process."""
    return [device for device in devices if device.process_index == jax.process_index()]


def share_of(x: Any, devices: list[jax.Device]) -> Any:
    """Of [devices, ...] what belongs to those of this process."""
    local = _local(devices)
    return x if local == devices else x[np.array([device in local for device in devices])]


def joined(tree: Any, devices: list[jax.Device]) -> Any:
    """Inverse of `share_of`: leaves of every process's devices, joined in the order of the axis."""
    if _local(devices) == devices:
        return tree
    return multihost_utils.process_allgather(jax.tree.map(np.asarray, tree), tiled=True)


def _placed(tree: Any, devices: list[jax.Device], spec: PartitionSpec) -> Any:
    local = _local(devices)
    mesh = jax.make_mesh((len(local),), (AXIS,), devices=local, axis_types=(AxisType.Auto,))
    return jax.device_put(tree, NamedSharding(mesh, spec))


def replicate(tree: Any, devices: list[jax.Device]) -> Any:
    """The same arrays on every device of this process."""
    return _placed(tree, devices, PartitionSpec())


def map_members(generation: Callable[..., Any], devices: list[jax.Device]) -> Callable[..., Any]:
    """Generations of a search, its population spread over the devices, in one call.

    Args:
      generation: (state, key, data, most) -> state. What is `SPREAD` of the state has leaves
        [P / devices, ...] on each device; all else is the same everywhere.
      devices: the axis.

    Returns:
      run(state, key, data, most, count) -> state, `count` generations later; those leaves are
      [devices, P / devices, ...].
    """

    def block(spread, state, key, data, most, count):
        def body(_, state):
            return generation(state, key, data, most)

        state = jax.lax.fori_loop(0, count, body, state.replace(**spread))
        return _split(state)

    mapped = spread(block, devices, in_axes=(0, *[None] * 5), out_axes=(0, None))

    def run(state, key, data, most, count):
        spread, rest = mapped(*_split(state), key, data, most, count)
        return rest.replace(**spread)

    return run


def _split(state: Any) -> tuple[dict[str, Any], Any]:
    """What is spread over the devices, and the rest."""
    return {name: getattr(state, name) for name in SPREAD}, state.replace(**dict.fromkeys(SPREAD))


def place_members(state: Any, devices: list[jax.Device]) -> Any:
    """A search's state with its members spread over the devices and the rest on each of them."""
    spread, rest = _split(state)
    if len(state.members) == len(devices):  # all of them, on the host or just begun
        spread = {name: share_of(x, devices) for name, x in spread.items()}
    spread = _placed(spread, devices, PartitionSpec(AXIS))
    return replicate(rest, devices).replace(**spread)


def whole(state: Any, devices: list[jax.Device]) -> Any:
    """A search's state with the members of all processes."""
    spread, rest = _split(state)
    return rest.replace(**joined(spread, devices))


def member_slice(share: int) -> Array:
    """int[share], the places of this device's members in the population."""
    return jax.lax.axis_index(AXIS) * share + jnp.arange(share)


def all_members(own: Any, devices: int) -> Any:
    """Leaves [P / devices, ...] of every device's members joined to [P, ...]."""
    if devices == 1:
        return own
    return jax.tree.map(lambda x: jax.lax.all_gather(x, AXIS, tiled=True), own)
