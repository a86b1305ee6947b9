"""Presence: hiding modalities of a sample, in training and in partial-modality evaluation."""

import jax
import jax.numpy as jnp

from haemsa_jax.data.missing import GROUPS
from haemsa_jax.sample import Sample

Array = jax.Array


def restrict(sample: Sample, allowed: dict[str, Array]) -> Sample:
    """Hide the modalities of one sample that `allowed` (bool[] each) does not name."""
    masks = {m: mask & allowed[m] for m, mask in sample.masks.items()}
    return sample.replace(masks=masks)


def drop_modalities(
    key: Array, sample: Sample, rate: Array, readable: Array | None = None
) -> Sample:
    """Hide each present modality of one sample with a probability; one always stays.

    Where all would go, the one that drew the largest number stays.

    Args:
      key: of the draw.
      sample: one.
      rate: float[], or float[n] for each of the sample's modalities in their order.
      readable: bool[n], modalities that are read at all: the others are hidden, and the one that
        stays is one of these; all of them by default.
    """
    names = tuple(sample.masks)
    present = jnp.stack([sample.masks[m].any() for m in names])
    if readable is not None:
        present = present & readable
    draw = jnp.where(present, jax.random.uniform(key, (len(names),)), -1.0)
    keep = (draw >= rate) | (jnp.arange(len(names)) == jnp.argmax(draw))
    return restrict(sample, dict(zip(names, keep & present, strict=True)))


def drop_utterances(key: Array, sample: Sample, rate: Array, context: tuple[int, int]) -> Sample:
    """Hide modalities of single utterances of one sample, the target and its context.

    Each sample draws its own rate, uniformly between 0 and twice `rate`, so that samples of little
    and of great loss are seen. Of each utterance one modality stays, which drew the largest number.

    Args:
      key: of the draw.
      sample: one.
      rate: float[], the mean rate.
      context: utterances (before, after) the target.
    """
    past, future = context
    of_rate, of_draw = jax.random.split(key)
    rate = 2.0 * rate * jax.random.uniform(of_rate)
    names, span = tuple(sample.masks), past + 1 + future
    present = jnp.stack(
        [jnp.zeros(span, bool).at[sample.offsets[m] + past].max(sample.masks[m]) for m in names]
    )
    draw = jnp.where(present, jax.random.uniform(of_draw, present.shape), -1.0)
    keep = (draw >= rate) | (jnp.arange(len(names))[:, None] == jnp.argmax(draw, axis=0))
    masks = {
        m: sample.masks[m] & row[sample.offsets[m] + past]
        for m, row in zip(names, keep, strict=True)
    }
    return sample.replace(masks=masks)


def drop_frames(key: Array, sample: Sample, rate: Array, context: tuple[int, int]) -> Sample:
    """Hide single tokens of one sample; of modalities with one token an utterance its columns.

    Each sample draws its own rate, as in `drop_utterances`. Columns go by `GROUPS` and become NaN,
    which stems read as the training mean. At least one token of the sample stays.

    Args:
      key: of the draw.
      sample: one.
      rate: float[], the mean rate.
      context: utterances (before, after) the target.
    """
    span = context[0] + 1 + context[1]
    of_rate, key = jax.random.split(key)
    rate = 2.0 * rate * jax.random.uniform(of_rate)
    keys = jax.random.split(key, len(sample.masks))
    masks, features, draws = dict(sample.masks), dict(sample.features), {}
    for of_draw, (m, mask) in zip(keys, sample.masks.items(), strict=True):
        if mask.shape[0] > span:
            draws[m] = jnp.where(mask, jax.random.uniform(of_draw, mask.shape), -1.0)
            continue
        width = features[m].shape[-1]
        lost = jax.random.uniform(of_draw, (span, GROUPS)) < rate
        of_column = jnp.arange(width) * GROUPS // width
        features[m] = jnp.where(lost[:, of_column], jnp.nan, features[m])
    if draws:
        highest = jnp.max(jnp.stack([draw.max() for draw in draws.values()]))
        for m, draw in draws.items():
            masks[m] = masks[m] & ((draw >= rate) | (draw == highest))
    return sample.replace(masks=masks, features=features)
