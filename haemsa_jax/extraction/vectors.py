"""Vectors of sound by Whisper's encoder, as published."""

import functools
import re
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from haemsa_jax.extraction.words import Recogniser

TOGETHER = 10  # tokens of 20 ms that are one vector
ORIGIN = re.compile(r"Whisper's encoder (\w+), means of 0\.2 s")


@dataclass(frozen=True)
class Vectors:
    """The encoder of a speech model, known as the recogniser of the same files is.

    Attributes:
      name: a folder, or one of `words.PACKAGES`; also a folder of Hugging Face's.
    """

    name: str

    @functools.cached_property
    def origin(self) -> str:
        """What a data set says of its audio."""
        return f"Whisper's encoder {Recogniser(self.name).fingerprint}, means of 0.2 s"

    @functools.cached_property
    def _pretrained(self):
        from haemsa_jax.encoders.speech import WHISPER

        return WHISPER.read(self.name)

    def of(self, samples: Float[np.ndarray, " samples"]) -> Float[np.ndarray, "tokens width"]:
        """Five vectors a second of at most 30 s, 16,000 samples a second.

        Raises:
          InputError: there is no such model, or it is damaged or quantised.
        """
        from haemsa_jax.encoders import embed

        (tokens,), (mask,) = embed(self._pretrained, [samples], self._pretrained.config.positions)
        real = tokens[mask].astype(np.float32)
        starts = np.arange(0, len(real), TOGETHER)
        counts = np.diff([*starts, len(real)])
        return np.add.reduceat(real, starts, axis=0) / counts[:, None]
