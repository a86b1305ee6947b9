"""Many recordings at once, in several processes."""

import contextlib
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from haemsa_jax.errors import InputError
from haemsa_jax.extraction.clips import Recipe, Stretch

_own: list[tuple[Recipe, Path | None]] = []  # of a process, whose model is read once


def hear_all(
    paths: Sequence[Path], recipe: Recipe, cache: Path | None, jobs: int
) -> Iterator[tuple[int, Stretch | str]]:
    """Recordings as they are done: place in `paths`, and what is heard, or why nothing is.

    Args:
      paths: the recordings.
      recipe: what is made of them; checked before the first is read.
      cache: as `Recipe.whole` takes it; where all is stopped, the next time goes on from there.
      jobs: processes; 1 for this one alone.

    Raises:
      InputError: the recipe cannot be followed here, or a process died.
    """
    recipe.check()
    jobs = min(jobs, len(paths))
    if jobs <= 1:
        _begin(recipe, cache)
        yield from enumerate(map(_hear, paths))
        return
    # A fork of a process with JAX's threads may hang.
    fresh = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, fresh, initializer=_begin, initargs=(recipe, cache))
    with contextlib.ExitStack() as stack:
        stack.callback(pool.shutdown, cancel_futures=True)
        places = {pool.submit(_hear, path): place for place, path in enumerate(paths)}
        try:
            for done in as_completed(places):
                yield places[done], done.result()
        except BrokenProcessPool as error:
            raise InputError(
                "a process that reads recordings died, perhaps for want of memory; the same "
                "command again goes on from here, with fewer --jobs where it dies again"
            ) from error


def _begin(recipe: Recipe, cache: Path | None) -> None:
    _own[:] = [(recipe, cache)]


def _hear(path: Path) -> Stretch | str:
    recipe, cache = _own[0]
    try:
        return recipe.whole(path, cache)
    except InputError as error:
        return str(error)
