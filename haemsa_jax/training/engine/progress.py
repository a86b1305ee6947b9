"""How far a run is: steps, validations without gain, the best step and score of every seed."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from haemsa_jax.errors import InputError


def fresh_progress(total: int, sizes: dict[str, int], seeds: int) -> dict[str, Any]:
    """Before the first of `total` steps."""
    progress = {"step": 0, "total": total, "stale": 0, "sizes": sizes}
    return {**progress, "best_step": [0] * seeds, "best_score": [-np.inf] * seeds}


def summary(progress: Mapping[str, Any], seed: int) -> str:
    """Where the best step of one seed, by its place, lies, and whether more steps may help."""
    best, last = progress["best_step"][seed], progress["step"]
    if best == progress["total"]:
        return f"at the last step, {best}: longer training may help"
    return f"at step {best} of {last}"


def with_scores(progress: dict, better: np.ndarray, step: int, scores: list[float]) -> dict:
    """After a validation at `step`, by which the seeds bool[S] are `better`."""
    return {
        **progress,
        "stale": 0 if better.any() else progress["stale"] + 1,
        "best_step": np.where(better, step, progress["best_step"]).tolist(),
        "best_score": np.where(better, scores, progress["best_score"]).tolist(),
    }


def check_sizes(directory: Any, progress: Mapping[str, Any], sizes: dict[str, int]) -> None:
    """What a run has seen is counted in batches, which must go on as they began."""
    before = progress["sizes"]
    if before != sizes:
        raise InputError(
            f"{directory} was begun with {before} samples of the tasks in a step; these devices "
            f"would make it {sizes}, since --sampling_temperature is rounded to multiples of their "
            "number: resume on as many devices as before, or give another --run_dir"
        )


def spans_of(start: int, total: int, length: int, *looks: int) -> list[tuple[int, int]]:
    """Blocks of at most `length` steps [first, stop) from `start` on, which end where there is
    something to do.
    """
    spans = []
    while start < total:
        stop = min(start + length, total, *((start // every + 1) * every for every in looks))
        spans.append((start, stop))
        start = stop
    return spans


def is_over(progress: dict, patience: int) -> bool:
    """Whether the last step is done, or patience at its end."""
    return progress["step"] == progress["total"] or 0 < patience <= progress["stale"]
