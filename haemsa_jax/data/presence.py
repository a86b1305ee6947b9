"""Presence: hiding modalities of a sample, in training and in partial-modality evaluation."""

import jax
import jax.numpy as jnp

from haemsa_jax.sample import Sample

Array = jax.Array


def restrict(sample: Sample, allowed: dict[str, Array]) -> Sample:
    """Hide the modalities of one sample that `allowed` (bool[] each) does not name."""
    masks = {m: mask & allowed[m] for m, mask in sample.masks.items()}
    return sample.replace(masks=masks)


def drop_modalities(key: Array, sample: Sample, rate: Array) -> Sample:
    """Hide each present modality of one sample with a probability; one always stays.

    Where all would go, the one that drew the largest number stays. `rate` is float[], or float[n]
    for each of the sample's modalities in their order.
    """
    names = tuple(sample.masks)
    present = jnp.stack([sample.masks[m].any() for m in names])
    draw = jnp.where(present, jax.random.uniform(key, (len(names),)), -1.0)
    keep = (draw >= rate) | (jnp.arange(len(names)) == jnp.argmax(draw))
    return restrict(sample, dict(zip(names, keep, strict=True)))
