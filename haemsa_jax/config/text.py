"""Text encoders: their shapes, and how one is used in a network."""

from dataclasses import dataclass

from haemsa_jax.config.checks import require

TEXT_MODES = ("frozen", "pooled", "tuned", "adapted")
PRECISIONS = ("float32", "bfloat16")
ACTIVATIONS = ("gelu", "gelu_new", "relu")


@dataclass(frozen=True)
class EncoderConfig:
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

    def __post_init__(self):
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


@dataclass(frozen=True)
class TextConfig:
    """The encoder that turns transcripts into token vectors, in place of text features.

    Attributes:
      encoder: its name or folder, as it was given.
      fingerprint: of its weights, tokeniser and configuration.
      max_tokens: longer transcripts are cut off.
      mode: `frozen`, vectors are computed once; `pooled`, likewise, and an utterance is the mean of
        its tokens, so that a long context stays short; `tuned`, the encoder is part of the network
        and is trained with it; `adapted`, likewise, but of the encoder only adapters are trained.
      datasets: those that have transcripts; others keep their text features.
      shapes: of the encoder.
      rank: of the adapters; 0 for none: the encoder reads as published.
      precision: in which an encoder within the network multiplies, one of `PRECISIONS`; weights are
        float32 always.
    """

    encoder: str
    fingerprint: str
    max_tokens: int
    mode: str
    datasets: tuple[str, ...]
    shapes: EncoderConfig
    rank: int = 16
    precision: str = "float32"

    def __post_init__(self):
        for name, value, known in (
            ("mode", self.mode, TEXT_MODES), ("precision", self.precision, PRECISIONS),
        ):  # fmt: skip
            require(
                value in known,
                f"text: {name} {value!r} is unknown; choose from {', '.join(known)}",
            )
        require(self.rank >= 0, f"text: rank={self.rank} of the adapters must not be negative")

    @property
    def within(self) -> bool:
        """Whether the encoder is part of the network, which then reads token numbers."""
        return self.mode in ("tuned", "adapted")
