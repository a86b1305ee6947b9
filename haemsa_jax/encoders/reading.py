"""What an encoder makes of a data set: vectors of every raw input, or tokens for one within.

Vectors are computed once and kept on disk. A cache file is named after the encoder's weights and
the tokens, so that another model, another input or another limit makes another file and none is
ever stale. It is an archive, which holds a checksum.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float

from haemsa_jax.data.arrays import read_arrays
from haemsa_jax.data.dataset import Dataset, Split
from haemsa_jax.encoders.interface import Pretrained, Tokenised, encoder_named
from haemsa_jax.errors import InputError
from haemsa_jax.writing import draft_of

BATCH = 32
STEP = 16  # tokens; inputs are padded to a multiple of it, which few programs serve


def with_vectors(
    dataset: Dataset,
    pretrained: Pretrained,
    max_tokens: int = 128,
    cache: Path | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
    pooled: bool = False,
    notice: Callable[[str], None] = lambda line: None,
) -> Dataset:
    """The data set with vectors of raw input as a modality's features, whatever they were before.

    Of words the speaker's name stands before them, where it is known. Without raw input a sample
    does not have the modality, and a data set is returned as it is.

    Args:
      dataset, pretrained: what is joined.
      max_tokens, cache, report, pooled, notice: as `embed` takes them.
    """

    def vectors(raw: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
        return embed(pretrained, raw, max_tokens, cache, report, pooled, notice)

    return _with(dataset, pretrained, vectors)


def with_tokens(dataset: Dataset, pretrained: Pretrained, max_tokens: int = 128) -> Dataset:
    """As `with_vectors`, but tokens, float32[N, T, d], for an encoder within the network."""

    def tokens(raw: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
        tokenised = pretrained.tokenise(raw, max_tokens)
        return tokenised.values.astype(np.float32), tokenised.mask

    return _with(dataset, pretrained, tokens)


def _with(
    dataset: Dataset, pretrained: Pretrained, read: Callable[[Sequence[Any]], tuple]
) -> Dataset:
    encoder = encoder_named(pretrained.family)
    if not encoder.has_raw(dataset):
        return dataset
    modality = encoder.modality
    splits, width = {}, 0
    for name, split in dataset.splits.items():
        values, mask = read(encoder.raw_of(split))
        splits[name], width = _replaced(split, modality, values, mask), values.shape[-1]
    origin = f"{pretrained.config.width} of {pretrained.folder.name}"
    return dataclasses.replace(
        dataset,
        splits=splits,
        widths={**dataset.widths, modality: width},
        provenance={**dataset.provenance, modality: origin},
    )


def _replaced(split: Split, modality: str, values: np.ndarray, mask: np.ndarray) -> Split:
    return dataclasses.replace(
        split,
        features={**split.features, modality: values},
        masks={**split.masks, modality: mask},
    )


def embed(
    pretrained: Pretrained,
    raw: Sequence[Any],
    max_tokens: int = 128,
    cache: Path | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
    pooled: bool = False,
    notice: Callable[[str], None] = lambda line: None,
) -> tuple[Float[np.ndarray, "inputs tokens width"], Bool[np.ndarray, "inputs tokens"]]:
    """Vectors of raw inputs, of each token or their mean.

    Args:
      pretrained: the encoder.
      raw: N inputs, such as texts; an empty one has no token.
      max_tokens: longer ones are cut off.
      cache: directory of earlier results; None keeps none.
      report: is told inputs done and in all.
      pooled: an input is one vector, the mean of its tokens'.
      notice: is told in a line of earlier results that are damaged, which are then made again.

    Returns:
      float16[N, T, D], zeros outside the mask, and bool[N, T]; T is 1 where they are pooled. Half
      precision holds what an encoder computes (three digits) and is the same whether a result was
      kept or made now.

    Raises:
      InputError: the cache cannot be written.
    """
    tokens = pretrained.tokenise(raw, max_tokens)
    path = cache and cache / pretrained.fingerprint / f"{_digest(tokens)}.npz"
    shape = (int(tokens.mask.sum()), pretrained.config.width)
    real = _kept(path, shape, notice) if path and path.is_file() else None
    if real is None:
        real = _run(pretrained, tokens, report)
        if path:
            _write(path, real)
    if pooled:
        real, mask = _means(real, tokens.mask.sum(axis=1))
    else:
        mask = tokens.mask
    vectors = np.zeros((*mask.shape, pretrained.config.width), np.float16)
    vectors[mask] = real
    return vectors, mask


def _means(real: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean vector of each input that has a token, and bool[N, 1], which those are."""
    present = lengths > 0
    starts = (np.cumsum(lengths) - lengths)[present]
    if not len(starts):
        return real, present[:, None]
    sums = np.add.reduceat(real, starts, axis=0, dtype=np.float32)
    return (sums / lengths[present, None]).astype(np.float16), present[:, None]


@functools.cache
def _forward(family: str, shapes: Any) -> Callable[..., jax.Array]:
    """forward(variables, values, mask) -> vectors."""
    encoder = encoder_named(family)
    return jax.jit(functools.partial(encoder.module(shapes).apply, method=encoder.encode))


def _run(pretrained: Pretrained, tokens: Tokenised, report) -> np.ndarray:
    """float16[all real tokens, D], in the order of the inputs."""
    forward, variables = (
        _forward(pretrained.family, pretrained.config),
        {"params": pretrained.placed},
    )
    lengths = tokens.mask.sum(axis=1)
    ends = np.cumsum(lengths)
    real = np.zeros((lengths.sum(), pretrained.config.width), np.float16)
    order = np.argsort(lengths, kind="stable")  # a batch is as long as its longest input
    values, longest = tokens.values, tokens.mask.shape[1]
    batch = min(BATCH, 1 << (max(1, len(order)) - 1).bit_length())  # few inputs are not many
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        length = min(-(-max(1, lengths[rows[-1]]) // STEP) * STEP, longest)
        some = np.zeros((batch, length, values.shape[-1]), values.dtype)
        mask = np.zeros((batch, length), bool)
        some[: len(rows)] = values[rows, :length]
        mask[: len(rows)] = tokens.mask[rows, :length]
        encoded = np.asarray(forward(variables, some, mask), np.float16)
        for row, vectors in zip(rows, encoded, strict=False):
            real[ends[row] - lengths[row] : ends[row]] = vectors[: lengths[row]]
        report(min(start + batch, len(order)), len(order))
    return real


def _digest(tokens: Tokenised) -> str:
    digest = hashlib.sha256(np.asarray(tokens.mask.sum(axis=1), np.int64).tobytes())
    digest.update(tokens.values[tokens.mask].tobytes())
    return digest.hexdigest()[:32]


def _kept(path: Path, shape: tuple[int, int], notice: Callable[[str], None]) -> np.ndarray | None:
    """float16[all real tokens, D] of an earlier run; None where the file holds something else."""
    try:
        real = read_arrays(path)["vectors"]
        if real.shape != shape or real.dtype != np.float16:
            raise ValueError(f"it holds {real.dtype}{list(real.shape)}, not float16{list(shape)}")
    except (InputError, OSError, KeyError, ValueError) as error:
        notice(f"{path}: earlier vectors are damaged ({error}) and are made again")
        return None
    return real


def _write(path: Path, values: np.ndarray) -> None:
    """Whole or not at all: another process may look for the file meanwhile."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft_of(path) as draft:
            np.savez(draft, vectors=values)
    except OSError as error:
        raise InputError(
            f"cannot keep embeddings in {path.parent}: {error.strerror}; name another directory"
        ) from error
