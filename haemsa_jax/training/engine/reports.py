"""Rows of the log: losses by step, and what is known of tasks and modalities at a validation."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from haemsa_jax.config import NetworkConfig, TrainConfig
from haemsa_jax.training.objective.task_weighting import UNCERTAINTY


def plan(
    config: TrainConfig,
    counts: Mapping[str, int],
    progress: Mapping[str, Any],
    doubts: Sequence[str],
) -> dict[str, Any]:
    """What is about to be trained: the row that comes before all others.

    Args:
      config: `fitted`.
      counts: labelled training samples of every task.
      progress: where the run is, of how many steps.
      doubts: sentences on what few samples cannot tell.
    """
    return {
        "step": progress["step"],
        "kind": "plan",
        "total": progress["total"],
        "epochs": config.epochs,
        "batch_size": config.batch_size,
        "networks": config.seeds * config.networks,
        "samples": dict(counts),
        "doubts": list(doubts),
    }


class NonFiniteLossError(RuntimeError):
    """Training diverged. The message names the steps and the task; the last checkpoint is kept."""


def loss_rows(
    network: NetworkConfig, first: int, seed: int, losses: np.ndarray
) -> Iterator[dict[str, Any]]:
    """One row a step of losses float[steps, S, K].

    Raises:
      NonFiniteLossError: a loss is not finite.
    """
    bad = ~np.isfinite(losses)
    if bad.any():
        step, member, task = np.argwhere(bad)[0]
        raise NonFiniteLossError(
            f"the loss of {list(network.tasks)[task]!r} is {losses[step, member, task]} at step "
            f"{first + step + 1} with seed {seed + member} (block of steps {first + 1} to "
            f"{first + len(losses)}); the last checkpoint is kept. Lower --learning_rate or "
            "--clip_norm, or look at the data"
        )
    for index, now in enumerate(losses):
        by_task = {f"loss/{t}": now[:, k].tolist() for k, t in enumerate(network.tasks)}
        row = {"step": first + index + 1, "kind": "train", "loss": now.mean(axis=1).tolist()}
        yield {**row, **by_task}


def by_seed(values: np.ndarray, networks: int, axis: int = 0) -> np.ndarray:
    """Means over the networks of each seed, which stand next to each other along an axis."""
    if networks == 1:
        return values
    before, after = values.shape[:axis], values.shape[axis + 1 :]
    return values.reshape(*before, -1, networks, *after).mean(axis=axis + 1)


def epochs_seen(step: int, counts: dict[str, int], sizes: dict[str, int]) -> dict[str, float]:
    """How often each task's samples have been seen."""
    return {f"epochs/{task}": step * sizes[task] / count for task, count in counts.items()}


def task_weights(network: NetworkConfig, params: dict, networks: int = 1) -> dict[str, list[float]]:
    """Factors that were learnt for the tasks, by seed; empty where none are."""
    if UNCERTAINTY not in params:
        return {}
    factors = by_seed(np.exp(-np.asarray(params[UNCERTAINTY])), networks)
    return {f"weight/{task}": factors[:, k].tolist() for k, task in enumerate(network.tasks)}


def balance(network: NetworkConfig, members: Any, networks: int = 1) -> dict[str, list[float]]:
    """How far each modality is ahead of the others, by seed."""
    ratios = by_seed(np.asarray(members.balance), networks)
    return {f"lead/{m}": ratios[:, k].tolist() for k, m in enumerate(network.modalities)}


def agreement(
    network: NetworkConfig, cosines: np.ndarray, networks: int = 1
) -> dict[str, list[float]]:
    """Cosines float[S, K, K] of the tasks' gradients as a value a seed by `cosine/TASK|TASK`."""
    cosines = by_seed(cosines, networks)
    pairs = combinations(enumerate(network.tasks), 2)
    return {f"cosine/{a}|{b}": cosines[:, i, j].tolist() for (i, a), (j, b) in pairs}
