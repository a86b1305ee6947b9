"""How published models name what `encoders.text.module.Bert` is made of.

One table of places serves reading and writing, so that neither can drift from the other.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from haemsa_jax.encoders.text.config import BertConfig
from haemsa_jax.errors import InputError

WORDS = "embeddings.word_embeddings.weight"
POSITIONS = "embeddings.position_embeddings.weight"
KINDS = "embeddings.token_type_embeddings.weight"


@dataclass(frozen=True)
class _Names:
    """Where an architecture keeps what differs from BERT's names."""

    query: str = "attention.self.query"
    key: str = "attention.self.key"
    value: str = "attention.self.value"
    out: str = "attention.output.dense"
    attention_norm: str = "attention.output.LayerNorm"
    relative: str = ""


_NAMES = {
    "bert": _Names(),
    "roberta": _Names(),
    "mpnet": _Names(
        query="attention.attn.q",
        key="attention.attn.k",
        value="attention.attn.v",
        out="attention.attn.o",
        attention_norm="attention.LayerNorm",
        relative="encoder.relative_attention_bias.weight",
    ),
}


@dataclass(frozen=True)
class Place:
    """Where a parameter lies.

    Attributes:
      tensor: its name in the file.
      path: in the parameters of `Bert`, where layers are stacked.
      layer: which of them; -1 for none.
      shape: in the file, where matrices are [outputs, inputs] as PyTorch keeps them.
    """

    tensor: str
    path: tuple[str, ...]
    layer: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """An architecture with its shapes.

    Attributes:
      config: shapes.
      names: of the architecture.
      kinds: of tokens, which BERT tells apart to read pairs of texts; 0 for none.
    """

    config: BertConfig
    names: _Names
    kinds: int

    def places(self) -> Iterator[Place]:
        """Every parameter of the encoder."""
        config, names = self.config, self.names
        width, hidden = config.width, config.hidden
        yield Place(WORDS, ("words",), -1, (config.vocabulary, width))
        yield Place(POSITIONS, ("positions",), -1, (config.positions, width))
        yield from _norm("embeddings.LayerNorm", ("norm",), -1, width)
        if config.buckets:
            yield Place(names.relative, ("relative",), -1, (config.buckets, config.heads))
        for layer in range(config.layers):
            at = f"encoder.layer.{layer}."
            for name, tensor, shape in (
                ("query", names.query, (width, width)),
                ("key", names.key, (width, width)),
                ("value", names.value, (width, width)),
                ("out", names.out, (width, width)),
                ("wide", "intermediate.dense", (hidden, width)),
                ("narrow", "output.dense", (width, hidden)),
            ):
                path = "layers", name
                yield Place(f"{at}{tensor}.weight", (*path, "kernel"), layer, shape)
                yield Place(f"{at}{tensor}.bias", (*path, "bias"), layer, shape[:1])
            yield from _norm(at + names.attention_norm, ("layers", "attention_norm"), layer, width)
            yield from _norm(f"{at}output.LayerNorm", ("layers", "norm"), layer, width)

    def params(self, tensor: Callable[[str, tuple[int, ...]], np.ndarray]) -> dict[str, Any]:
        """Parameters of `Bert(config)`.

        Args:
          tensor: (name, shape) -> that of the file.
        """
        flat: dict[tuple[str, ...], Any] = {}
        for place in self.places():
            value = _turned(place, tensor(place.tensor, place.shape))
            if place.layer < 0:
                flat[place.path] = value
            else:
                flat.setdefault(place.path, []).append(value)
        flat = {path: np.stack(x) if isinstance(x, list) else x for path, x in flat.items()}
        if self.kinds:
            # Every token is of the first kind here, whose vector therefore joins the position's.
            first = tensor(KINDS, (self.kinds, self.config.width))[0]
            flat["positions",] = flat["positions",] + first
        return unflatten_dict(flat)

    def tensors(self, params: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """What `params` reads as these parameters, but for the kinds of tokens, by name."""
        flat = flatten_dict(params)
        tensors = {}
        for place in self.places():
            value = np.asarray(flat[place.path], np.float32)
            value = _turned(place, value if place.layer < 0 else value[place.layer])
            tensors[place.tensor] = np.ascontiguousarray(value)
        return tensors


def describe(settings: Mapping[str, Any], folder: Path) -> Layout:
    """The layout that a `config.json` says.

    Raises:
      InputError: the architecture is another, or something is not said.
    """
    kind = settings.get("model_type")
    if kind not in _NAMES:
        raise InputError(
            f"{folder / 'config.json'}: model_type {kind!r} is not supported; choose a model of "
            f"type {', '.join(_NAMES)}"
        )
    if settings.get("position_embedding_type", "absolute") != "absolute":
        raise InputError(
            f"{folder / 'config.json'}: position_embedding_type "
            f"{settings['position_embedding_type']!r} is not supported, only 'absolute'"
        )
    try:
        config = BertConfig(
            vocabulary=settings["vocab_size"],
            positions=settings["max_position_embeddings"],
            first_position=0 if kind == "bert" else settings["pad_token_id"] + 1,
            width=settings["hidden_size"],
            layers=settings["num_hidden_layers"],
            heads=settings["num_attention_heads"],
            hidden=settings["intermediate_size"],
            activation=settings.get("hidden_act", "gelu"),
            epsilon=settings.get("layer_norm_eps", 1e-12),
            buckets=settings.get("relative_attention_num_buckets", 32) if kind == "mpnet" else 0,
        )
    except KeyError as error:
        raise InputError(f"{folder / 'config.json'} does not say {error}") from error
    except TypeError as error:
        raise InputError(f"{folder / 'config.json'} garbles a number: {error}") from error
    return Layout(
        config, _NAMES[kind], settings.get("type_vocab_size", 2) if kind != "mpnet" else 0
    )


def prefix_of(tensors: Iterable[str]) -> str:
    """What stands before all names: a model saved with a head has its encoder under `bert.`."""
    return next((name.removesuffix(WORDS) for name in tensors if name.endswith(WORDS)), "")


def _norm(tensor: str, path: tuple[str, ...], layer: int, width: int) -> Iterator[Place]:
    yield Place(f"{tensor}.weight", (*path, "scale"), layer, (width,))
    yield Place(f"{tensor}.bias", (*path, "bias"), layer, (width,))


def _turned(place: Place, value: np.ndarray) -> np.ndarray:
    return value.T if place.path[-1] == "kernel" else value
