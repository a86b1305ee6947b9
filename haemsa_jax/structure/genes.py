"""Genes: a declarative table from which size, decoding, description and JSON follow.

A genome is float32[G], any real numbers: random genomes are standard normal, and every gene reads
its own numbers through the normal distribution function, so that a random genome is uniform over
what a gene can say, but for a fortieth at each end, and no number is out of range. The table knows
nothing of the network that its values are for.
"""

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
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
            options = len(self.labels)
            return jnp.minimum((place * options).astype(jnp.int32), options - 1)
        if self.log:
            return jnp.float32(self.low) * (self.high / self.low) ** place
        return self.low + (self.high - self.low) * place

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


@dataclass(frozen=True)
class Table:
    """Genes in the order of their numbers on the genome."""

    genes: tuple[Gene, ...]

    def __post_init__(self):
        names = [gene.name for gene in self.genes]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise InputError(f"there are two genes {twice[0]!r}; each needs a name of its own")
        for gene in self.genes:
            if gene.empty:
                raise InputError(f"gene {gene.name!r}: a {gene.kind} needs labels")

    @functools.cached_property
    def size(self) -> int:
        """G, how many numbers a genome has."""
        return sum(gene.size for gene in self.genes)

    @functools.cached_property
    def slices(self) -> dict[str, slice]:
        """Which numbers belong to which gene."""
        ends = np.cumsum([gene.size for gene in self.genes]).tolist()
        return {
            gene.name: slice(end - gene.size, end)
            for gene, end in zip(self.genes, ends, strict=True)
        }

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """A name for every number: `gene`, or `gene=label` within a mask."""
        return tuple(
            f"{gene.name}={label}" if gene.kind == "mask" else gene.name
            for gene in self.genes
            for label in (gene.labels if gene.kind == "mask" else ("",))
        )

    @functools.cached_property
    def scales(self) -> np.ndarray:
        """bool[G], numbers of scales; the others say what a network consists of."""
        return np.repeat(
            [gene.kind == "scale" for gene in self.genes], [gene.size for gene in self.genes]
        )

    def places(self, names: Iterable[str]) -> np.ndarray:
        """bool[G], the numbers of genes by name, or of all genes of a level.

        Raises:
          InputError: neither a gene nor a level has that name.
        """
        chosen = np.zeros(self.size, bool)
        for name in names:
            matching = [gene.name for gene in self.genes if name in (gene.name, gene.level)]
            if not matching:
                levels = ", ".join(dict.fromkeys(gene.level for gene in self.genes))
                raise InputError(
                    f"there is no gene {name!r}; choose from the levels {levels}, or the genes "
                    f"{', '.join(gene.name for gene in self.genes)}"
                )
            for gene in matching:
                chosen[self.slices[gene]] = True
        return chosen

    def decode(self, genome: Array) -> dict[str, Array]:
        """float[G] -> what every gene says. Pure; any numbers, NaN counting as 0."""
        genome, place = jnp.nan_to_num(genome, nan=0.0), places(genome)
        return {
            gene.name: gene.decode(genome[self.slices[gene.name]], place[self.slices[gene.name]])
            for gene in self.genes
        }

    @functools.cached_property
    def _decode(self):
        return jax.jit(self.decode)

    def random(self, key: Array) -> Array:
        """float32[G], uniform over what each gene can say, but for its ends."""
        return jax.random.normal(key, (self.size,))

    def to_json(self, genome: Array | np.ndarray) -> dict[str, Any]:
        """What a genome says, as plain values by gene."""
        decoded = jax.device_get(self._decode(jnp.asarray(genome, jnp.float32)))
        return {gene.name: _plain(gene, decoded[gene.name]) for gene in self.genes}

    def from_json(self, values: Mapping[str, Any]) -> np.ndarray:
        """float32[G], a genome that says these values.

        Raises:
          InputError: a gene is missing, unknown or says what it cannot.
        """
        if not isinstance(values, Mapping):
            raise InputError(f"a genome is an object of values by gene, not {values!r}")
        wanted = {gene.name for gene in self.genes}
        for problem, names in (("lacks", wanted - {*values}), ("has unknown", {*values} - wanted)):
            if names:
                raise InputError(
                    f"the genome {problem} genes: {', '.join(sorted(names))}; it was made for "
                    "other tasks or another network"
                )
        return np.concatenate([gene.encode(values[gene.name]) for gene in self.genes])

    def describe(
        self, genome: Array | np.ndarray, idle: Mapping[str, Sequence[str]] | None = None
    ) -> str:
        """What a genome says, a line a gene.

        Args:
          genome: float[G].
          idle: labels of masks that are open without effect, by gene; they stand in brackets.
        """
        values = self.to_json(genome)
        width = max(len(gene.name) for gene in self.genes)
        lines, level = [], None
        for gene in self.genes:
            if gene.level != level:
                level = gene.level
                lines.append(f"{level}:")
            value, without = values[gene.name], (idle or {}).get(gene.name, ())
            if without:
                value = [label for label in value if label not in without]
            brackets = f" (idle: {_words(without)})" if without else ""
            lines.append(f"  {gene.name:{width}}  {_words(value)}{brackets}")
        return "\n".join(lines)


def _plain(gene: Gene, value: np.ndarray) -> Any:
    if gene.kind == "mask":
        return [label for label, on in zip(gene.labels, value, strict=True) if on]
    if gene.kind == "choice":
        return gene.labels[int(value)]
    # Seven digits are what float32 holds.
    return float(f"{float(np.clip(value, gene.low, gene.high)):.7g}")


def _words(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " + ".join(value) or "none"
    return value if isinstance(value, str) else f"{value:.4g}"
