"""A network drawn from its declaration: modalities, banks of experts, links, operators and tasks.

What a gate weighs says where it stands: parts of one modality are a block in that modality's row,
parts of two are links between rows, parts of none are a bank that all rows lead to, and parts of
one modality each are a path past it.
"""

import collections
import os
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from haemsa_jax.config import NetworkConfig, dataset_of
from haemsa_jax.reporting import gates as gate_panels
from haemsa_jax.reporting.boxes import Weight, arrow, box, link
from haemsa_jax.reporting.drawing import DPI, FAINT, FONT, HUES, INK
from haemsa_jax.structure.describe import used_parts
from haemsa_jax.structure.interface import SIDES, modality, windows
from haemsa_jax.structure.parts import Declaration, Gating, Structure, declare
from haemsa_jax.structure.usage import modalities_of

Gates = Mapping[str, np.ndarray]


def placement(declaration: Declaration, gating: Gating) -> str:
    """Where a gate is drawn: `block`, `links`, `past` or `bank`."""
    read = [modalities_of(declaration, part) for part in gating.parts]
    if all(len(names) == 2 for names in read):
        return "links"
    if all(len(names) == 1 for names in read):
        return "block" if len(set.union(*read)) == 1 else "past"
    return "bank"


def average(gates: Mapping[str, Gates], network: NetworkConfig, structure: Structure) -> Gates:
    """Mean gate weights of the network: over the tasks that use what is weighed.

    Args:
      gates: by task id and gate float[parts].
      network, structure: whose they are.
    """
    used, mean = used_parts(network, structure), {}
    for gating in declare(network).gates:
        uses = np.array([[used[t][part] for part in gating.parts] for t in gates], float)
        weights = np.stack([gates[t][gating.name] for t in gates])
        mean[gating.name] = (uses * weights).sum(axis=0) / np.maximum(1, uses.sum(axis=0))
    return mean


def figure(
    network: NetworkConfig,
    structure: Structure,
    gates: Mapping[str, Gates],
    path: str | os.PathLike,
) -> None:
    """Writes one PNG: the network, every expert and operator shaded by its mean gate weight.

    Args:
      network, structure: one network.
      gates: by task id and gate float[parts], mean over samples.
      path: of the PNG.
    """
    columns = max([1, *collections.Counter(_rows(declare(network))).values()])
    drawing = Figure(figsize=(9 + 1.5 * columns, 6.2), dpi=DPI, layout="constrained")
    title = "gate weights, mean over samples" if declare(network).gates else "the network"
    draw(drawing.subplots(), network, structure, gates, title=title)
    drawing.savefig(path)


def _rows(declaration: Declaration) -> list[str]:
    """Of every block the modality in whose row it stands."""
    return [
        next(iter(modalities_of(declaration, gating.parts[0])))
        for gating in declaration.gates
        if placement(declaration, gating) == "block"
    ]


def draw(
    axes: Axes,
    network: NetworkConfig,
    structure: Structure,
    gates: Mapping[str, Gates] | None = None,
    *,
    title: str = "the best architecture",
) -> None:
    """From left to right: modalities, their blocks of experts, links, global experts, tasks.

    Args:
      axes: to draw on.
      network, structure: one network; what is shut is drawn faintly.
      gates: by task id and gate float[parts], if they are to be shown.
      title: over it.
    """
    _Drawing(axes, network, structure, gates).all(title)


