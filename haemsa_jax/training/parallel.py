"""Everything that knows of `pmap`: several local devices, one logical step.

State, constants and data are replicated; each device takes its slice of every batch and gradients
are averaged. `jax.pmap` has been `jit(shard_map)` since JAX 0.10; replacing it would touch this
file alone.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from haemsa_jax.config import NetworkConfig, TrainConfig, dataset_of
from haemsa_jax.data.batches import DeviceSplit, gather
from haemsa_jax.errors import InputError
from haemsa_jax.models.haemsa import Haemsa, Rates
from haemsa_jax.training.step import make_step

AXIS = "devices"
Array = jax.Array


def check_divisible(batch_size: int, devices: int) -> None:
    """A batch must split evenly over the devices."""
    if batch_size % devices:
        raise InputError(
            f"batch_size={batch_size} does not divide over {devices} devices; choose a multiple of "
            f"{devices}, such as {-(-batch_size // devices) * devices}, or fewer devices"
        )


def replicate(tree: Any, devices: list[jax.Device]) -> Any:
    """The same arrays on every device."""
    mesh = jax.make_mesh((len(devices),), (AXIS,), devices=devices, axis_types=(AxisType.Auto,))
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def make_block(
    network: NetworkConfig, config: TrainConfig, total_steps: int, length: int,
    devices: list[jax.Device],
) -> Callable[..., tuple[Any, Array]]:  # fmt: skip
    """Many training steps in one call.

    Returns:
      block(state, constants, architecture, hyper, data, seed, steps) -> (state, losses), steps an
      int[] <= length, losses float[length, K] with zeros after `steps`. The number of steps is
      data: one program serves every block, and a run cut anywhere takes the same steps.
    """
    check_divisible(config.batch_size, len(devices))
    step = make_step(network, config, total_steps, AXIS, len(devices))

    def block(_, state, constants, architecture, hyper, data, seed, steps):
        def body(index, carry):
            state, losses = carry
            state, now = step(state, constants, architecture, hyper, data, seed)
            return state, losses.at[index].set(now)

        losses = jnp.zeros((length, len(network.tasks)))
        return jax.lax.fori_loop(0, steps, body, (state, losses))

    mapped = jax.pmap(block, AXIS, in_axes=(0, *[None] * 7), out_axes=None, devices=devices)
    lanes = np.arange(len(devices))
    return lambda *arguments: mapped(lanes, *arguments)


def make_predict(
    network: NetworkConfig, batch_size: int, devices: list[jax.Device]
) -> Callable[..., dict[str, np.ndarray]]:
    """Prediction over many rows, tail included.

    Returns:
      predict(params, constants, architecture, split, task_id, rows) -> dict of arrays over the
      rows: `prediction` float[n, C] (label units, or logits), `local` [n, M, L, E],
      `links` [n, M, M], `fusion` [n, F] gate weights.
    """
    module, count = Haemsa(network), len(devices)
    share = max(1, batch_size // count)

    def forward(variables, architecture, split: DeviceSplit, task: Array, rows: Array, dataset):
        def one(row):
            sample = gather(split, row, task, *network.context_of(dataset))
            out = module.apply(variables, sample, architecture, Rates(), dataset)
            gates = {
                "local": out.local_gates,
                "links": out.link_weights,
                "fusion": out.fusion_gates,
            }
            return out.predictions, gates

        return jax.lax.map(jax.vmap(one), rows)

    # The task is data, so that all tasks of a data set share one program.
    mapped = jax.pmap(
        forward, AXIS, in_axes=(None, None, None, None, 0), out_axes=0,
        static_broadcasted_argnums=5, devices=devices,
    )  # fmt: skip

    def predict(params, constants, architecture, split, task_id, rows):
        variables = {"params": params, "constants": constants}
        rows, task = np.asarray(rows), np.int32(network.task_index(task_id))
        blocks = -(-len(rows) // (count * share))
        # The tail is filled up with the first row, and cut off again below.
        padded = np.full(count * blocks * share, rows[0], np.int32)
        padded[: len(rows)] = rows
        padded = padded.reshape(count, blocks, share)
        said, gates = mapped(variables, architecture, split, task, padded, dataset_of(task_id))
        out = {"prediction": said[task_id], **gates}
        flat = jax.tree.map(lambda x: np.asarray(x).reshape(-1, *x.shape[3:]), out)
        return jax.tree.map(lambda x: x[: len(rows)], flat)

    return predict
