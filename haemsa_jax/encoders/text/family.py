"""The BERT family as an encoder of words."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, Num

from haemsa_jax.config import MODES
from haemsa_jax.data.dataset import Dataset, Split
from haemsa_jax.encoders.interface import register
from haemsa_jax.encoders.text import module as bert
from haemsa_jax.encoders.text.config import FAMILY, MODALITY, BertConfig
from haemsa_jax.encoders.text.pretrained import Pretrained, read_pretrained
from haemsa_jax.errors import InputError

Array = jax.Array


class BertFamily:
    """BERT, MiniLM, RoBERTa and MPNet; what `encoders.interface.Encoder` asks for."""

    family, modality, raw = FAMILY, MODALITY, "words"
    modes: tuple[str, ...] = MODES
    shapes: type = BertConfig

    def read(self, name: str | Path) -> Pretrained:
        """A folder as published, or a packaged one by its name."""
        return read_pretrained(name)

    def has_raw(self, dataset: Dataset) -> bool:
        """Whether anything was transcribed."""
        return dataset.has_words

    def raw_of(self, split: Split) -> list[str]:
        """Transcripts, after the speakers' names where these are known."""
        nothing = [""] * len(split)
        words = [text.strip() for text in split.words or nothing]
        return [
            f"{speaker}: {text}" if speaker and text else text
            for speaker, text in zip(split.speakers or nothing, words, strict=True)
        ]

    def given(self, value: Any, speaker: str) -> str | None:
        """Words."""
        if not isinstance(value, str):
            return None
        if not value.strip():
            raise InputError(f"{MODALITY} is empty; leave it out where nobody speaks")
        return f"{speaker}: {value}" if speaker else value

    def module(
        self,
        shapes: BertConfig,
        *,
        rank: int = 0,
        precision: str = "float32",
        marks: bool = False,
        name: str | None = None,
    ) -> nn.Module:
        """`module.Bert`."""
        return bert.Bert(shapes, rank, precision, marks, name=name)

    def encode(
        self,
        module: Any,
        values: Num[Array, "*batch tokens channels"],
        mask: Bool[Array, "*batch tokens"],
        *,
        dropout: Float[Array, ""] | float = 0.0,
        longest: Int[Array, ""] | None = None,
        marked: Bool[Array, "*batch tokens"] | None = None,
        adapters: Float[Array, ""] | float = 1.0,
    ) -> Float[Array, "*batch tokens width"]:
        """Token numbers, as float where a data set holds them."""
        ids = values[..., 0].astype(jnp.int32)
        return bert.encode_prefix(module, ids, mask, dropout, longest, marked, adapters)

    def split(self, params: Mapping[str, Any]) -> tuple[dict, dict]:
        """Adapters with the mark, and the others."""
        return bert.split_adapters(params)

    def fold(self, params: Mapping[str, Any], weight: float = 1.0) -> dict:
        """Adapters within the matrices that they stand beside."""
        return bert.fold_adapters(params, weight)

    def unmark(self, params: Mapping[str, Any]) -> dict:
        """The mark within the positions: every token is one of the target's."""
        rest = dict(params)
        if bert.MARK in rest:
            rest["positions"] = np.asarray(rest["positions"]) + np.asarray(rest.pop(bert.MARK))
        return rest

    def slow(self, updates: Mapping[str, Any], rate: float, decay: float) -> dict:
        """By the height of the layer, all of which are stacked; tables lie below the lowest."""
        layers = updates.get("layers", {})  # of adapters without a rank, the mark alone is left
        count = len(jax.tree.leaves(layers)[0]) if layers else 0
        below = rate * decay**count
        slow = jax.tree.map(lambda x: below * x, dict(updates))
        if layers:
            heights = rate * decay ** jnp.arange(count - 1, -1, -1.0)
            slow["layers"] = jax.tree.map(
                lambda x: heights.reshape(-1, *[1] * (x.ndim - 1)).astype(x.dtype) * x, layers
            )
        return slow


BERT = register(BertFamily())
