"""A table of genes: size, decoding, description and JSON of a genome follow from it.

It knows nothing of the network that its values are for.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from haemsa_jax.errors import InputError
from haemsa_jax.structure.genes import Gene, places

Array = jax.Array


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

        `structure` are all levels but `training`.

        Raises:
          InputError: neither a gene nor a level has that name.
        """
        chosen = np.zeros(self.size, bool)
        for name in names:
            matching = [gene.name for gene in self.genes if name in gene.groups]
            if not matching:
                levels = ", ".join(dict.fromkeys(gene.level for gene in self.genes))
                raise InputError(
                    f"there is no gene {name!r}; choose from structure, the levels {levels}, or "
                    f"the genes {', '.join(gene.name for gene in self.genes)}"
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

    def features(self, genomes: Array) -> Array:
        """float[..., G + C], what genomes say, as a linear model reads it.

        The first G belong to their numbers: 1 or -1 of masks, the place in [-1, 1] of scales, 0 of
        choices, whose C options follow, 1 or 0 each.
        """
        genomes = jnp.nan_to_num(jnp.asarray(genomes), nan=0.0)
        own, options, place = [], [], places(genomes)
        for gene in self.genes:
            chosen = place[..., self.slices[gene.name]]
            if gene.kind == "mask":
                own.append(jnp.where(genomes[..., self.slices[gene.name]] > 0, 1.0, -1.0))
            elif gene.kind == "scale":
                own.append(2.0 * chosen - 1.0)
            else:
                own.append(jnp.zeros_like(chosen))
                options.append(1.0 * (gene.option(chosen) == jnp.arange(len(gene.labels))))
        return jnp.concatenate([*own, *options], axis=-1)

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
        lines, level, meaning = [], None, ""
        for gene in self.genes:
            if gene.level != level:
                level = gene.level
                lines.append(f"{level}:")
            value, without = values[gene.name], (idle or {}).get(gene.name, ())
            if without:
                value = [label for label in value if label not in without]
            brackets = f" (without effect: {_words(without)})" if without else ""
            # What several genes in a row mean is said once.
            about = f"  # {gene.meaning}" if gene.meaning != meaning else ""
            meaning = gene.meaning
            lines.append(f"  {gene.name:{width}}  {_words(value)}{brackets}{about}")
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
