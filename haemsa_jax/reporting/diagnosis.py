"""Which part of a network says how much, and whether shared parts are shared.

A part's influence is how far predictions move when it alone is shut, which masks do without
another network: one program serves all parts, one after the other.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from haemsa_jax.config import NetworkConfig, dataset_of
from haemsa_jax.data.dataset import Split
from haemsa_jax.models import constants_at
from haemsa_jax.reporting.drawing import DPI, FONT, HUES
from haemsa_jax.structure.describe import used_parts
from haemsa_jax.structure.parts import TASK, Structure, declare, shut
from haemsa_jax.tasks import kind_of
from haemsa_jax.training.engine import parallel
from haemsa_jax.training.engine.streaming import host_splits, on_split
from haemsa_jax.training.measurement.prediction import EVALUATION_BATCH, make_predict
from haemsa_jax.training.measurement.scoring import probabilities
from haemsa_jax.training.persistence.trained import Trained

RIDGE = 1.0


@dataclass(frozen=True)
class Diagnosis:
    """Of S networks on a split.

    Attributes:
      influence: per task id and (kind, part) one value a seed: the mean change of the prediction
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
    probed = tuple(x for x in ("shared", "specific") if x in network.representations)
    predict = make_predict(network, EVALUATION_BATCH, devices, probed)
    of_dataset = {
        name: on_split(predict, network, split, name, devices)
        for name, split in host_splits(network, splits).items()
    }
    influence: dict[str, dict] = {task_id: {} for task_id in network.tasks}
    probes: dict[str, list[float]] = {name: [] for name in probed}
    count = trained.size * (1 if trained.ranked else trained.count)
    for place in range(count):
        params, whole = jax.tree.map(lambda x, k=place: x[k], (trained.params, trained.structures))
        variants = without(network, whole)
        constants = constants_at(trained.constants, np.array([place]))
        placed = parallel.replicate([params, whole, constants], devices)
        vectors: dict[str, list] = {name: [] for name in probes}
        samples = []
        for task_id, task in network.tasks.items():
            name = dataset_of(task_id)
            rows = np.flatnonzero(splits[name].labelled[task.name])
            samples.append(rows)
            labels = splits[name].labels[task.name][rows]

            def outputs(structures, name=name, task_id=task_id, rows=rows, placed=placed):
                one = jax.tree.map(lambda x: jnp.asarray(x)[None], (placed[0], structures))
                return of_dataset[name](one[0], placed[2], one[1], task_id, rows)

            reference = outputs(placed[1])
            # One part after the other: the parameters exist once, however many parts there are.
            for part, structure in variants.items():
                both = [reference["prediction"][0], outputs(structure)["prediction"][0]]
                predictions = np.stack([probabilities(task, logits) for logits in both])
                (moved,) = kind_of(task.kind).moved(task, predictions, labels)
                influence[task_id].setdefault(part, []).append(float(moved))
            for which, chosen in vectors.items():
                chosen.append(reference["representations"][which][0])
        for which, chosen in vectors.items():
            share = told_apart(np.concatenate(chosen), np.concatenate(samples))
            probes[which] += [] if share is None else [share]
    return Diagnosis(influence, probes)


def without(network: NetworkConfig, whole: Structure) -> dict[tuple[str, str], Structure]:
    """By kind and name the structure in which that part alone is shut. On the host.

    Left out are parts that are not used, and those without which a gene would say nothing that must
    say something. Parts of one gate and kind that share all but their label, such as the experts of
    one block, stand for themselves.
    """
    declaration, whole = declare(network), jax.device_get(dict(whole))
    used = used_parts(network, whole)[""]
    variants: dict[tuple[str, str], Structure] = {}
    for part in declaration.parts:
        masks = [
            (gene, label)
            for template, label in part.opened
            for task_id in network.tasks
            if (gene := declaration.gene.get(template.replace(TASK, task_id))) is not None
            and gene.kind == "mask"
            and label in gene.labels
        ]
        if not masks or not used[part.name]:
            continue
        left = shut(network, whole, [part.name])
        if any(gene.some and not left[gene.name].any() for gene, _ in masks):
            continue
        variants[part.kind, part.name.partition("/")[2] or part.name] = left
    # What a bank as a whole is worth, where something is left that reads around it.
    past = any(declaration.part[part].kind == "specific" for part in used if used[part])
    for gating in declaration.gates:
        parts = [part for part in gating.parts if used[part]]
        kind = declaration.part[gating.parts[0]].kind
        if parts and (kind != "operator" or past) and kind in ("expert", "operator"):
            name = gating.name.partition("/")[2]
            variants[kind, f"{name}: all".removeprefix(": ")] = shut(network, whole, parts)
    return variants


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
        valid = present & (samples % 2 == side)[:, None]
        x = vectors[valid] / scale
        sides.append((np.c_[x, np.ones(len(x))], np.nonzero(valid)[1]))
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
    kinds = dict.fromkeys(kind for parts in tasks.values() for kind, _ in parts)
    colours = {kind: HUES[place % len(HUES)] for place, kind in enumerate(kinds)}
    for axes, (task_id, parts) in zip(grid, tasks.items(), strict=True):
        mean = [np.mean(values) for values in parts.values()]
        spread = [np.std(values, ddof=1) if len(values) > 1 else 0.0 for values in parts.values()]
        hues = [colours[kind] for kind, _ in parts]
        axes.barh(range(len(parts)), mean, xerr=spread, color=hues, height=0.7)
        axes.set_yticks(range(len(parts)), [part for _, part in parts], fontsize=FONT - 1)
        axes.invert_yaxis()
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title(task_id, fontsize=FONT + 1)
        axes.set_xlabel("how far predictions move without it")
    bars = [grid[0].barh([0], [0], color=hue) for hue in colours.values()]
    drawing.legend(
        bars, list(colours), loc="outside lower center", ncols=len(colours), fontsize=FONT
    )
    drawing.savefig(path)
