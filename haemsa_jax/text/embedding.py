"""Frozen embeddings: every transcript through an encoder once, kept on disk.

A cache file is named after the encoder's weights and the texts, so that another model, another
transcript or another limit makes another file and none is ever stale.
"""

import contextlib
import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np

from haemsa_jax.config import EncoderConfig
from haemsa_jax.data.dataset import Dataset, Split
from haemsa_jax.errors import InputError
from haemsa_jax.models.encoder import Encoder
from haemsa_jax.text.pretrained import Pretrained, Tokenised

BATCH = 32
STEP = 16  # tokens; texts are padded to a multiple of it, which few programs serve


def with_text(
    dataset: Dataset,
    pretrained: Pretrained,
    max_tokens: int = 128,
    cache: Path | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
    pooled: bool = False,
) -> Dataset:
    """The data set with vectors of its words as the text modality, whatever it had before.

    Where the speaker is known, the name stands before the words. A sample without words has no
    text. A data set without any words is returned as it is.

    Args:
      dataset, pretrained: what is joined.
      max_tokens, cache, report, pooled: as `embed` takes them.
    """
    if not dataset.has_words:
        return dataset
    splits = {
        name: _with_text(split, embed(pretrained, _texts(split), max_tokens, cache, report, pooled))
        for name, split in dataset.splits.items()
    }
    return _told(dataset, pretrained, splits, pretrained.config.width)


def with_tokens(dataset: Dataset, pretrained: Pretrained, max_tokens: int = 128) -> Dataset:
    """As `with_text`, but token numbers, float32[N, T, 1], for an encoder within the network."""
    if not dataset.has_words:
        return dataset
    splits = {}
    for name, split in dataset.splits.items():
        tokens = pretrained.tokenise(_texts(split), max_tokens)
        splits[name] = _with_text(split, (tokens.ids[..., None].astype(np.float32), tokens.mask))
    return _told(dataset, pretrained, splits, 1)


def _told(dataset: Dataset, pretrained: Pretrained, splits, width: int) -> Dataset:
    of = f"{pretrained.config.width} of {pretrained.folder.name}"
    return dataclasses.replace(
        dataset,
        splits=splits,
        widths={**dataset.widths, "text": width},
        provenance={**dataset.provenance, "text": of},
    )


def _texts(split: Split) -> list[str]:
    nothing = [""] * len(split)
    words = [said.strip() for said in split.words or nothing]
    return [
        f"{speaker}: {said}" if speaker and said else said
        for speaker, said in zip(split.speakers or nothing, words, strict=True)
    ]


def _with_text(split: Split, embedded: tuple[np.ndarray, np.ndarray]) -> Split:
    vectors, mask = embedded
    return dataclasses.replace(
        split,
        features={**split.features, "text": vectors},
        masks={**split.masks, "text": mask},
    )


def embed(
    pretrained: Pretrained,
    texts: Sequence[str],
    max_tokens: int = 128,
    cache: Path | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
    pooled: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of texts, of each token or their mean.

    Args:
      pretrained: the encoder.
      texts: N texts; an empty one has no token.
      max_tokens: longer texts are cut off.
      cache: directory of earlier results; None keeps none.
      report: is told texts done and in all.
      pooled: a text is one vector, the mean of its tokens'.

    Returns:
      float16[N, T, D], zeros outside the mask, and bool[N, T]; T is 1 where they are pooled. Half
      precision holds what an encoder says (three digits) and is the same whether a result was kept
      or made now.

    Raises:
      InputError: the cache cannot be written.
    """
    tokens = pretrained.tokenise(texts, max_tokens)
    path = cache and cache / pretrained.fingerprint / f"{_digest(tokens)}.npy"
    if path and path.is_file():
        real = np.load(path, mmap_mode="r", allow_pickle=False)
    else:
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
    """The mean vector of each text that has a token, and bool[N, 1], which those are."""
    there = lengths > 0
    starts = (np.cumsum(lengths) - lengths)[there]
    if not len(starts):
        return real, there[:, None]
    sums = np.add.reduceat(real, starts, axis=0, dtype=np.float32)
    return (sums / lengths[there, None]).astype(np.float16), there[:, None]


@functools.cache
def _forward(config: EncoderConfig) -> Callable[..., jax.Array]:
    return jax.jit(Encoder(config).apply)


def _run(pretrained: Pretrained, tokens: Tokenised, report) -> np.ndarray:
    """float16[all real tokens, D], in the order of the texts."""
    forward, variables = _forward(pretrained.config), {"params": pretrained.placed}
    lengths = tokens.mask.sum(axis=1)
    ends = np.cumsum(lengths)
    real = np.zeros((lengths.sum(), pretrained.config.width), np.float16)
    order = np.argsort(lengths, kind="stable")  # a batch is as long as its longest text
    longest = tokens.ids.shape[1]
    batch = min(BATCH, 1 << (max(1, len(order)) - 1).bit_length())  # few texts are not many
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        length = min(-(-max(1, lengths[rows[-1]]) // STEP) * STEP, longest)
        ids = np.zeros((batch, length), np.int32)
        mask = np.zeros((batch, length), bool)
        ids[: len(rows)], mask[: len(rows)] = tokens.ids[rows, :length], tokens.mask[rows, :length]
        said = np.asarray(forward(variables, ids, mask), np.float16)
        for row, vectors in zip(rows, said, strict=False):
            real[ends[row] - lengths[row] : ends[row]] = vectors[: lengths[row]]
        report(min(start + batch, len(order)), len(order))
    return real


def _digest(tokens: Tokenised) -> str:
    digest = hashlib.sha256(np.asarray(tokens.mask.sum(axis=1), np.int64).tobytes())
    digest.update(tokens.ids[tokens.mask].tobytes())
    return digest.hexdigest()[:32]


def _write(path: Path, values: np.ndarray) -> None:
    """Whole or not at all: another process may look for the file meanwhile."""
    scratch = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with scratch.open("wb") as file:
            np.save(file, values)
        scratch.rename(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            scratch.unlink()
        raise InputError(
            f"cannot keep embeddings in {path.parent}: {error.strerror}; name another directory"
        ) from error
