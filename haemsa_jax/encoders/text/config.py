"""Shapes of a BERT-family text encoder; free of jax, as all configuration is."""

from dataclasses import dataclass
from typing import ClassVar

from haemsa_jax.config.checks import require, require_each, require_numbers

FAMILY, MODALITY = "bert", "text"
ACTIVATIONS = ("gelu", "gelu_new", "relu")


@dataclass(frozen=True)
class BertConfig:
    """Shapes of an encoder.

    Attributes:
      vocabulary: tokens it knows.
      positions: rows of the position table.
      first_position: row of the first token; RoBERTa and MPNet count from behind the padding's.
      width: D, of every token.
      layers: L.
      heads: attention heads; divides `width`.
      hidden: width inside a layer's perceptron.
      activation: one of `ACTIVATIONS`.
      epsilon: of the layer norms.
      buckets: relative position buckets, 0 for none.
    """

    vocabulary: int
    positions: int
    first_position: int
    width: int
    layers: int
    heads: int
    hidden: int
    activation: str = "gelu"
    epsilon: float = 1e-12
    buckets: int = 0

    marks: ClassVar[bool] = True

    def __post_init__(self):
        require_numbers(self, "encoder")
        sizes = "vocabulary", "positions", "width", "layers", "heads", "hidden"
        require_each(self, "encoder", sizes, lambda x: x > 0, "must be at least 1")
        require(
            self.width % self.heads == 0,
            f"encoder: width={self.width} must be a multiple of heads={self.heads}",
        )
        require(
            self.activation in ACTIVATIONS,
            f"encoder: activation {self.activation!r} is unknown; choose from "
            f"{', '.join(ACTIVATIONS)}",
        )

    @property
    def max_tokens(self) -> int:
        """The longest text it has positions for."""
        return self.positions - self.first_position
