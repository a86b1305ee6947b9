"""What a search is given, what it keeps and what it returns."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from flax import struct

from haemsa_jax.config.checks import require_each
from haemsa_jax.errors import InputError
from haemsa_jax.structure.table import Table

Array = jax.Array
INHERIT = ("none", "nearest", "parent")
MOST_MEMBERS = 65_536
PICK = ("best", "smallest", "knee")


@dataclass(frozen=True)
class Problem:
    """What is searched. All functions are pure and of one network; the search maps over them.

    A member of the population is a genome and K networks, one for each fold of the data; together
    they predict every sample that judges.

    Attributes:
      table: the genes.
      default: float[G], the genome that a search begins with, and around.
      objectives: names of the O costs.
      init: (key, data) -> network, a pytree of arrays: fresh weights and optimiser.
      train: (network, genome, data, fold, key, start, count) -> network after the steps `start` to
        `start + count` of the search's schedule; the key is the same for all members, so that they
        see the same batches and noise.
      predict: (network, genome, data, fold) -> predictions of the samples that judge the network, a
        pytree of arrays of which means over networks make sense.
      judge: (predictions, data) -> float[1 + J, O], costs, positive, 0 is perfect: on all samples,
        and with each of J blocks of groups left out in turn. Predictions are those of all K
        networks, with a leading axis K.
      size: genome -> float[], what of the supernet it keeps active, as a share.
      folds: K, 1 where one network trains on one split and is judged on another.
      weights: float[O], of the costs in their mean, 1 together; None where all weigh the same.
    """

    table: Table
    default: np.ndarray
    objectives: tuple[str, ...]
    init: Callable[[Array, Any], Any]
    train: Callable[[Any, Array, Any, Array, Array, Array, Array], Any]
    predict: Callable[[Any, Array, Any, Array], Any]
    judge: Callable[[Any, Any], Array]
    size: Callable[[Array], Array]
    folds: int = 1
    weights: np.ndarray | None = None


@dataclass(frozen=True)
class SearchConfig:
    """Settings of a search.

    Attributes:
      algorithm: an evosax algorithm by name, GenomicGA, CrowdingGA, MixedGA, NSGA2 or
        SuccessiveHalving.
      population: members (genomes) that are trained in a generation; of our own algorithms half are
        the survivors of the generation before, which train on beside their children.
      generations: rounds of training and selection.
      steps: training steps of a member in one generation.
      head_start: training steps of the first generation beyond that, so that selection begins among
        networks that have learnt something; needs inheritance.
      repeats: how often each finalist is trained anew at least, from other seeds, when the
        generations are over: as many finalists as fill a population so, one at least, for as long
        as the whole search has trained a lineage. The mean over repeats says which wins. 0 for
        none.
      pick: which finalist wins: the `best`, the `smallest` of those that are within a standard
        error over groups of it, or the `knee`, where cost and size, each from 0 to 1 among
        finalists, have the lowest sum.
      margin: standard errors of the difference over groups by which a child must be ahead to
        replace a parent that is not larger.
      price: fitness is the mean of the costs (1 - score) times (share of the parameters in use) **
        price; 0 ignores size.
      fixed: names of genes, or of levels of genes, that keep the default's values in all members.
      spread: how far from the default network the first genomes of a population, and those of a
        random search, are drawn: 1 leaves each part that is open there open in five of six, 0 is
        the default for all, which then differ by their weights. Algorithms without a population
        have a first step of their own.
      inherit: where a member's weights come from: `parent` (where the algorithm knows parents, else
        like nearest), the `nearest` genome of the generation before, or `none`, a fresh start.
      abreast: networks that a device trains side by side, the others after them: saves memory, and
        changes results by rounding alone; 0 is all of them, but 4 on a CPU, whose caches hold no
        more.
    """

    algorithm: str = "GenomicGA"
    population: int = 12
    generations: int = 20
    steps: int = 20
    head_start: int = 100
    repeats: int = 3
    pick: str = "best"
    margin: float = 1.0
    price: float = 0.005
    spread: float = 1.0
    inherit: str = "parent"
    abreast: int = 0
    fixed: tuple[str, ...] = ()

    def __post_init__(self):
        require_each(self, "search", ("population",), lambda x: x >= 2, "must be at least 2")
        rule = f"must be at most {MOST_MEMBERS:,}"
        require_each(self, "search", ("population",), lambda x: x <= MOST_MEMBERS, rule)
        require_each(
            self, "search", ("generations", "steps"), lambda x: x >= 1, "must be at least 1"
        )
        not_negative = ("price", "head_start", "abreast", "spread", "repeats", "margin")
        require_each(self, "search", not_negative, lambda x: x >= 0, "must not be negative")
        if self.inherit not in INHERIT:
            raise InputError(
                f"search: inherit={self.inherit!r} is unknown; choose from {', '.join(INHERIT)}"
            )
        if self.pick not in PICK:
            raise InputError(
                f"search: pick={self.pick!r} is unknown; choose from {', '.join(PICK)}"
            )
        if self.inherit == "none" and self.head_start:
            raise InputError(
                f"search: head_start={self.head_start} is lost where nothing is inherited; use 0"
            )

    @property
    def finalists(self) -> np.ndarray:
        """int[P], which finalist each member of the final is."""
        return np.arange(self.population) % max(1, self.population // max(1, self.repeats))

    @property
    def schedule(self) -> int:
        """Training steps from fresh networks to the end of their line."""
        if self.inherit == "none":
            return self.steps
        return self.head_start + self.steps * self.generations

    @property
    def rounds(self) -> int:
        """Generations, and the final."""
        return self.generations + bool(self.repeats)

    @property
    def total_steps(self) -> int:
        """Training steps of one network of each member, over all of a search."""
        if self.inherit == "none":
            return self.steps * self.rounds
        return self.schedule * (1 + bool(self.repeats))


class History(struct.PyTreeNode):
    """One row a round, N in all, the final the last; rows that are still to come hold zeros.

    Members are numbered through the search: round * P + place.

    Attributes:
      genomes: float[N, P, G].
      fitness: float[N, P], what the algorithm was told; lower is better.
      costs: float[N, P, O], as measured, NaN and inf included.
      sizes: float[N, P], the active share that is priced.
      errors: float[N, P], the standard error over groups of the difference in fitness to the best
        of the round.
      parents: int[N, P], the member whose weights it started from; -1 for fresh weights.
      diverged: bool[N, P], members whose cost was not finite, or whose genome was not a number;
        their fitness is the worst finite one of the round.
      best: float[N], the lowest fitness of the round.
    """

    genomes: Array
    fitness: Array
    costs: Array
    sizes: Array
    errors: Array
    parents: Array
    diverged: Array
    best: Array


class Generation(struct.PyTreeNode):
    """The members that were trained together last, without their weights.

    Attributes:
      genomes: float[P, G].
      fitness: float[P]; inf for a member that diverged or is not there yet.
      replicates: float[P, J], their fitness with each block of groups left out.
      predictions: of all members' K networks, leaves [P, K, ...].
    """

    genomes: Array
    fitness: Array
    replicates: Array
    predictions: Any


class SearchState(struct.PyTreeNode):
    """All that the next generation depends on, and what has been.

    Attributes:
      generation: int[], rounds done.
      random_search: bool[], genomes are drawn at random: the yardstick, with everything but the
        algorithm the same.
      algorithm: evosax's state.
      living: the last generation.
      final: the finalists, each trained anew.
      history: what has been.
      members: float[devices, P K / devices, W], the networks of the last generation, each as one
        vector: what is done to all of their weights is few operations, not a few for each of
        several hundred arrays.
      finals: the same of the finalists.
      fresh: float[devices, P K / devices, 2, W], networks that nobody trained, for those who
        inherit nothing, and for the finalists.
    """

    generation: Array
    random_search: Array
    algorithm: Any
    living: Generation
    final: Generation
    history: History
    members: Array
    finals: Array
    fresh: Array


@dataclass(frozen=True)
class SearchResult:
    """What a search found; NumPy arrays.

    Attributes:
      genome, fitness: the winner.
      place: of the winner in `history`, round and member.
      genomes, fitnesses, members: the finalists and the last generation, the winner first, then by
        fitness; leaves of `members` are [2 P, K, ...].
      ensemble: places among these whose mean prediction has the lowest cost, chosen greedily with
        replacement.
      ensemble_costs: float[O], of that mean.
      history: all rounds.
      state: to go on from.
    """

    genome: np.ndarray
    fitness: float
    place: tuple[int, int]
    genomes: np.ndarray
    fitnesses: np.ndarray
    members: Any
    ensemble: tuple[int, ...]
    ensemble_costs: np.ndarray
    history: History
    state: SearchState
