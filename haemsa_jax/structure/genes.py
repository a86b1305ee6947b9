"""A gene, and how it reads its own numbers of a genome.

A genome is float32[G], any real numbers: random genomes are standard normal, and every gene reads
its own numbers through the normal distribution function, so that a random genome is uniform over
what a gene can say, but for a fortieth at each end, and no number is out of range.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr

from haemsa_jax.errors import InputError

Array = jax.Array
KINDS = ("mask", "choice", "scale")
TRAINING = "training"  # the level of what is no structure
# Numbers beyond it say what it says. No farther, or a value at its gene's end would not evolve:
# where the distribution function is flat, no step changes anything.
FAR = 2.0
END = NormalDist().cdf(-FAR)


@dataclass(frozen=True)
class Gene:
    """One gene.

    Attributes:
      name: unique in its table.
      level: what it shapes, such as `local` or `training`.
      kind: `mask` (a set of labels), `choice` (one of them) or `scale` (a number).
      meaning: one line for people.
      labels: of a mask's or choice's options.
      some: a mask of which at least one label stays: where all numbers are negative, the largest.
      low, high: ends of a scale.
      log: the scale is uniform in the logarithm.
      default: of a scale, what a network has that nobody searched for.
    """

    name: str
    level: str
    kind: str
    meaning: str
    labels: tuple[str, ...] = ()
    some: bool = False
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    default: float = 1.0

    def __post_init__(self):
        where = f"gene {self.name!r}"
        if self.kind not in KINDS:
            raise InputError(f"{where}: kind {self.kind!r} is none of {', '.join(KINDS)}")
        if not (0.0 if self.log else -math.inf) < self.low < self.high < math.inf:
            above = " above 0" if self.log else ""
            raise InputError(
                f"{where}: low={self.low} and high={self.high} must be numbers{above}, low the less"
            )

    @property
    def empty(self) -> bool:
        """Whether it has nothing to choose from, as where a specialised network kept no label."""
        return self.kind != "scale" and not self.labels

    @property
    def groups(self) -> tuple[str, ...]:
        """Names by which it can be asked for: its own, its level, `structure` but for training."""
        return (self.name, self.level, *(["structure"] if self.level != TRAINING else []))

    @property
    def size(self) -> int:
        """How many numbers of the genome are its."""
        return len(self.labels) if self.kind == "mask" else 1

    @property
    def whole(self) -> Any:
        """What it says of a network in which everything is open: as `decode` returns it."""
        if self.kind == "mask":
            return np.ones(self.size, np.float32)
        if self.kind == "choice":
            return np.int32(len(self.labels) - 1)
        return np.float32(self.default)

    def decode(self, raw: Array, place: Array) -> Array:
        """{0, 1}[size] of a mask, int[] place of a choice, or float[] of a scale.

        Args:
          raw: float[size], its numbers.
          place: float[size], their places in [0, 1].
        """
        if self.kind == "mask":
            open_ = raw > 0
            if self.some:
                open_ |= jnp.arange(self.size) == jnp.argmax(raw)
            return open_.astype(jnp.float32)
        place = place[0]
        if self.kind == "choice":
            return self.option(place)
        if self.log:
            return jnp.float32(self.low) * (self.high / self.low) ** place
        return self.low + (self.high - self.low) * place

    def option(self, place: Array) -> Array:
        """int[...], which option a choice takes by its place in [0, 1]."""
        options = len(self.labels)
        return jnp.minimum((place * options).astype(jnp.int32), options - 1)

    def encode(self, value: Any) -> np.ndarray:
        """float32[size] that decodes to `value`: a set of labels, a label, or a number.

        Raises:
          InputError: the gene cannot say that.
        """
        if self.kind == "mask":
            _known(self, value)
            chosen = [label in value for label in self.labels]
            if self.some and not any(chosen):
                raise InputError(
                    f"gene {self.name!r} is {value!r}, but needs at least one of "
                    f"{', '.join(self.labels)}"
                )
            return np.where(chosen, 1.0, -1.0).astype(np.float32)
        if self.kind == "choice":
            _known(self, [value])
            place = (self.labels.index(value) + 0.5) / len(self.labels)
        else:
            number = isinstance(value, int | float) and not isinstance(value, bool)
            slack = 1e-5 * (self.high - self.low)
            if not number or not self.low - slack <= value <= self.high + slack:
                raise InputError(
                    f"gene {self.name!r} is {value!r}, but must be a number from {self.low} to "
                    f"{self.high}"
                )
            ends = np.array([self.low, value, self.high], float)
            low, value, high = np.log(ends) if self.log else ends
            place = (value - low) / (high - low)
        quantile = NormalDist().inv_cdf(END + (1.0 - 2.0 * END) * min(max(place, 0.0), 1.0))
        return np.array([quantile], np.float32)


def places(genomes: Array) -> Array:
    """float[..., G], where numbers lie in [0, 1], from what is as low as can be to the highest."""
    numbers = jnp.nan_to_num(genomes, nan=0.0)
    inside = (ndtr(jnp.clip(numbers, -FAR, FAR)) - END) / (1.0 - 2.0 * END)
    # Exact at the ends, where rounding would leave a trace of what is turned off.
    return jnp.where(numbers <= -FAR, 0.0, jnp.where(numbers >= FAR, 1.0, inside))


def _known(gene: Gene, labels: Any) -> None:
    fits = isinstance(labels, list | tuple) and all(isinstance(label, str) for label in labels)
    if not fits or not set(labels) <= set(gene.labels):
        raise InputError(
            f"gene {gene.name!r} is {labels!r}, but its labels are {', '.join(gene.labels)}"
        )
