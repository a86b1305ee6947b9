"""A search on the host: restore, then block of rounds, report, checkpoint.

The programs of `search.py` do the work; this loop only looks at what comes back between blocks.
"""

import contextlib
import functools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from haemsa_jax.evolution.search import Search
from haemsa_jax.evolution.state import SearchConfig, SearchResult, SearchState
from haemsa_jax.memory import bytes_of, check_memory
from haemsa_jax.training.engine import parallel
from haemsa_jax.training.persistence.checkpoint import BEST, Checkpoints
from haemsa_jax.training.persistence.experiment import Experiment
from haemsa_jax.training.persistence.run_directory import (
    check_directory,
    check_kept,
    owned,
)

SEARCH, RANDOM = "search", "random"
TRIAL = 4  # one part in so many of a generation is timed before a search begins


def run_search(
    search: Search,
    key: jax.Array,
    data: Any,
    directory: str | os.PathLike,
    experiment: Experiment,
    random_search: bool = False,
    block: int = 1,
    beside: bool = False,
    observe: Callable[[dict[str, Any]], None] = lambda row: None,
    stop: Callable[[], bool] = lambda: False,
) -> SearchResult:
    """A search in a run directory, begun or resumed.

    Args:
      search: what `make_search` returns.
      key: root of its random streams.
      data: as its problem takes it.
      directory: of the run; the state lies in `search/`, or `random/` of a random search.
      experiment: what must agree for the search to be resumed.
      random_search: draw genomes at random.
      block: rounds between two looks and checkpoints; changes nothing in the result.
      beside: a random search will follow in this directory. Where the algorithm starts from a
        population, both have the first generation, with its head start, in common: it is left where
        the random search goes on from it.
      observe: called when compiling has ended and after each block, with `generation`, `steps`
        and `of_steps` (of one network, done and in all), `seconds` and `beside_seconds` (estimates,
        of what is left and of the random search that will follow), `next_steps` and `next_seconds`
        (at the end of the next block, until then) and, once a generation is done, `best`, `median`
        (of its fitness), `diverged` (so far) and `rate`, networks' training steps in a second; NaN
        where nothing was timed.
      stop: asked after each block; where it says yes, what there is so far is the result.

    Raises:
      InputError: the directory is in use or cannot be written, or holds a search of another
        configuration or a damaged one.
    """
    directory, name = Path(directory), RANDOM if random_search else SEARCH
    with contextlib.ExitStack() as stack:
        stack.enter_context(owned(directory))
        abstract = _leaves(search.abstract(data))
        check_memory(
            bytes_of(abstract), search.devices, f"population={search.config.population}",
            "use a smaller --population, fewer --folds, or a smaller network",
        )  # fmt: skip
        check_directory(directory, bytes_of(abstract))
        check_kept(directory, experiment, SEARCH, RANDOM, BEST, made_again=(BEST,))
        parallel.meet()  # nobody begins what others still look for
        data = search.place(data)
        state = search.start(key, data, random_search)
        saved = stack.enter_context(Checkpoints(directory, name))
        if saved.metadata() is not None:
            state = _with_leaves(state, saved.load(abstract))
        stopped = False
        pace = _timed(search, state, key, data)
        head = block if not (beside and search.populated) else 1
        told = functools.partial(_row, search, pace, beside)
        observe(told(state, np.nan, head if not int(state.generation) else block))
        while not stopped and int(state.generation) < search.config.rounds:
            before, began = int(state.generation), time.perf_counter()
            first = beside and search.populated and not before
            count = 1 if first else block
            state = jax.block_until_ready(search.advance(state, key, data, count))
            done = int(state.generation)
            taken = steps_done(search.config, done) - steps_done(search.config, before)
            networks = search.config.population * search.folds
            rate = networks * taken / (time.perf_counter() - began)
            observe(told(state, rate, block))
            whole = search.whole(state)
            if first:
                _save_common_start(directory, whole, done, experiment)
            saved.save(done, _leaves(whole), experiment, {"generation": done})
            stopped = stop()
    return search.result(state, data)


