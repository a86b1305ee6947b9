"""Data sets with a text encoder: which words there are, and what the encoder makes of them."""

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tqdm import tqdm

import haemsa_datasets
from haemsa_jax.config import NetworkConfig, TextConfig
from haemsa_jax.data import Dataset
from haemsa_jax.errors import InputError


def describe(encoder: str, **settings) -> TextConfig:
    """The encoder as the configuration keeps it."""
    read = read_encoder(encoder)
    return TextConfig(
        encoder, read.fingerprint, datasets=(), shapes=read.config, **settings
    )  # fmt: skip


@functools.cache
def read_encoder(name: str) -> Any:
    """The encoder's weights and tokeniser; read when it is needed, once."""
    try:
        from haemsa_jax.text import read_pretrained
    except ImportError as error:
        raise InputError(
            f"--text={name} needs the package {error.name}; install requirements.txt"
        ) from error
    return read_pretrained(name)


def weights(network: NetworkConfig) -> dict[str, Any]:
    """First weights that a network does not draw: its encoder's, where one is within."""
    if not any(network.encodes(dataset) for dataset in network.widths):
        return {}
    return {"encoder": read_encoder(network.text.encoder).params}


def load(name: str, data_dir: str, splits: Iterable[str], text: TextConfig | None) -> Dataset:
    """A data set, with the encoder's vectors of its words where there is an encoder.

    Vectors are kept under DATA_DIR/embeddings, since an encoder takes longer than reading them.

    Raises:
      InputError: as the readers do, or the encoder has changed since `text` was written.
    """
    dataset = haemsa_datasets.load(name, data_dir, splits)
    if text is None:
        return dataset
    pretrained = read_encoder(text.encoder)
    from haemsa_jax.text import check_like, with_text, with_tokens

    check_like(pretrained, text)

    if text.within:
        return with_tokens(dataset, pretrained, text.max_tokens)
    with tqdm(desc=f"{name}: embedding", unit="text", leave=False, delay=1) as bar:

        def report(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        return with_text(
            dataset, pretrained, text.max_tokens, Path(data_dir) / "embeddings", report,
            pooled=text.mode == "pooled",
        )  # fmt: skip
