"""A network drawn: its modalities, experts, links, fusion and tasks, and how gates weigh them."""

import collections
import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path

from haemsa_jax.config import FUSION_OPERATORS, LOCAL_EXPERTS, NetworkConfig, Parts, dataset_of
from haemsa_jax.evolution.genome import parts_of
from haemsa_jax.models.architecture import LEVELS, Architecture
from haemsa_jax.reporting.figures import ABSENT, DPI, FAINT, FONT, HUES, INK

DARK = 0.6  # a weight from which ink on its shade is white


@dataclass(frozen=True)
class Weights:
    """Mean gate weights of M modalities, L blocks, E experts, T tasks and F operators.

    Attributes:
      local: float[M, L, E], of the local experts.
      links: float[M, M], of the link into target (row) from source (column).
      fusion: float[T, F], of the fusion operators for each task.
    """

    local: np.ndarray
    links: np.ndarray
    fusion: np.ndarray


def average(
    gates: Mapping[str, Mapping[str, np.ndarray]], architecture: Architecture,
    network: NetworkConfig,
) -> Weights:  # fmt: skip
    """Of every task's mean weights those of the whole network: means over the tasks that read.

    Args:
      gates: by task id and level.
      architecture: masks of the network.
      network: the configuration.
    """
    read = parts_of(network, architecture).modalities
    reads = np.array([[float(m in read[task_id]) for m in network.modalities] for task_id in gates])
    both = reads[:, :, None] * reads[:, None, :]
    local, links, fusion = (
        np.stack([one[level] for one in gates.values()]) for level in ("local", "links", "fusion")
    )
    return Weights(
        local=np.einsum("tm,tmle->mle", reads / np.maximum(1, reads.sum(axis=0)), local),
        links=np.einsum("tms,tms->ms", both / np.maximum(1, both.sum(axis=0)), links),
        fusion=fusion,
    )


def figure(
    architecture: Architecture, network: NetworkConfig, weights: Weights, path: str | os.PathLike
) -> None:
    """Writes one PNG: the network, every expert and operator shaded by how much its gate gives it.

    Args:
      architecture: masks of one network.
      network: the configuration.
      weights: mean gate weights.
      path: of the PNG.
    """
    drawing = Figure(figsize=(9 + 1.5 * network.depth, 6.2), dpi=DPI, layout="constrained")
    draw(drawing.subplots(), architecture, network, weights, "gate weights, mean over samples")
    drawing.savefig(path)


def draw(
    axes: Axes, architecture: Architecture, network: NetworkConfig, weights: Weights | None = None,
    title: str = "the best architecture",
) -> None:  # fmt: skip
    """From left to right: modalities, their blocks of experts, links, global experts, tasks.

    Args:
      axes: to draw on.
      architecture: masks of one network; what is shut is drawn faintly.
      network: the configuration.
      weights: of the gates, if they are to be shown.
      title: over it.
    """
    parts, names = parts_of(network, architecture), network.modalities
    depth = network.depth
    hues = dict(zip(names, HUES, strict=False))
    rows = {m: 1.0 - (place + 0.5) / len(names) for place, m in enumerate(names)}
    left = np.linspace(0.2, 0.2 + 0.17 * (depth - 1), depth)
    summary = left[-1] + 0.17
    fused, asked = summary + 0.27, summary + 0.50
    tasks = list(network.tasks)
    alike = collections.Counter(task.name for task in network.tasks.values())
    labels = {
        task_id: task.name if alike[task.name] == 1 else task_id.replace(":", "\n")
        for task_id, task in network.tasks.items()
    }
    heads = {t: 1.0 - (place + 0.5) / len(tasks) for place, t in enumerate(tasks)}
    operators = {x: 1.0 - (k + 0.5) / len(FUSION_OPERATORS) for k, x in enumerate(FUSION_OPERATORS)}

    for row, (modality, y) in enumerate(rows.items()):
        used = modality in parts.local
        _box(axes, 0.045, y, modality, hues[modality] if used else None, width=0.1)
        x = 0.1
        for layer in range(depth):
            on = used and layer < len(parts.local[modality])
            shades = None if weights is None else weights.local[row, layer]
            _experts(axes, left[layer], y, parts.local[modality][layer] if on else (), shades)
            _arrow(axes, (x, y), (left[layer] - 0.065, y), hues[modality] if on else FAINT, on)
            x = left[layer] + 0.065
        _arrow(axes, (x, y), (summary - 0.035, y), hues[modality] if used else FAINT, used)
        _box(axes, summary, y, "Σ", hues[modality] if used else None, width=0.06)
    for source, target in parts.links:
        weight = (
            None if weights is None else weights.links[names.index(target), names.index(source)]
        )
        _link(axes, summary, rows[source], rows[target], hues[source], weight)
    axes.add_patch(
        FancyBboxPatch(
            (fused - 0.09, 0.02), 0.18, 0.96, boxstyle="round,pad=0.004", facecolor="none",
            edgecolor=FAINT, linewidth=1, zorder=1,
        )
    )  # fmt: skip
    for modality, tasks_reading in _readers(parts, names).items():
        middle = np.mean(list(operators.values()))
        start, end = (summary + 0.035, rows[modality]), (fused - 0.095, middle)
        if tasks_reading:
            _arrow(axes, start, end, hues[modality], True)
    for column, (name, y) in enumerate(operators.items()):
        users = [
            number for number, mask in enumerate(architecture.fusion)
            if mask[column] and name in network.built.fusion
        ]  # fmt: skip
        shade = None if weights is None or not users else weights.fusion[users, column].mean()
        _box(axes, fused, y, name, INK if users else None, width=0.14, shade=shade)
        for number in users:
            thick = None if weights is None else weights.fusion[number, column]
            start, end = (fused + 0.095, y), (asked - 0.085, heads[tasks[number]])
            _arrow(axes, start, end, FAINT, True, thick)
    for task_id, y in heads.items():
        read, heard = parts.modalities[task_id], architecture.specific[tasks.index(task_id)]
        said = [f"reads {' + '.join(read)}"]
        if any(network.context_of(dataset_of(task_id))):
            before, after = np.asarray(architecture.context)[tasks.index(task_id)]
            said += [f"of {before:.0f} + 1 + {after:.0f} utterances"]
        past = [m for m in parts.specific if m in read and heard[names.index(m)]]
        if past:
            said += ["past the fusion:", " + ".join(past)]
        _box(axes, asked, y, labels[task_id], INK, width=0.16)
        text = "\n".join(said)
        axes.text(asked, y - 0.06, text, ha="center", va="top", fontsize=FONT - 1)
    sharp = ", ".join(
        f"{level} {value:.2g}" for level, value in zip(LEVELS, architecture.sharpness, strict=True)
    )
    if parts.imputed:
        guessed = f"guessed where absent: {', '.join(parts.imputed)}"
        axes.text(-0.01, -0.015, guessed, va="bottom", fontsize=FONT - 1)
    axes.set_title(f"{title} (gate sharpness: {sharp})", fontsize=FONT + 2)
    axes.set(xlim=(-0.02, asked + 0.1), ylim=(-0.02, 1.02))
    axes.axis("off")