def _save_common_start(
    directory: Path, whole: SearchState, done: int, experiment: Experiment
) -> None:
    """The first generation, where the random search goes on from it."""
    with Checkpoints(directory, RANDOM) as other:
        if other.metadata() is None:  # or the kill came just after
            leaves = _leaves(whole.replace(random_search=np.array(True)))
            other.save(done, leaves, experiment, {"generation": done})


def _timed(search: Search, state: SearchState, key: jax.Array, data: Any) -> tuple[float, float]:
    """Seconds of a round but for its training, and of one of its steps; compiles, and is forgotten.

    The same program says both, told to train for no steps and for a part of a generation. How many
    is not left to the clock: all processes of a run must call it alike.
    """

    def seconds(steps: int) -> float:
        began = time.perf_counter()
        jax.block_until_ready(search.advance(state, key, data, 1, steps))
        return time.perf_counter() - began

    seconds(0)
    apart, steps = min(seconds(0), seconds(0)), max(1, search.config.steps // TRIAL)
    return apart, max(0.0, seconds(steps) - apart) / steps


def _row(
    search: Search,
    pace: tuple[float, float],
    beside: bool,
    state: SearchState,
    rate: float,
    block: int,
) -> dict[str, Any]:
    """What `observe` is told when the next call will take `block` rounds."""
    config, done = search.config, int(state.generation)

    def seconds(first: int, last: int) -> float:
        steps = steps_done(config, last) - steps_done(config, first)
        return (last - first) * pace[0] + steps * pace[1]

    following = min(done + block, config.rounds)
    row = {
        "generation": done,
        "rate": rate,
        "steps": steps_done(config, done),
        "of_steps": steps_done(config, config.rounds),
        "seconds": seconds(done, config.rounds),
        "beside_seconds": beside * seconds(int(search.populated), config.rounds),
        "next_steps": steps_done(config, following),
        "next_seconds": seconds(done, following),
    }
    if not done:
        return row
    history = jax.device_get(state.history)
    return {
        **row,
        "best": float(history.best[:done].min()),
        "median": float(np.median(history.fitness[done - 1])),
        "diverged": int(np.sum(history.diverged[:done])),
    }


def steps_done(config: SearchConfig, rounds: int) -> int:
    """Training steps of a network of each member after so many rounds."""
    generations = min(rounds, config.generations)
    final = config.schedule if rounds > config.generations else 0
    return config.head_start * bool(rounds) + config.steps * generations + final


def _leaves(state: SearchState) -> dict[str, Any]:
    """What is kept of a state by name, whatever devices it is spread over.

    All arrays but the untrained networks, which the key makes again.
    """
    flat = {name: _flat(getattr(state, name)) for name in ("members", "finals")}
    leaves, _ = jax.tree_util.tree_flatten_with_path(state.replace(fresh=None, **flat))
    return {_name(path): leaf for path, leaf in leaves if np.size(leaf)}


def _flat(networks: Any) -> Any:
    """[devices, n, W] as [devices n, W], also of shapes."""
    devices, share, width = networks.shape
    if isinstance(networks, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct((devices * share, width), networks.dtype)
    return networks.reshape(-1, width)


def _name(path: tuple) -> str:
    """Such as `history.genomes`."""
    return jax.tree_util.keystr(path, simple=True, separator=".")


def _with_leaves(state: SearchState, saved: dict[str, Any]) -> SearchState:
    """Inverse of `_leaves`, around a state of the same search."""
    leaves, shape = jax.tree_util.tree_flatten_with_path(state.replace(fresh=None))
    restored = jax.tree.unflatten(shape, [saved.get(_name(path), leaf) for path, leaf in leaves])
    return restored.replace(
        fresh=state.fresh,
        members=restored.members.reshape(state.members.shape),
        finals=restored.finals.reshape(state.finals.shape),
    )
