"""Data sets as arrays, and batches and context windows made from them on the device."""

from haemsa_jax.data.dataset import SPLITS, Dataset, Split

__all__ = ["SPLITS", "Dataset", "Split"]
