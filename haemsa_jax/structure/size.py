"""How large the network of a structure is, as a function that evolution can price.

Parameters are counted from the layout: an array counts where its owner is used, each axis with the
segments that are. Floating-point operations are those of the matrix products that a sample runs
through, found by tracing the network with windows of one, two and three times the tokens: attention
grows with the square of the window, all else in proportion. Both count exactly what `specialise`
would build; tests compare them with real networks, array by array.
"""

import functools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from haemsa_jax.config import NetworkConfig
from haemsa_jax.structure.axes import Axis
from haemsa_jax.structure.interface import SIDES
from haemsa_jax.structure.layout import layout, owners
from haemsa_jax.structure.parts import Structure, declare, default_structure, task_numbers
from haemsa_jax.structure.usage import running, usage

Array = jax.Array
WINDOWS = (1, 2, 3)  # three points fix a polynomial of degree two


@struct.dataclass
class Size:
    """Of a specialised network.

    Attributes:
      parameters: float[], how many numbers are learnt, without those of a tuned encoder.
      flops: float[], floating-point operations of all matrix products (two a multiplication) for
        one sample of every data set, summed over data sets, without an encoder's.
    """

    parameters: Array
    flops: Array


def size(
    network: NetworkConfig,
    structure: Structure,
    tokens: Mapping[str, Mapping[str, int]] | None = None,
) -> Size:
    """Size of what `specialise` would build. Pure, vmappable.

    Args:
      network: the supernet.
      structure: which of its parts are used.
      tokens: per data set and modality, tokens of an utterance; 1 by default.
    """
    return Size(parameters(network, structure), flops(network, structure, tokens))


def parameters(
    network: NetworkConfig, structure: Structure, tasks: Iterable[str] | None = None
) -> Array:
    """float[], numbers that are learnt, of all tasks' parts or of those of some tasks."""
    used, part = usage(network, structure, tasks), declare(network).part
    # Arrays of one owner and the same axes are summed before anything is traced.
    counts: dict[tuple[str, tuple[Axis, ...]], int] = {}
    for array in layout(network)["params"].values():
        if part[array.owner].counted:
            labelled = tuple(axis for axis in array.axes if axis)
            rest = math.prod(
                length for length, axis in zip(array.shape, array.axes, strict=True) if not axis
            )
            key = array.owner, labelled
            counts[key] = counts.get(key, 0) + rest
    total = jnp.float32(0.0)
    for (owner, axes), count in counts.items():
        total += used[owner] * count * math.prod(_active(axis, used) for axis in axes)
    return total


def flops(
    network: NetworkConfig,
    structure: Structure,
    tokens: Mapping[str, Mapping[str, int]] | None = None,
) -> Array:
    """float[], operations for one sample of every data set; arguments as for `size`."""
    total = jnp.float32(0.0)
    before, after = (task_numbers(network, structure, side) for side in SIDES)
    used = usage(network, structure)  # axes are as long for every data set
    for dataset in network.widths:
        each = (tokens or {}).get(dataset) or dict.fromkeys(network.widths[dataset], 1)
        rows = np.array([network.task_index(task_id) for task_id in network.tasks_of(dataset)])
        window = 1.0 + before[rows].max() + after[rows].max()
        runs = running(network, structure, dataset)
        for product in _products(network, dataset, tuple(sorted(each.items()))):
            cost = sum(c * window**power for power, c in enumerate(product.coefficients))
            places = math.prod(_active(axis, used) for axis in product.axes)
            total += runs[product.owner] * places * cost
    return total


def _active(axis: Axis, used: Mapping[str, Any]) -> Any:
    """Length of the segments that are used."""
    return sum(segment.size * math.prod(used[part] for part in segment.parts) for segment in axis)


@dataclass(frozen=True)
class _Product:
    """Matrix products of one call of one module.

    Attributes:
      owner: name of the part whose they are.
      axes: those with segments.
      coefficients: of the window's powers, the operations for each place on all of these axes.
    """

    owner: str
    axes: tuple[Axis, ...]
    coefficients: tuple[float, ...]


@functools.lru_cache(maxsize=256)
def _products(
    network: NetworkConfig, dataset: str, tokens: tuple[tuple[str, int], ...]
) -> tuple[_Product, ...]:
    traces = [
        _trace(_windowed(network, dataset, k), dataset, {m: k * n for m, n in tokens})
        for k in WINDOWS
    ]
    owner, part = owners(network), declare(network).part
    powers = np.vander(WINDOWS, increasing=True)
    products = []
    for calls in zip(*traces, strict=True):
        path, axes, _ = calls[0]
        name = owner(path).name
        if part[name].kind != "encoder":
            axes = tuple(axis for axis in axes if axis)
            places = math.prod(sum(segment.size for segment in axis) for axis in axes)
            costs = np.linalg.solve(powers, [cost for *_, cost in calls]) / places
            products.append(_Product(name, axes, tuple(costs.round(6).tolist())))
    return tuple(products)


def _windowed(network: NetworkConfig, dataset: str, utterances: int) -> NetworkConfig:
    """The network with that many utterances in the window of a data set."""
    kept = {
        name: labels for name, labels in network.kept.items() if name.partition("/")[0] not in SIDES
    }
    context = {**network.context, dataset: (utterances - 1, 0)}
    return network.changed(context=context, kept=kept)


def _trace(network: NetworkConfig, dataset: str, tokens: Mapping[str, int]) -> list[tuple]:
    """(path, axes, operations) of every matrix product that a sample of a data set runs through."""
    from haemsa_jax.models.model import Rates, build
    from haemsa_jax.sample import Sample

    calls: list[tuple] = []

    def intercept(call, arguments, keywords, context):
        module, result = context.module, call(*arguments, **keywords)
        if context.method_name == "__call__":
            if isinstance(module, nn.Dense):
                x = arguments[0]
                axes = tuple(getattr(module, name, ()) for name in ("rows", "columns", "over"))
                calls.append((module.path, axes, 2.0 * math.prod(x.shape) * module.features))
            elif isinstance(module, nn.Conv):
                kernel = np.atleast_1d(module.kernel_size)
                each = math.prod(kernel) * arguments[0].shape[-1] // module.feature_group_count
                calls.append((module.path, (), 2.0 * math.prod(result.shape) * each))
            elif hasattr(module, "products"):
                calls.append(
                    (
                        module.path,
                        (getattr(module, "over", ()),),
                        float(module.products(*arguments)),
                    )
                )
        return result

    widths = network.widths[dataset]

    def blank() -> Sample:
        return Sample(
            features={m: jnp.zeros((tokens[m], width)) for m, width in widths.items()},
            masks={m: jnp.zeros(tokens[m], bool) for m in widths},
            offsets={m: jnp.zeros(tokens[m], jnp.int32) for m in widths},
            task=jnp.zeros((), jnp.int32),
        )

    model, structure = build(network), default_structure(network)
    # As it is initialised: one pass, and no shape of a parameter is traced again to be checked.
    with nn.intercept_methods(intercept):
        jax.eval_shape(
            lambda key, sample: model.init({"params": key}, sample, structure, Rates(), dataset),
            jax.random.key(0), jax.eval_shape(blank),
        )  # fmt: skip
    return calls
