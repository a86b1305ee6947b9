"""Prediction of a stack of members over many rows of a split."""

import functools
from collections.abc import Callable
from typing import Any, cast

import jax
import numpy as np

from haemsa_jax.config import NetworkConfig, dataset_of
from haemsa_jax.data.batches import DeviceSplit, gather
from haemsa_jax.models import Outputs, Rates, build, constant_axes, variables_of
from haemsa_jax.training.engine import parallel
from haemsa_jax.training.engine.members import side_by_side
from haemsa_jax.training.objective.batch_losses import longest_tokens

Array = jax.Array
EVALUATION_BATCH = 256  # rows at a time


def make_predict(
    network: NetworkConfig,
    batch_size: int,
    devices: list[jax.Device],
    representations: tuple[str, ...] = (),
) -> Callable[..., dict[str, Any]]:
    """Prediction of S members over many rows, tail included.

    Args:
      network: of the members.
      batch_size: rows at a time, over all devices.
      devices: each takes its share of the rows.
      representations: names of those of `Outputs` that are wanted too.

    Returns:
      predict(params, constants, structures, split, task_id, rows) -> dict, the networks' arrays
      with a leading axis S (constants of encoders without): `prediction` float[S, n, C] (label
      units, or logits), `gates` by name [S, n, ...], `representations` by name [S, n, ...].
    """
    count = len(devices)
    share = max(1, batch_size // count)
    forward = _make_forward(network, representations)
    # The task is data, so that all tasks of a data set share one program.
    spread = {
        dataset: parallel.spread(
            functools.partial(forward, dataset), devices, in_axes=(*[None] * 5, 0)
        )
        for dataset in network.widths
    }

    def predict(params, constants, structures, split, task_id, rows):
        rows, task = np.asarray(rows), np.int32(network.task_index(task_id))
        blocks = -(-len(rows) // (count * share))
        # The tail is filled up with the first row, and cut off again below.
        padded = np.full(count * blocks * share, rows[0], np.int32)
        padded[: len(rows)] = rows
        padded = parallel.share_of(padded.reshape(count, blocks, share), devices)
        outputs = parallel.joined(
            spread[dataset_of(task_id)](params, constants, structures, split, task, padded),
            devices,
        )

        def flat(x):  # [devices, blocks, S, share, ...] to [S, n, ...]
            x = np.moveaxis(np.asarray(x), 2, 0)
            return x.reshape(len(x), -1, *x.shape[4:])[:, : len(rows)]

        return jax.tree.map(flat, {**outputs, "prediction": outputs["prediction"][task_id]})

    return predict


def _make_forward(
    network: NetworkConfig, representations: tuple[str, ...]
) -> Callable[..., dict[str, Any]]:
    """forward(dataset, params, constants, structures, split, task, rows), rows int[blocks, R]."""
    module = build(network)

    def forward(
        dataset: str, params, constants, structures, split: DeviceSplit, task: Array, rows: Array
    ):
        def one(params, constants, structure, sample, longest):
            variables = variables_of(params, constants)
            out = cast(
                Outputs, module.apply(variables, sample, structure, Rates(), dataset, longest)
            )
            return {
                "prediction": out.predictions,
                "gates": out.gates,
                "representations": {name: out.representations[name] for name in representations},
            }

        def some(rows):
            window = network.context_of(dataset)
            samples = jax.vmap(lambda row: gather(split, row, task, *window))(rows)
            longest = longest_tokens(network, dataset, samples)

            def each(params, constants, structure, samples):
                of = functools.partial(one, params, constants, structure, longest=longest)
                return jax.vmap(lambda sample: of(sample))(samples)

            axes = (0, constant_axes(constants), 0, None)
            return side_by_side(network, each, axes)(params, constants, structures, samples)

        return jax.lax.map(some, rows)

    return forward
