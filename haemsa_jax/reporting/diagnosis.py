"""Which part of a network says how much, and whether shared parts are shared.

A part's influence is how far predictions move when it alone is shut, which masks do without
another network: all parts are measured side by side in one program.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from haemsa_jax.config import FUSION_OPERATORS, LOCAL_EXPERTS, NetworkConfig, TaskSpec, dataset_of
from haemsa_jax.data.dataset import Split
from haemsa_jax.models.architecture import Architecture
from haemsa_jax.reporting.figures import DPI, FONT, HUES
from haemsa_jax.training import parallel
from haemsa_jax.training.checkpoint import Trained
from haemsa_jax.training.loop import EVALUATION_BATCH, probabilities
from haemsa_jax.training.state import stack
from haemsa_jax.training.streaming import host_splits, on_split

LEVELS = ("modality", "local", "link", "global", "specific")
RIDGE = 1.0


@dataclass(frozen=True)
class Diagnosis:
    """Of S networks on a split.

    Attributes:
      influence: per task id and (level, part) one value a seed: the mean change of the prediction
        where the part is shut, in standard deviations of a regression's labels, as a share of the
        probability that moves otherwise.
      probe: `shared` and `specific`, one value a seed: the share of vectors of which a linear
        classifier tells the modality, on samples that it was not fitted on; empty where summaries
        are not split, or fewer than two modalities have such a part.
    """

    influence: Mapping[str, Mapping[tuple[str, str], list[float]]]
    probe: Mapping[str, list[float]]


def diagnose(trained: Trained, splits: Mapping[str, Split]) -> Diagnosis:
    """Shuts every part of every network in turn, and looks at shared and specific parts.

    Args:
      trained: the networks; of a search the best.
      splits: by name of their data set.
    """
    network, devices = trained.experiment.network, jax.local_devices()
    predict = parallel.make_predict(network, EVALUATION_BATCH, devices, parts=network.splits)
    on = {
        name: on_split(predict, network, split, name, devices)
        for name, split in host_splits(network, splits).items()
    }
    constants = parallel.replicate(trained.constants, devices)
    influence: dict[str, dict] = {task_id: {} for task_id in network.tasks}
    probes: dict[str, list[float]] = {"shared": [], "specific": []} if network.splits else {}
    count = 1 if trained.ranked else len(trained.architectures.sharpness)
    for seed in range(count):
        params, whole = jax.tree.map(
            lambda x, k=seed: x[k], (trained.params, trained.architectures)
        )
        shut = without(network, whole)
        stacked = jax.tree.map(lambda *x: jnp.stack(x), whole, *shut.values())
        arrays = parallel.replicate([stack(params, 1 + len(shut)), stacked], devices)
        vectors: dict[str, list] = {name: [] for name in probes}
        samples = []
        for task_id, task in network.tasks.items():
            name = dataset_of(task_id)
            rows = np.flatnonzero(splits[name].labelled[task.name])
            said = on[name](arrays[0], constants, arrays[1], task_id, rows)
            moved = _moved(task, splits[name], said["prediction"])
            for part, value in zip(shut, moved, strict=True):
                influence[task_id].setdefault(part, []).append(float(value))
            samples.append(rows)
            for which, found in vectors.items():
                found.append(said[which][0])
        for which, found in vectors.items():
            share = told_apart(np.concatenate(found), np.concatenate(samples))
            probes[which] += [] if share is None else [share]
    return Diagnosis(influence, probes)


def without(network: NetworkConfig, whole: Architecture) -> dict[tuple[str, str], Architecture]:
    """By level and part, the architecture in which that part alone is shut. On the host.

    Left out are parts that are shut already, and those without which nothing would be left.
    """
    built, names, whole = network.built, network.modalities, jax.device_get(whole)
    found = {}

    def shut(level: str, part: str, field: str, *index) -> None:
        mask = np.array(getattr(whole, field))
        if mask[index].any():
            mask[index] = 0.0
            found[level, part] = whole.replace(**{field: mask})

    every = slice(None)
    reads = whole.modalities * _built(built.modalities.values(), names)
    for m in network.built_modalities:
        if (reads.sum(axis=1) > reads[:, names.index(m)]).all():
            shut("modality", m, "modalities", every, names.index(m))
    for m, blocks in built.local.items():
        row = names.index(m)
        shut("local", f"{m}: all", "depth", row)
        open_ = whole.local[row, : len(blocks)] * _built(blocks, LOCAL_EXPERTS)
        for place, expert in enumerate(LOCAL_EXPERTS):
            if open_[:, place].any() and (open_.sum(axis=1) > open_[:, place]).all():
                shut("local", f"{m}: {expert}", "local", row, every, place)
    for source, target in built.links:
        shut("link", f"{source} > {target}", "links", names.index(target), names.index(source))
    used = whole.fusion * _built([built.fusion], FUSION_OPERATORS)
    for operator in built.fusion:
        place = FUSION_OPERATORS.index(operator)
        if (used.sum(axis=1) > used[:, place]).all():
            shut("global", operator, "fusion", every, place)
    if built.specific:  # which still speak where nothing is fused
        shut("global", "all", "fusion", every)
    for m in built.specific:
        shut("specific", m, "specific", every, names.index(m))
    return found


def _built(rows: Iterable[Sequence[str]], names: Sequence[str]) -> np.ndarray:
    """{0, 1}[rows, names], what is built of each row."""
    return np.array([[float(name in row) for name in names] for row in rows])


def _moved(task: TaskSpec, split: Split, outputs: np.ndarray) -> np.ndarray:
    """Mean change of predictions float[1 + P, n, C] against the first of them, float[P]."""
    said = np.stack([probabilities(task, one) for one in outputs])
    away = np.abs(said[1:] - said[0])
    if task.kind == "regression":
        labels = split.labels[task.name][split.labelled[task.name]]
        return away.mean(axis=1) / max(float(np.std(labels)), 1e-9)
    each = 0.5 * away.sum(axis=-1) if task.kind == "classification" else away.mean(axis=-1)
    return each.mean(axis=1)


def told_apart(vectors: np.ndarray, samples: np.ndarray) -> float | None:
    """How often a linear classifier tells which modality a vector is of.

    Ridge regression on one indicator a modality, fitted on samples of even number and read on the
    rest.

    Args:
      vectors: float[n, M, D], zeros where a modality is absent, which then is left out.
      samples: int[n], the number of the sample that each is of; several tasks may read one.

    Returns:
      The mean over modalities of the share that is told; 1 / M is chance. None where there are not
      two modalities to tell apart.
    """
    present = np.abs(vectors).sum(axis=-1) > 0
    if min(present[samples % 2 == side].any(axis=0).sum() for side in (0, 1)) < 2:
        return None
    scale = vectors[present].std(axis=0) + 1e-9
    sides = []
    for side in (0, 1):
        there = present & (samples % 2 == side)[:, None]
        x = vectors[there] / scale
        sides.append((np.c_[x, np.ones(len(x))], np.nonzero(there)[1]))
    (x, which), (x_rest, which_rest) = sides
    gram = x.T @ x + RIDGE * np.eye(x.shape[1])
    weights = np.linalg.solve(gram, x.T @ np.eye(vectors.shape[1])[which])
    right = (x_rest @ weights).argmax(axis=1) == which_rest
    return float(np.mean([right[which_rest == m].mean() for m in np.unique(which_rest)]))


def figure(diagnosis: Diagnosis, path: str | os.PathLike) -> None:
    """Writes one PNG: a panel a task, the influence of every part, by level; mean over seeds."""
    tasks = diagnosis.influence
    longest = max(len(parts) for parts in tasks.values())
    drawing = Figure(
        figsize=(6.0 * len(tasks), 1.6 + 0.24 * longest), dpi=DPI, layout="constrained"
    )
    grid = drawing.subplots(1, len(tasks), squeeze=False)[0]
    for axes, (task_id, parts) in zip(grid, tasks.items(), strict=True):
        mean = [np.mean(values) for values in parts.values()]
        spread = [np.std(values, ddof=1) if len(values) > 1 else 0.0 for values in parts.values()]
        hues = [HUES[LEVELS.index(level)] for level, _ in parts]
        axes.barh(range(len(parts)), mean, xerr=spread, color=hues, height=0.7)
        axes.set_yticks(range(len(parts)), [part for _, part in parts], fontsize=FONT - 1)
        axes.invert_yaxis()
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title(task_id, fontsize=FONT + 1)
        axes.set_xlabel("how far predictions move without it")
    there = [level for level in LEVELS if any(level == of for p in tasks.values() for of, _ in p)]
    bars = [grid[0].barh([0], [0], color=HUES[LEVELS.index(level)]) for level in there]
    drawing.legend(bars, there, loc="outside lower center", ncols=len(there), fontsize=FONT)
    drawing.savefig(path)
