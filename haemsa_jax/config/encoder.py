"""How an encoder of raw input, such as words, is used in a network."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from haemsa_jax.config.checks import require
from haemsa_jax.config.frozen import frozen

MODES = ("frozen", "pooled", "tuned", "adapted")
PRECISIONS = ("float32", "bfloat16")


class Shapes(Protocol):
    """Shapes of an encoder: a frozen dataclass of its family's own.

    Attributes:
      width: D, of every vector.
      marks: whether a module of the family can tell tokens of the target from its context's.
    """

    width: int
    marks: ClassVar[bool]


@dataclass(frozen=True, kw_only=True)
class EncoderSpec:
    """The encoder that makes token vectors of a modality's raw input, in place of its features.

    Attributes:
      family: name of a registered family (`haemsa_jax.encoders`).
      modality: whose raw input it reads.
      encoder: its name or folder. Two that differ in this alone are the same.
      fingerprint: of its weights, tokeniser and configuration.
      max_tokens: longer input is cut off.
      mode: `frozen`, vectors are computed once; `pooled`, likewise, and an utterance is the mean of
        its tokens, so that a long context stays short; `tuned`, the encoder is part of the network
        and is trained with it; `adapted`, likewise, but of the encoder only adapters are trained.
      datasets: those that have the raw input; others keep their features.
      shapes: of the encoder, of its family's own class.
      rank: of the adapters; 0 for none: the encoder reads as published.
      precision: in which an encoder within the network multiplies, one of `PRECISIONS`; weights are
        float32 always.
    """

    family: str
    modality: str
    encoder: str = field(compare=False)
    fingerprint: str
    max_tokens: int
    mode: str
    datasets: tuple[str, ...]
    shapes: Any
    rank: int = 16
    precision: str = "float32"

    def __post_init__(self):
        object.__setattr__(self, "datasets", frozen(self.datasets))
        for name, value, known in (
            ("mode", self.mode, MODES),
            ("precision", self.precision, PRECISIONS),
        ):
            require(
                value in known,
                f"{self.modality}: {name} {value!r} is unknown; choose from {', '.join(known)}",
            )
        require(
            self.rank >= 0,
            f"{self.modality}: rank={self.rank} of the adapters must not be negative",
        )

    @property
    def within(self) -> bool:
        """Whether the encoder is part of the network, which then reads raw input."""
        return self.mode in ("tuned", "adapted")
