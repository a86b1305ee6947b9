"""Batches and context windows, made on the device from what of a data set lives there.

A batch is a pure function of (key, step). Utterances are stored once: the window around each
target is gathered when it is needed. A data set lives there whole, or as the piece that the next
steps need (`piece`), which is read the same way.
"""

import dataclasses
import functools
import operator
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from haemsa_jax.data.dataset import Split
from haemsa_jax.data.permutation import shuffled
from haemsa_jax.sample import OTHER, SAME, UNKNOWN, Sample

Array = jax.Array
POOL = 16  # batches that are sorted by length together


class DeviceSplit(struct.PyTreeNode):
    """A `Split` as arrays for the device, of NumPy while on the host.

    Attributes:
      features: per modality float32[N, T_m, d_m].
      masks: per modality bool[N, T_m].
      group: int32[N].
      labels: per task name [N] or [N, C].
      rows: per task name int32[n], the labelled samples.
      lengths: per task name int32[n], by which samples come together in batches; empty where it
        does not matter.
      counts: per task name int32[], how many of `rows` there are where not all of them are; else
        empty.
      speaker: int32[N], equal of the same speaker, -1 where nobody is known; None where no sample
        names one.

    With a leading axis of `rows`, `lengths` and `counts` a split is of several networks, one fold
    each; `of_fold` is that of one of them.
    """

    features: Mapping[str, Array | np.ndarray]
    masks: Mapping[str, Array | np.ndarray]
    group: Array | np.ndarray
    labels: Mapping[str, Array | np.ndarray]
    rows: Mapping[str, Array | np.ndarray]
    lengths: Mapping[str, Array | np.ndarray]
    counts: Mapping[str, Array | np.ndarray] = dataclasses.field(default_factory=dict)
    speaker: Array | np.ndarray | None = None

    def of_fold(self, fold: Array) -> "DeviceSplit":
        """What the network of one fold reads; int[], which is ignored where there are none."""
        if not self.counts:
            return self
        own = jax.tree.map(lambda x: jnp.asarray(x)[fold], (self.rows, self.lengths, self.counts))
        return self.replace(rows=own[0], lengths=own[1], counts=own[2])


def device_split(
    split: Split, window: tuple[int, int] = (0, 0), encoded: Sequence[str] = ()
) -> DeviceSplit:
    """A split's arrays, still on the host; `parallel.replicate` puts them on the devices.

    Args:
      split: the samples.
      window: context of a sample, (before, after).
      encoded: modalities by whose tokens in the window samples come together in batches; none
        where it does not matter.
    """
    rows = {name: np.flatnonzero(x).astype(np.int32) for name, x in split.labelled.items()}
    lengths = {}
    if encoded:
        by_modality = [window_tokens(split, modality, *window) for modality in encoded]
        tokens = functools.reduce(operator.add, by_modality)
        lengths = {name: tokens[places] for name, places in rows.items()}
    return DeviceSplit(
        features={m: np.asarray(x, np.float32) for m, x in split.features.items()},
        masks={m: np.asarray(x, bool) for m, x in split.masks.items()},
        group=_numbered(split.group),
        labels={
            name: np.asarray(x, np.int32 if x.dtype.kind in "iu" else np.float32)
            for name, x in split.labels.items()
        },
        rows=rows,
        lengths=lengths,
        speaker=numbered_speakers(split.speakers) if any(split.speakers) else None,
    )


