"""Data sets with encoders: which raw input there is, and what the encoders make of it."""

import functools
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

import haemsa_datasets
from haemsa_jax.config import EncoderSpec, NetworkConfig, encoder_name
from haemsa_jax.data import Dataset
from haemsa_jax.encoders import (
    Pretrained,
    read_like,
    specify,
    with_tokens,
    with_vectors,
)
from haemsa_jax.encoders.places import read_family


def describe(family: str, encoder: str, **settings) -> EncoderSpec:
    """The encoder as the configuration keeps it, of no data set yet."""
    return specify(read_encoder(family, encoder), encoder, datasets=(), **settings)


# An encoder's weights and tokeniser; read when it is needed, once.
read_encoder = functools.cache(read_family)


def weights(network: NetworkConfig) -> dict[str, Any]:
    """First weights that a network does not draw: its encoders', where some are within."""
    specs = {m: network.encoders[m] for m in network.encoded()}
    return {encoder_name(m): read_like(spec, read_encoder).params for m, spec in specs.items()}


def load(
    name: str, data_dir: str, splits: Iterable[str], encoders: Mapping[str, EncoderSpec]
) -> Dataset:
    """A data set, with what encoders make of its raw input.

    Vectors are kept under DATA_DIR/embeddings, since an encoder takes longer than reading them.

    Raises:
      InputError: as the readers do, or an encoder has changed since its description was written.
    """
    dataset = haemsa_datasets.load(name, data_dir, splits)
    for spec in encoders.values():
        pretrained = read_like(spec, read_encoder)
        if spec.within:
            dataset = with_tokens(dataset, pretrained, spec.max_tokens)
        else:
            dataset = _embedded(dataset, pretrained, spec, Path(data_dir) / "embeddings")
    return dataset


def _embedded(dataset: Dataset, pretrained: Pretrained, spec: EncoderSpec, cache: Path) -> Dataset:
    with tqdm(desc=f"{dataset.name}: embedding", unit=spec.modality, leave=False, delay=1) as bar:

        def report(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        pooled = spec.mode == "pooled"
        return with_vectors(dataset, pretrained, spec.max_tokens, cache, report, pooled, _told)


def _told(line: str) -> None:
    tqdm.write(line, file=sys.stderr)
