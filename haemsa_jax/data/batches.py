"""Batches and context windows, made on the device from a data set that lives there whole.

A batch is a pure function of (key, step). Utterances are stored once: the window around each
target is gathered when it is needed.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from haemsa_jax.data.dataset import Split
from haemsa_jax.sample import Sample

Array = jax.Array
POOL = 16  # batches that are sorted by length together


@struct.dataclass
class DeviceSplit:
    """A `Split` as arrays for the device; `rows` are the labelled samples of each task.

    Attributes:
      features: per modality float32[N, T_m, d_m].
      masks: per modality bool[N, T_m].
      group: int32[N].
      labels: per task name [N] or [N, C].
      rows: per task name int32[n].
    """

    features: dict[str, Array]
    masks: dict[str, Array]
    group: Array
    labels: dict[str, Array]
    rows: dict[str, Array]


def device_split(split: Split) -> DeviceSplit:
    """A split's arrays, still on the host; `parallel.replicate` puts them on the devices."""
    return DeviceSplit(
        features={m: np.asarray(x, np.float32) for m, x in split.features.items()},
        masks={m: np.asarray(x, bool) for m, x in split.masks.items()},
        group=np.asarray(split.group, np.int32),
        labels={
            name: np.asarray(x, np.int32 if x.dtype.kind in "iu" else np.float32)
            for name, x in split.labels.items()
        },
        rows={name: np.flatnonzero(x).astype(np.int32) for name, x in split.labelled.items()},
    )


def shuffled_positions(
    key: Array, step: Array, batch_size: int, count: int, lengths: Array | None = None
) -> Array:
    """Places 0..count-1 that make up batch `step`, int[batch_size].

    Batches walk through one permutation an epoch, back to back: every place comes once an epoch and
    a batch on the border takes the rest of one epoch and the start of the next.

    Args:
      key: of the order.
      step: number of the batch.
      batch_size: places a batch.
      count: places in all.
      lengths: int[count]; places of like length then come together, within pools of `POOL` batches
        that are drawn at random.
    """

    def order(epoch):
        drawn = jax.random.permutation(jax.random.fold_in(key, epoch), count)
        if lengths is None:
            return drawn
        pool = jnp.arange(count) // (POOL * batch_size)
        # Up in one pool and down in the next, so that neighbours across the border are alike.
        rank = jnp.where(pool % 2, -lengths[drawn], lengths[drawn])
        return drawn[jnp.lexsort((rank, pool))]

    start = step * batch_size
    first_epoch = start // count
    span = -(-batch_size // count) + 1
    orders = jnp.concatenate([order(first_epoch + epoch) for epoch in range(span)])
    return jax.lax.dynamic_slice(orders, (start - first_epoch * count,), (batch_size,))


def window_tokens(split: DeviceSplit, modality: str, past: int, future: int) -> Array:
    """int[N], tokens of a modality that `gather` would find for each row."""
    tokens = split.masks[modality].sum(axis=-1)
    rows = jnp.arange(len(tokens))
    total = jnp.zeros_like(tokens)
    for offset in range(-past, future + 1):
        near = jnp.clip(rows + offset, 0, len(tokens) - 1)
        inside = (near == rows + offset) & (split.group[near] == split.group)
        total = total + jnp.where(inside, tokens[near], 0)
    return total


def gather(split: DeviceSplit, row: Array, task: Array, past: int, future: int) -> Sample:
    """The sample of one row, with `past` utterances before it and `future` after it as context.

    Neighbours outside the row's group are masked. T_m becomes (past + 1 + future) T_m.
    """
    offsets = jnp.arange(-past, future + 1)
    wanted = row + offsets
    rows = jnp.clip(wanted, 0, split.group.shape[0] - 1)
    inside = (rows == wanted) & (split.group[rows] == split.group[row])
    features, masks, token_offsets = {}, {}, {}
    for modality, values in split.features.items():
        window, mask = values[rows], split.masks[modality][rows] & inside[:, None]
        features[modality] = window.reshape(-1, window.shape[-1])
        masks[modality] = mask.reshape(-1)
        token_offsets[modality] = jnp.repeat(offsets, mask.shape[-1])
    return Sample(features, masks, token_offsets, task)