def numbered_speakers(names: Sequence[str]) -> np.ndarray:
    """int32[N] as `DeviceSplit.speaker` holds them; an empty name is of nobody known."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(filter(None, names)))}
    return np.array([numbers.get(name, -1) for name in names], np.int32)


def _numbered(group: np.ndarray) -> np.ndarray:
    """int32[N] from 0, as rows of a group are contiguous; numbers of 64 bits would be cut."""
    return np.cumsum(np.diff(group, prepend=group[:1]) != 0).astype(np.int32)


def window_tokens(split: Split, modality: str, past: int, future: int) -> np.ndarray:
    """int32[N], tokens of a modality that `gather` finds for each row."""
    tokens = np.asarray(split.masks[modality]).sum(axis=-1)
    total = np.zeros(len(tokens), np.int32)
    for near in _neighbours(split.group, np.arange(len(tokens)), past, future).T:
        total += np.where(near >= 0, tokens[near], 0).astype(np.int32)
    return total


def _neighbours(group: np.ndarray, rows: np.ndarray, past: int, future: int) -> np.ndarray:
    """int[n, past + 1 + future], rows in the windows of `rows`; -1 outside their groups."""
    near = rows[:, None] + np.arange(-past, future + 1)
    inside = (near >= 0) & (near < len(group))
    inside &= group[np.clip(near, 0, len(group) - 1)] == group[rows][:, None]
    return np.where(inside, near, -1)


def rows_read(split: DeviceSplit, rows: np.ndarray, past: int, future: int) -> np.ndarray:
    """int[n], the rows that are the samples of `rows` or in their windows, in order."""
    neighbours = np.unique(_neighbours(np.asarray(split.group), np.unique(rows), past, future))
    return neighbours[neighbours >= 0]


def piece(
    split: DeviceSplit, places: Mapping[str, np.ndarray], past: int, future: int, capacity: int
) -> DeviceSplit:
    """What of a split some samples need: themselves and their windows.

    It has all of the split's places, of which only those asked for may be read, so that a step on
    the piece is the step on the whole.

    Args:
      split: on the host.
      places: per task name int[n], places among its rows.
      past, future: context of a sample.
      capacity: rows of every piece, so that one program reads them all.
    """
    wanted = np.concatenate([split.rows[name][chosen] for name, chosen in places.items()])
    keep = rows_read(split, wanted, past, future)
    slot = np.zeros(len(split.group), np.int32)
    slot[keep] = np.arange(len(keep))

    def cut(values):
        padding = [(0, capacity - len(keep))] + [(0, 0)] * (values.ndim - 1)
        return np.pad(values[keep], padding)

    # Rows that were apart must not become each other's context: every run is a group of its own.
    apart = (np.diff(keep) != 1) | (np.diff(split.group[keep]) != 0)
    group = np.full(capacity, -1, np.int32)
    group[: len(keep)] = np.cumsum(np.concatenate([[0], apart]))
    return split.replace(
        features={m: cut(x) for m, x in split.features.items()},
        masks={m: cut(x) for m, x in split.masks.items()},
        labels={name: cut(x) for name, x in split.labels.items()},
        group=group,
        rows={name: slot[rows] for name, rows in split.rows.items()},
        speaker=None if split.speaker is None else cut(split.speaker),
    )


def shuffled_positions(
    key: Array,
    step: Array,
    batch_size: int,
    count: int | Array | np.ndarray,
    lengths: Array | np.ndarray | None = None,
    most: int | None = None,
) -> Array:
    """Places 0..count-1 that make up batch `step`, int[batch_size].

    Batches walk through one permutation an epoch, back to back: every place comes once an epoch and
    a batch on the border takes the rest of one epoch and the start of the next.

    Args:
      key: of the order.
      step: number of the batch.
      batch_size: places a batch.
      count: places in all; int[] where it is data.
      lengths: int[count]; places of like length then come together, within pools of `POOL` batches
        that are drawn at random.
      most: what `count` cannot be more than, where it is data.
    """
    start = step * batch_size
    if lengths is None:
        return shuffled(key, start + jnp.arange(batch_size), count, most)
    # From where the first place's pool begins to where the last one's is over, also where the short
    # pool that ends an epoch lies between.
    size = POOL * batch_size
    first = start - start % count % size
    walk = first + jnp.arange(2 * size + batch_size)
    places, pool = shuffled(key, walk, count, most), walk % count // size
    # Up in one pool and down in the next, so that neighbours across the border are alike.
    rank = jnp.where(pool % 2, -lengths[places], lengths[places])
    number = walk // count * -(-count // size) + pool
    ordered = places[jnp.lexsort((rank, number))]
    return jax.lax.dynamic_slice(ordered, (start - first,), (batch_size,))


def gather(split: DeviceSplit, row: Array, task: Array, past: int, future: int) -> Sample:
    """The sample of one row, with `past` utterances before it and `future` after it as context.

    Neighbours outside the row's group are masked. T_m becomes (past + 1 + future) T_m.
    """
    offsets = jnp.arange(-past, future + 1)
    wanted = row + offsets
    rows = jnp.clip(wanted, 0, split.group.shape[0] - 1)
    inside = (rows == wanted) & (split.group[rows] == split.group[row])
    features, masks, token_offsets, speakers = {}, {}, {}, {}
    if split.speaker is not None:
        own, near = split.speaker[row], split.speaker[rows]
        who = jnp.where((own < 0) | (near < 0), UNKNOWN, jnp.where(near == own, SAME, OTHER))
    for modality, values in split.features.items():
        window, mask = values[rows], split.masks[modality][rows] & inside[:, None]
        features[modality] = window.reshape(-1, window.shape[-1])
        masks[modality] = mask.reshape(-1)
        token_offsets[modality] = jnp.repeat(offsets, mask.shape[-1])
        if split.speaker is not None:
            speakers[modality] = jnp.repeat(who, mask.shape[-1])
    return Sample(features, masks, token_offsets, task, speakers)
