"""How large the network of an architecture is, as a function that evolution can price.

Parameters and multiplications are polynomials of the masks. They count exactly what `specialise`
would build, but for a text encoder within the network, of which adapters alone count; tests compare
them with real networks, array by array.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from haemsa_jax.config import FUSION_OPERATORS, LOCAL_EXPERTS, NetworkConfig
from haemsa_jax.models.architecture import Architecture, reach
from haemsa_jax.models.encoder import ADAPTED

Array = jax.Array


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


class _Tally:
    """Sums of parameters and operations, each weighed by how much of it is used."""

    def __init__(self):
        self.parameters = self.flops = jnp.float32(0.0)

    def dense(self, rows, columns, used=1.0, tokens=0.0, bias=True):
        """A dense layer on `tokens` vectors; `tokens` is a sum over data sets."""
        self.parameters += used * (rows * columns + (columns if bias else 0))
        self.flops += used * 2 * rows * columns * tokens

    def plain(self, parameters, used=1.0):
        """Parameters without a matrix product."""
        self.parameters += used * parameters

    def product(self, flops, used=1.0):
        """Matrix products without parameters."""
        self.flops += used * flops


def size(
    network: NetworkConfig,
    architecture: Architecture,
    tokens: Mapping[str, Mapping[str, int]] | None = None,
) -> Size:
    """Size of what `specialise` would build. Pure, vmappable.

    Args:
      network: the supernet.
      architecture: which of its parts are used.
      tokens: per data set and modality, tokens of an utterance; 1 by default.
    """
    width, names, tasks = network.width, network.modalities, list(network.tasks)
    if tokens is None:
        tokens = {dataset: dict.fromkeys(network.widths[dataset], 1) for dataset in network.widths}
    window = {d: 1 + reach(network, architecture, d).sum() for d in network.widths}
    tokens = {d: {m: n * window[d] for m, n in of.items()} for d, of in tokens.items()}
    reads = {
        (t, m): architecture.modalities[tasks.index(t), names.index(m)]
        for t in tasks
        for m in network.built.modalities[t]
    }
    # What a data set's tasks read, what anybody reads, and who can meet in a link.
    stems = {
        (d, m): _any(reads[t, m] for t in network.tasks_of(d) if (t, m) in reads)
        for d in network.widths
        for m in network.stems_of(d)
    }
    used = {m: _any(on for (_, other), on in reads.items() if other == m) for m in names}
    count = sum(used.values())
    situation = count + width
    tally = _Tally()

    def over(modality, value=lambda n: n):
        """Sum over data sets that read the modality of a function of its tokens."""
        return sum(stems[d, m] * value(tokens[d][m]) for d, m in stems if m == modality)

    for (dataset, modality), on in stems.items():
        features = network.width_of(dataset, modality)
        tally.dense(features, width, on, tokens[dataset][modality])
        tally.plain((2 * network.max_offset + 1) * width + 1, on)
    samples = jnp.float32(len(network.widths))  # whatever is read, each data set is fused once

    for modality, blocks in network.built.local.items():
        row = names.index(modality)
        here, length, pairs = used[modality], over(modality), over(modality, lambda n: n * n)
        heard = over(modality, lambda n: 1)
        for layer, built in enumerate(blocks):
            on = here * architecture.depth[row, layer]
            allowed = {x: architecture.local[row, layer, LOCAL_EXPERTS.index(x)] for x in built}
            tally.plain(2 * width, on)
            experts = sum(allowed.values())
            tally.dense(width + situation, experts, on * (experts > 1), heard)
            _experts(network, tally, allowed, on, length, pairs)
        tally.plain(2 * width, here)
        tally.dense(width, network.heads, here, length)
        tally.dense(width, width, here, length)
        tally.product(2 * width * length, here)
        tally.dense(2 * width, width, here, heard)

    touched = dict.fromkeys(names, jnp.float32(0.0))
    for source, target in network.built.links:
        on = architecture.links[names.index(target), names.index(source)]
        meets = _any(
            reads[t, source] * reads[t, target]
            for t in tasks
            if (t, source) in reads and (t, target) in reads
        )
        on = on * meets
        both = [
            (d, tokens[d]) for d in network.widths if (d, source) in stems and (d, target) in stems
        ]
        pair = {d: stems[d, source] * stems[d, target] for d, _ in both}
        inner = network.link_width
        asked = sum(pair[d] * n[target] for d, n in both)
        given = sum(pair[d] * n[source] for d, n in both)
        tally.dense(width, inner, on, asked, bias=False)
        tally.dense(width, inner, on, given, bias=False)
        tally.dense(width, inner, on, given, bias=False)
        tally.dense(inner, width, on, asked, bias=False)
        tally.product(4 * inner * sum(pair[d] * n[source] * n[target] for d, n in both), on)
        tally.dense(2 * width + situation, 1, on, sum(pair.values()))
        for modality in (source, target):
            touched[modality] = jnp.maximum(touched[modality], on)
    for on in touched.values():
        tally.plain(2 * width, on)

    _encoder(network, tally, architecture, stems, window)
    tally.plain(len(tasks) * width)
    _fusion(network, tally, architecture, count, situation, samples)
    _sharing(network, tally, architecture, reads, used, samples)
    for task in network.tasks.values():
        tally.dense(width, width, 1.0, 1)
        tally.dense(width, task.outputs, 1.0, 1)
    for (task_id, _), on in reads.items():
        tally.dense(width, network.tasks[task_id].outputs, on, 1)
    return Size(tally.parameters, tally.flops)


def _encoder(network, tally, architecture, stems, window) -> None:
    """What is trained of a text encoder of which not all is; its own operations do not count."""
    if not network.adapts:
        return
    shapes, datasets = network.text.shapes, [d for d in network.widths if network.encodes(d)]
    read = _any(stems[d, "text"] for d in datasets)
    adapters = 2 * len(ADAPTED) * shapes.width * network.text.rank * shapes.layers
    tally.plain(adapters, read * architecture.adapters)
    if network.marks:
        tally.plain(shapes.width, _any(stems[d, "text"] * (window[d] > 1) for d in datasets))


def _experts(network, tally, allowed, on, length, pairs) -> None:
    """The experts of a local block on `length` tokens, `pairs` pairs of them."""
    width = network.width
    if "pointwise" in allowed:
        here, hidden = on * allowed["pointwise"], network.expansion * width
        tally.dense(width, hidden, here, length)
        tally.dense(hidden, width, here, length)
    if "convolution" in allowed:
        here = on * allowed["convolution"]
        tally.dense(network.kernel * width, width, here, length)
        tally.dense(width, width, here, length)
    if "attention" in allowed:
        here = on * allowed["attention"]
        for _ in range(4):
            tally.dense(width, width, here, length, bias=False)
        tally.product(4 * width * pairs, here)
    if "recurrence" in allowed:
        here = on * allowed["recurrence"]
        tally.dense(width, 3 * width, here, length)
        tally.dense(width, width, here, length)


def _fusion(network, tally, architecture, count, situation, samples) -> None:
    width, rank = network.width, network.fusion_rank
    used = {
        name: architecture.fusion[:, FUSION_OPERATORS.index(name)].max()
        for name in network.built.fusion
    }
    operators = sum(used.values())
    tally.plain(count * width)
    columns = len(network.tasks) * operators
    tally.dense(count * width + situation, columns, 1.0 * (operators > 1), samples)
    if "concat" in used:
        tally.dense(count * width + width, 2 * width, used["concat"], samples)
        tally.dense(2 * width, width, used["concat"], samples)
    if "tensor" in used:
        tally.dense(width, rank * width, used["tensor"] * count, samples)
        tally.plain(rank + 2 * width, used["tensor"])
        tally.dense(width, width, used["tensor"], samples)
    if "attention" in used:
        on = used["attention"]
        tally.dense(width, width, on, samples, bias=False)
        tally.dense(width, width, on, samples * count, bias=False)
        tally.dense(width, width, on, samples * count, bias=False)
        tally.dense(width, width, on, samples, bias=False)
        tally.product(4 * width * count * samples, on)
    if "gated_sum" in used:
        on = used["gated_sum"]
        tally.dense(width, width, on, samples * count)
        tally.dense(count * width, count * width, on, samples)
        tally.dense(width, width, on, samples)


def _sharing(network, tally, architecture, reads, used, samples) -> None:
    """Shared and specific parts and what is guessed, of all modalities for every data set."""
    width, names, tasks = network.width, network.modalities, list(network.tasks)
    count = sum(used.values())
    if network.splits:
        tally.dense(width, width, 1.0, samples * count)
    heard = {
        m: _any(
            on * architecture.specific[tasks.index(t), names.index(m)]
            for (t, other), on in reads.items()
            if other == m
        )
        for m in network.built.specific
    }
    for on in heard.values():
        tally.dense(width, width, on, samples)
        tally.dense(2 * width + count, 1, on * (sum(heard.values()) > 1), samples)
    guessed = _any(used[m] * architecture.imputed[names.index(m)] for m in network.built.imputed)
    guessed = guessed * (count > 1)
    tally.dense(count * (width + 2), 2 * width, guessed, samples * count)
    tally.dense(2 * width, width, guessed, samples * count)


def _any(flags) -> Any:
    total = jnp.float32(0.0)
    for flag in flags:
        total = jnp.maximum(total, flag)
    return total