class _Drawing:
    """One network on one pair of axes."""

    def __init__(self, axes: Axes, network: NetworkConfig, structure: Structure, gates):
        self.axes, self.network, self.structure = axes, network, structure
        self.declaration, self.used = declare(network), used_parts(network, structure)
        self.gates = gates
        self.mean = average(gates, network, structure) if gates else None
        names, tasks = network.modalities, list(network.tasks)
        self.hues = dict(zip(names, HUES, strict=False))
        self.rows = {m: 1.0 - (place + 0.5) / len(names) for place, m in enumerate(names)}
        self.heads = {t: 1.0 - (place + 0.5) / len(tasks) for place, t in enumerate(tasks)}
        counts = collections.Counter(_rows(self.declaration))
        self.columns = max([1, *counts.values()])
        self.left = np.linspace(0.2, 0.2 + 0.17 * (self.columns - 1), self.columns)
        self.summary = self.left[-1] + 0.17
        self.bank, self.tasks = self.summary + 0.27, self.summary + 0.50

    def all(self, title: str) -> None:
        """Everything, from left to right."""
        placed: dict[str, list[Gating]] = {"block": [], "links": [], "past": [], "bank": []}
        for gating in self.declaration.gates:
            placed[placement(self.declaration, gating)].append(gating)
        for m in self.network.modalities:
            self._row(m, [g for g in placed["block"] if self._of(g) == m])
        for gating in placed["links"]:
            self._links(gating)
        self._bank(placed["bank"])
        for task_id in self.heads:
            self._task(task_id, placed["past"])
        scales = [g for g in self.declaration.genes if g.kind == "scale"]
        numbers = ", ".join(f"{g.name} {float(self.structure[g.name]):.2g}" for g in scales)
        imputed = [
            p.name.partition("/")[2]
            for p in self.declaration.of_kind("imputed")
            if self.used[""][p.name]
        ]
        if imputed:
            text = f"imputed where absent: {', '.join(imputed)}"
            self.axes.text(-0.01, -0.015, text, va="bottom", fontsize=FONT - 1)
        even = any(text.get_text().endswith("*") for text in self.axes.texts)
        title = (f"{title} ({numbers})" if numbers else title) + f"\n{gate_panels.EVEN}" * even
        self.axes.set_title(title, fontsize=FONT + 2)
        self.axes.set(xlim=(-0.02, self.tasks + 0.1), ylim=(-0.02, 1.02))
        self.axes.axis("off")

    def _of(self, gating: Gating) -> str:
        return next(iter(modalities_of(self.declaration, gating.parts[0])))

    def _row(self, m: str, blocks: Sequence[Gating]) -> None:
        """A modality, its blocks and its summary."""
        y, used = self.rows[m], self.used[""][modality(m)]
        hue = self.hues.get(m, INK)
        box(self.axes, 0.045, y, m, hue if used else None, width=0.1)
        x = 0.1
        for column in range(self.columns):
            on = column < len(blocks) and any(self.used[""][p] for p in blocks[column].parts)
            if column < len(blocks):
                self._experts(self.left[column], y, blocks[column])
                start, end = (x, y), (self.left[column] - 0.065, y)
                arrow(self.axes, start, end, hue if on else FAINT, on)
                x = self.left[column] + 0.065
        arrow(self.axes, (x, y), (self.summary - 0.035, y), hue if used else FAINT, used)
        box(self.axes, self.summary, y, "Σ", hue if used else None, width=0.06)
        if used:
            start, end = (self.summary + 0.035, y), (self.bank - 0.095, 0.5)
            arrow(self.axes, start, end, hue, True)

    def _experts(self, x: float, y: float, gating: Gating) -> None:
        """The experts of one block, one above the other, those in use in ink."""
        height = 0.058
        for place, (part, label) in enumerate(zip(gating.parts, gating.labels, strict=True)):
            middle = y + ((len(gating.parts) - 1) / 2 - place) * height
            box(
                self.axes,
                x,
                middle,
                label,
                INK if self.used[""][part] else None,
                width=0.125,
                height=height * 0.7,
                size=FONT - 1,
                weight=self._weight(gating, place),
            )

    def _weight(self, gating: Gating, place: int) -> Weight | None:
        if self.mean is None or not self.used[""][gating.parts[place]]:
            return None
        weights = self.mean[gating.name]
        return Weight(float(weights[place]), gate_panels.texts(gating, weights)[place])

    def _links(self, gating: Gating) -> None:
        for place, (part, label) in enumerate(zip(gating.parts, gating.labels, strict=True)):
            if self.used[""][part]:
                source, _, target = label.partition(">")
                hue, weight = self.hues.get(source, INK), self._weight(gating, place)
                link(self.axes, self.summary, self.rows[source], self.rows[target], hue, weight)

    def _bank(self, gatings: Sequence[Gating]) -> None:
        """Parts that read all modalities, in one frame, and who uses them."""
        frame = FancyBboxPatch(
            (self.bank - 0.09, 0.02),
            0.18,
            0.96,
            boxstyle="round,pad=0.004",
            facecolor="none",
            edgecolor=FAINT,
            linewidth=1,
            zorder=1,
        )
        self.axes.add_patch(frame)
        count = sum(len(gating.parts) for gating in gatings)
        row = 0
        for gating in gatings:
            for place, (part, label) in enumerate(zip(gating.parts, gating.labels, strict=True)):
                y, row = 1.0 - (row + 0.5) / count, row + 1
                users = [t for t in self.heads if self.used[t][part]]
                weight = self._weight(gating, place)
                hue = INK if users else None
                box(self.axes, self.bank, y, label, hue, width=0.14, weight=weight)
                for t in users:
                    thick = None if self.gates is None else float(self.gates[t][gating.name][place])
                    start, end = (self.bank + 0.095, y), (self.tasks - 0.085, self.heads[t])
                    arrow(self.axes, start, end, FAINT, True, thick)
        if not count:
            name = self.network.model.replace("_", " ")
            self.axes.text(self.bank, 0.5, name, ha="center", fontsize=FONT)
            for t in self.heads:
                end = (self.tasks - 0.085, self.heads[t])
                arrow(self.axes, (self.bank + 0.095, 0.5), end, FAINT, True)

    def _task(self, task_id: str, past: Sequence[Gating]) -> None:
        """A task, and in words what it reads."""
        alike = collections.Counter(spec.name for spec in self.network.tasks.values())
        name = self.network.tasks[task_id].name
        label = name if alike[name] == 1 else task_id.replace(":", "\n")
        used, y = self.used[task_id], self.heads[task_id]
        read = [m for m in self.network.modalities if used[modality(m)]]
        lines = [f"reads {' + '.join(read)}"]
        if any(self.network.context_of(dataset_of(task_id))):
            counts = windows(self.network, task_id)
            before, after = (
                counts[side][int(self.structure[f"{side}/{task_id}"])] for side in SIDES
            )
            lines.append(f"of {before} + 1 + {after} utterances")
        for gating in past:
            names = [x for x, p in zip(gating.labels, gating.parts, strict=True) if used[p]]
            if names:
                lines += [f"{gating.name}:", " + ".join(names)]
        box(self.axes, self.tasks, y, label, INK, width=0.16)
        text = "\n".join(lines)
        self.axes.text(self.tasks, y - 0.06, text, ha="center", va="top", fontsize=FONT - 1)
