"""Data sets for HAEMSA: one folder each, prepared once with TFDS, read back without TensorFlow.

A data set is a folder `<name>/` with a module `<name>_dataset_builder.py`, whose `Builder` (see
`builder.HaemsaBuilder`) has a `card` and reads raw files into samples. A new folder is found by
itself; nothing else has to be edited.

  `names()`     what the folders offer: `planted`, `hazumi`, `cmu_mosi/contextual`, ...
  `register()`  a data set of arrays, by name
  `prepare()`   raw files -> ArrayRecord, with checks and a summary (`launch/prepare_data.py`)
  `load()`      ArrayRecord -> `haemsa_jax.data.dataset.Dataset`
  `metadata()`  what a prepared directory says of itself, without its records
"""

from haemsa_datasets.catalog import names, register
from haemsa_datasets.loading import load, metadata
from haemsa_datasets.preparation import prepare

__all__ = ["load", "metadata", "names", "prepare", "register"]
