"""The search: ask, inherit weights, train, judge, tell, for all generations in one program.

Everything is written against a `Problem` (`state.py`), functions of one network and a table of
genes; our own is in `problem.py`, any supernet of masks can have one. The networks of the
population, one a genome and fold, are the parallel axis: they are spread over the local devices,
everything that decides is computed alike on each.

Compared are equals in age: whoever lives on trains beside its children, and all members of a
generation are judged after as many steps, on the same samples. When the generations are over, the
best are trained anew from other seeds (the final), and the mean over these decides.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from haemsa_jax.errors import InputError
from haemsa_jax.evolution.crowning import make_result
from haemsa_jax.evolution.generation import make_generation
from haemsa_jax.evolution.start import make_draw, make_start
from haemsa_jax.evolution.state import Problem, SearchConfig, SearchResult, SearchState
from haemsa_jax.training.engine import parallel

Array = jax.Array
MOST = 2**31 - 1  # steps of a round: as many as its configuration says


@dataclass(frozen=True)
class Search:
    """`search(key, data) -> SearchResult`, and its pieces for those who want to look in between.

    The same program also searches at random, which is every algorithm's yardstick: each genome,
    drawn as the first ones are, gets one whole training. With inheritance that is the first
    generation trained on to the end, and as many more in place of the final, so that both take the
    same training steps; without it every generation is drawn anew.

    Attributes:
      place: (data) -> data on all devices, for those who call the others many times; otherwise each
        call puts it there.
      start: (key, data, random_search=False) -> SearchState; `random_search` draws all genomes.
      advance: (state, key, data, count, most=MOST) -> SearchState, `count` rounds on, in which
        networks take `most` steps at most. Into how many calls a search is cut changes nothing.
      abstract: (data) -> shapes of the state, to restore one.
      whole: (state) -> the state with the networks of all processes, as a checkpoint keeps it.
      result: (state, data) -> SearchResult, what there is so far.
      config: of the search.
      folds: networks of a member.
      devices: the axis.
      populated: the algorithm starts from a population, whose first generation is random search's
        too.
    """

    place: Callable[[Any], Any]
    start: Callable[..., SearchState]
    advance: Callable[..., SearchState]
    abstract: Callable[[Any], SearchState]
    whole: Callable[[SearchState], SearchState]
    result: Callable[[SearchState, Any], SearchResult]
    config: SearchConfig
    folds: int
    devices: list[jax.Device]
    populated: bool

    def __call__(self, key: Array, data: Any, random_search: bool = False) -> SearchResult:
        """The whole search."""
        state = self.start(key, data, random_search)
        return self.result(self.advance(state, key, data, self.config.rounds), data)


def make_search(
    problem: Problem, config: SearchConfig, devices: list[jax.Device] | None = None
) -> Search:
    """A search; its first call compiles one program for all data of the same shapes.

    Raises:
      InputError: the algorithm is unknown, or the networks do not divide over the devices.
    """
    # Late: evosax asks for devices as it is imported, before which processes must have met.
    from haemsa_jax.evolution.algorithms import has_population, make_algorithm

    devices = devices or jax.local_devices()
    networks = config.population * problem.folds
    if networks % len(devices):
        more = -(-config.population // len(devices)) * len(devices)
        raise InputError(
            f"population={config.population} does not divide over {len(devices)} devices; choose a "
            f"multiple of {len(devices)}, such as {more}, or fewer devices"
        )
    algorithm = make_algorithm(
        config.algorithm, config.population, problem.table, config.generations,
        make_draw(problem, config), problem.table.places(config.fixed), config.margin,
        problem.default,
    )  # fmt: skip
    populated = has_population(algorithm)
    together = _together(networks // len(devices), config.abreast, devices[0].platform)
    step = make_generation(
        problem, config, algorithm, populated=populated, devices=len(devices), together=together
    )
    # It runs once, so there is nothing to win from optimising it, which takes half of compiling.
    begin = jax.jit(
        make_start(problem, config, algorithm, populated=populated, devices=len(devices)),
        compiler_options={"xla_backend_optimization_level": 0},
    )
    run = parallel.map_members(step, devices)
    result = make_result(problem, config)

    def place(data):
        return parallel.replicate(data, devices)

    def start(key, data, random_search=False):
        return begin(key, data, np.bool_(random_search))

    def advance(state, key, data, count, most=MOST):
        left = config.rounds - int(state.generation)
        state = parallel.place_members(state, devices)
        return run(state, *place((key, data)), np.int32(most), np.int32(min(count, left)))

    def abstract(data):
        return jax.eval_shape(begin, jax.random.key(0), data, np.bool_(False))

    def whole(state):
        return parallel.whole(state, devices)

    return Search(
        place, start, advance, abstract, whole,
        lambda state, data: result(jax.device_get(whole(state)), data),
        config, problem.folds, devices, populated,
    )  # fmt: skip


def _together(share: int, abreast: int, platform: str) -> int:
    """Networks of a device's `share` that are trained side by side: a divisor of it."""
    most = abreast or (4 if platform == "cpu" else share)
    return max(count for count in range(1, most + 1) if share % count == 0)