def _readers(parts: Parts, names: tuple[str, ...]) -> Mapping[str, list[str]]:
    return {m: [t for t, read in parts.modalities.items() if m in read] for m in names}


def _box(axes: Axes, x, y, text, hue, width, height=0.075, size=FONT, shade=None) -> None:
    """A rounded box; without a hue, what is not used; with a shade, a gate weight in [0, 1]."""
    face, ink = "white", INK if hue else FAINT
    if shade is not None:
        face, text = colormaps["Blues"](float(shade)), f"{text} {shade:.2f}"
        ink = "white" if shade > DARK else ink
    axes.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - height / 2), width, height, boxstyle="round,pad=0.004",
            facecolor=face, edgecolor=hue or ABSENT, linewidth=1.8, zorder=3,
            linestyle="-" if hue else "--",
        )
    )  # fmt: skip
    axes.text(x, y, text, ha="center", va="center", fontsize=size, color=ink, zorder=4)


def _experts(axes: Axes, x: float, y: float, used: tuple[str, ...], weights) -> None:
    """The experts of one block, one above the other, those in use in ink."""
    height = 0.058
    for place, name in enumerate(LOCAL_EXPERTS):
        middle, on = y + (1.5 - place) * height, name in used
        shade = weights[place] if on and weights is not None else None
        _box(
            axes, x, middle, name, INK if on else None, width=0.125, height=height * 0.7,
            size=FONT - 1, shade=shade,
        )  # fmt: skip


def _arrow(axes: Axes, start, end, hue, on: bool, weight: float | None = None) -> None:
    """With a weight in [0, 1], as thick as it says."""
    width = (1.6 if on else 0.8) if weight is None else 0.4 + 4 * weight
    axes.add_patch(
        FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=9, color=hue,
                        linewidth=width, linestyle="-" if on else ":", zorder=2)
    )  # fmt: skip


def _link(axes: Axes, x: float, source: float, target: float, hue: str, weight) -> None:
    """A bent arrow beside the summaries; the two directions bend to either side."""
    down = 1 if source > target else -1
    side = x + 0.034 * down
    ends = (side, source - 0.02 * down), (side, target + 0.02 * down)
    control = (side + 0.18 * abs(source - target) * down, (source + target) / 2)
    curve = Path([ends[0], control, ends[1]], [Path.MOVETO, Path.CURVE3, Path.CURVE3])
    width = 2 if weight is None else 0.4 + 3 * weight
    axes.add_patch(
        FancyArrowPatch(path=curve, arrowstyle="-|>", mutation_scale=13, color=hue,
                        linewidth=width, zorder=5)
    )  # fmt: skip
    if weight is not None:  # on the curve, off its middle, where another modality may stand
        t = 0.3
        place = np.array([(1 - t) ** 2, 2 * t * (1 - t), t**2]) @ curve.vertices
        axes.text(
            *place, f"{weight:.2f}", ha="center", va="center", color=hue, fontsize=FONT - 2,
            zorder=6, bbox={"fc": "white", "ec": "none", "pad": 0.5},
        )  # fmt: skip
