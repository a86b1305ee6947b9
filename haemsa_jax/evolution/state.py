"""What a search is given, what it keeps and what it returns."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from flax import struct

from haemsa_jax.config.checks import require_each
from haemsa_jax.errors import InputError
from haemsa_jax.structure.genes import Table

Array = jax.Array
INHERIT = ("none", "nearest", "parent")


@dataclass(frozen=True)
class Problem:
    """What is searched. All functions are pure and of one member; the search maps over them.

    Attributes:
      table: the genes.
      default: float[G], the genome that a search begins with, and around.
      objectives: names of the O costs.
      init: (key, data) -> member, a pytree of arrays: fresh weights and optimiser.
      train: (member, genome, data, key, start, count) -> member after the steps `start` to
        `start + count` of the search's schedule; the key is the same for all members, so that they
        see the same batches and noise.
      evaluate: (member, genome, data) -> float[O], costs on validation: positive, 0 is perfect.
      size: genome -> float[], what of the supernet it keeps active, as a share.
      weights: float[O], of the costs in their mean, 1 together; None where all weigh the same.
    """

    table: Table
    default: np.ndarray
    objectives: tuple[str, ...]
    init: Callable[[Array, Any], Any]
    train: Callable[[Any, Array, Any, Array, Array, Array], Any]
    evaluate: Callable[[Any, Array, Any], Array]
    size: Callable[[Array], Array]
    weights: np.ndarray | None = None


@dataclass(frozen=True)
class SearchConfig:
    """How it is searched.

    Attributes:
      algorithm: an evosax algorithm by name, MixedGA or CrowdingGA.
      population: members of a generation.
      generations: rounds of training and selection.
      steps: training steps of a member in one generation.
      head_start: training steps of the first generation beyond that, so that selection begins among
        networks that have learnt something; needs inheritance.
      price: fitness is the mean of the costs times (active share) ** price; 0 is free.
      fixed: names of genes, or of levels of genes, that keep the default's values in all members.
      spread: how far from the default the first genomes of a population, and those of a random
        search, are drawn: 1 leaves whatever is open there open in five of six, 0 is the default for
        all, which then differ by their weights. Algorithms without a population have a first step
        of their own.
      inherit: where a member's weights come from: `parent` (where the algorithm knows parents, else
        like nearest), `nearest` living genome, or `none`, a fresh start.
      abreast: members that a device trains side by side, the others after them: saves memory, and
        changes results by rounding alone; 0 is all of them, but 4 on a CPU, whose caches hold no
        more.
    """

    algorithm: str = "MixedGA"
    population: int = 16
    generations: int = 20
    steps: int = 20
    head_start: int = 100
    price: float = 0.05
    spread: float = 1.0
    inherit: str = "parent"
    abreast: int = 0
    fixed: tuple[str, ...] = ()

    def __post_init__(self):
        require_each(self, "search", ("population",), lambda x: x >= 2, "must be at least 2")
        require_each(
            self, "search", ("generations", "steps"), lambda x: x >= 1, "must be at least 1"
        )
        require_each(
            self, "search", ("price", "head_start", "abreast", "spread"), lambda x: x >= 0,
            "must not be negative",
        )  # fmt: skip
        if self.inherit not in INHERIT:
            raise InputError(
                f"search: inherit={self.inherit!r} is unknown; choose from {', '.join(INHERIT)}"
            )
        if self.inherit == "none" and self.head_start:
            raise InputError(
                f"search: head_start={self.head_start} is lost where nothing is inherited; use 0"
            )

    @property
    def schedule(self) -> int:
        """Training steps from a fresh member to the last one of its line."""
        if self.inherit == "none":
            return self.steps
        return self.head_start + self.steps * self.generations


@struct.dataclass
class History:
    """One row a generation, N in all; rows that are still to come hold zeros.

    Members are numbered through the search: generation * P + place.

    Attributes:
      genomes: float[N, P, G].
      fitness: float[N, P], what the algorithm was told; lower is better.
      costs: float[N, P, O], as measured, NaN and inf included.
      sizes: float[N, P], the active share that is priced.
      parents: int[N, P], the member whose weights it started from; -1 for fresh weights.
      diverged: bool[N, P], members whose cost was not finite, or whose genome was not a number;
        their fitness is the worst finite one of the generation and the living.
      living: int[N, P], the members that were alive after the generation.
      best: float[N], the lowest fitness of any member so far.
    """

    genomes: Array
    fitness: Array
    costs: Array
    sizes: Array
    parents: Array
    diverged: Array
    living: Array
    best: Array

    def winner(self) -> int:
        """Number of the best member that did not diverge. On the host."""
        return int(np.where(self.diverged, np.inf, self.fitness).argmin())


@struct.dataclass
class Living:
    """The pool that children inherit from; without its members' weights.

    Attributes:
      genomes: float[P, G].
      fitness: float[P]; inf for a member that diverged or is not there yet.
      ids: int[P].
    """

    genomes: Array
    fitness: Array
    ids: Array


@struct.dataclass
class SearchState:
    """All that the next generation depends on, and what has been.

    Attributes:
      generation: int[], generations done.
      random_search: bool[], genomes are drawn at random: the yardstick, with everything but the
        algorithm the same.
      algorithm: evosax's state.
      living: the pool.
      champion: member, genome and fitness of the best so far, whether it lives or not.
      history: what has been.
      members: float[devices, P / devices, W], the pool's members, each as one vector: what is done
        to all of their weights is few operations, not a few for each of several hundred arrays.
      fresh: the same of members that nobody trained, for those who inherit nothing.
    """

    generation: Array
    random_search: Array
    algorithm: Any
    living: Living
    champion: tuple[Array, Array, Array]
    history: History
    members: Array
    fresh: Array


@dataclass(frozen=True)
class SearchResult:
    """What a search found; NumPy arrays.

    Attributes:
      genome, fitness, member: the best, with its weights.
      genomes, fitnesses, members: the last pool, best first; leaves [P, ...].
      history: all generations.
      state: to go on from.
    """

    genome: np.ndarray
    fitness: float
    member: Any
    genomes: np.ndarray
    fitnesses: np.ndarray
    members: Any
    history: History
    state: SearchState
