"""The figure of a search: how it went, which genes won, the best architecture, whence it came."""

import os
from collections.abc import Mapping

import jax
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.ticker import MaxNLocator

from haemsa_jax.config import FUSION_OPERATORS, LOCAL_EXPERTS, NetworkConfig, Parts
from haemsa_jax.evolution.genes import Table
from haemsa_jax.evolution.genome import from_values, parts_of
from haemsa_jax.evolution.state import History, Problem, SearchResult
from haemsa_jax.models.architecture import LEVELS, Architecture
from haemsa_jax.reporting.figures import ABSENT, DPI, FONT, HUES, TOTAL

INK, FAINT = "#333333", "#BBBBBB"


def evolution_figure(
    found: SearchResult, beside: SearchResult | None, problem: Problem, network: NetworkConfig,
    path: str | os.PathLike,
) -> None:  # fmt: skip
    """Writes one PNG with four panels.

    Args:
      found: the search.
      beside: the random search with the same budget, if there was one.
      problem: what was searched.
      network: the supernet.
      path: of the PNG.
    """
    figure = Figure(figsize=(17, 12.5), dpi=DPI, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.15, h_pad=0.15)
    grid = figure.subplots(2, 2, gridspec_kw={"width_ratios": (1.15, 1), "height_ratios": (1, 1)})
    _progress(grid[0, 0], found, beside)
    _frequencies(grid[0, 1], found.history, problem.table)
    said = problem.table.decode(found.genome)
    architecture = jax.device_get(from_values(network, said)[0])
    _architecture(grid[1, 0], architecture, network)
    _genealogy(grid[1, 1], found.history, problem.table)
    figure.savefig(path)


# --- fitness -------------------------------------------------------------------------------------


def _progress(axes: Axes, found: SearchResult, beside: SearchResult | None) -> None:
    runs = {"evolved": (found, HUES[0])}
    if beside is not None:
        runs["random search"] = (beside, HUES[1])
    for name, (result, hue) in runs.items():
        generations = 1 + np.arange(len(result.history.best))
        quartiles = np.quantile(result.history.fitness, (0.25, 0.5, 0.75), axis=1)
        axes.plot(generations, result.history.best, color=hue, linewidth=2.4, label=f"{name}: best")
        axes.plot(generations, quartiles[1], color=hue, linewidth=1, linestyle="--",
                  label=f"{name}: median of the generation")  # fmt: skip
        axes.fill_between(generations, quartiles[0], quartiles[2], color=hue, alpha=0.12, lw=0)
    axes.set_title("fitness on validation by generation ↓", fontsize=FONT + 2)
    axes.set_xlabel("generation", fontsize=FONT)
    axes.set_ylabel("cost × price, 0 is perfect", fontsize=FONT)  # noqa: RUF001
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.tick_params(labelsize=FONT)
    axes.grid(color=ABSENT)
    axes.legend(fontsize=FONT)


# --- genes ---------------------------------------------------------------------------------------


def gene_frequencies(history: History, table: Table) -> tuple[list[str], np.ndarray]:
    """How common every structure gene is among the living.

    Returns:
      Names, and float[n, N]: the share of each generation's living members in which the label of a
      mask is on, or the mean place of a choice among its options.
    """
    everybody = history.genomes.reshape(-1, table.size)
    living = everybody[history.living]  # [N, P, G]
    said = jax.device_get(jax.jit(jax.vmap(jax.vmap(table.decode)))(living))
    names, rows = [], []
    for gene in table.genes:
        values = said[gene.name].mean(axis=1)
        if gene.kind == "mask":
            names += [f"{gene.name} {label}" for label in gene.labels]
            rows += [*values.T]
        elif gene.kind == "choice":
            names.append(gene.name)
            rows.append(values / max(1, len(gene.labels) - 1))
    return names, np.stack(rows)


def _frequencies(axes: Axes, history: History, table: Table) -> None:
    names, shares = gene_frequencies(history, table)
    generations = shares.shape[1]
    axes.imshow(
        shares, vmin=0, vmax=1, cmap="Blues", aspect="auto", interpolation="nearest",
        extent=(0.5, generations + 0.5, len(names) - 0.5, -0.5),
    )  # fmt: skip
    size = FONT - 2 if len(names) <= 45 else FONT - 4
    axes.set_yticks(range(len(names)), [_short(name) for name in names], fontsize=size)
    right = axes.secondary_yaxis("right")
    right.set_yticks(range(len(names)), [f"{share:.2f}" for share in shares[:, -1]], fontsize=size)
    for side in (axes, right):
        side.tick_params(length=0)
    groups = [name.partition(" ")[0] for name in names]
    for place in range(1, len(names)):
        if groups[place] != groups[place - 1]:
            axes.axhline(place - 0.5, color="white", linewidth=2)
    axes.set_title("share of the living that has a gene", fontsize=FONT + 2)
    axes.set_xlabel("generation (numbers: after the last)", fontsize=FONT)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _short(name: str) -> str:
    """Without the data set of a task id."""
    group, _, label = name.partition(" ")
    kind, _, owner = group.partition("/")
    return " ".join(filter(None, [kind, owner.rpartition(":")[2], label]))


# --- architecture --------------------------------------------------------------------------------


def _architecture(axes: Axes, architecture: Architecture, network: NetworkConfig) -> None:
    """From left to right: modalities, their blocks of experts, links, global experts, tasks."""
    parts, names = parts_of(network, architecture), network.modalities
    depth = network.depth
    hues = dict(zip(names, HUES, strict=False))
    rows = {m: 1.0 - (place + 0.5) / len(names) for place, m in enumerate(names)}
    left = np.linspace(0.2, 0.2 + 0.17 * (depth - 1), depth)
    summary = left[-1] + 0.17
    fused, asked = summary + 0.27, summary + 0.50
    tasks = list(network.tasks)
    heads = {t: 1.0 - (place + 0.5) / len(tasks) for place, t in enumerate(tasks)}
    operators = {x: 1.0 - (k + 0.5) / len(FUSION_OPERATORS) for k, x in enumerate(FUSION_OPERATORS)}

    for modality, y in rows.items():
        used = modality in parts.local
        _box(axes, 0.045, y, modality, hues[modality] if used else None, width=0.1)
        x = 0.1
        for layer in range(depth):
            on = used and layer < len(parts.local[modality])
            _experts(axes, left[layer], y, parts.local[modality][layer] if on else ())
            _arrow(axes, (x, y), (left[layer] - 0.065, y), hues[modality] if on else FAINT, on)
            x = left[layer] + 0.065
        _arrow(axes, (x, y), (summary - 0.035, y), hues[modality] if used else FAINT, used)
        _box(axes, summary, y, "Σ", hues[modality] if used else None, width=0.06)
    for source, target in parts.links:
        _link(axes, summary, rows[source], rows[target], hues[source])
    readers = _readers(parts, names)
    axes.add_patch(
        FancyBboxPatch(
            (fused - 0.09, 0.02), 0.18, 0.96, boxstyle="round,pad=0.004", facecolor="none",
            edgecolor=FAINT, linewidth=1, zorder=1,
        )
    )  # fmt: skip
    for modality, tasks_reading in readers.items():
        middle = np.mean(list(operators.values()))
        start, end = (summary + 0.035, rows[modality]), (fused - 0.095, middle)
        if tasks_reading:
            _arrow(axes, start, end, hues[modality], True)
    for name, y in operators.items():
        users = [t for t, mask in zip(tasks, architecture.fusion, strict=True)
                 if mask[FUSION_OPERATORS.index(name)]]  # fmt: skip
        _box(axes, fused, y, name, INK if users else None, width=0.14)
        for task_id in users:
            _arrow(axes, (fused + 0.095, y), (asked - 0.085, heads[task_id]), FAINT, True)
    for task_id, y in heads.items():
        read, heard = parts.modalities[task_id], architecture.specific[tasks.index(task_id)]
        said = [f"reads {' + '.join(read)}"]
        past = [m for m in parts.specific if m in read and heard[names.index(m)]]
        if past:
            said += ["past the fusion:", " + ".join(past)]
        _box(axes, asked, y, task_id.rpartition(":")[2], INK, width=0.16)
        text = "\n".join(said)
        axes.text(asked, y - 0.06, text, ha="center", va="top", fontsize=FONT - 1)
    sharp = ", ".join(
        f"{level} {value:.2g}" for level, value in zip(LEVELS, architecture.sharpness, strict=True)
    )
    if parts.imputed:
        guessed = f"guessed where absent: {', '.join(parts.imputed)}"
        axes.text(-0.01, -0.015, guessed, va="bottom", fontsize=FONT - 1)
    axes.set_title(f"the best architecture (gate sharpness: {sharp})", fontsize=FONT + 2)
    axes.set(xlim=(-0.02, asked + 0.1), ylim=(-0.02, 1.02))
    axes.axis("off")


def _readers(parts: Parts, names: tuple[str, ...]) -> Mapping[str, list[str]]:
    return {m: [t for t, read in parts.modalities.items() if m in read] for m in names}


def _box(axes: Axes, x, y, text, hue, width, height=0.075, size=FONT) -> None:
    """A rounded box; without a hue, what is not used."""
    axes.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - height / 2), width, height, boxstyle="round,pad=0.004",
            facecolor="white", edgecolor=hue or ABSENT, linewidth=1.8, zorder=3,
            linestyle="-" if hue else "--",
        )
    )  # fmt: skip
    axes.text(x, y, text, ha="center", va="center", fontsize=size, color=INK if hue else FAINT,
              zorder=4)  # fmt: skip


def _experts(axes: Axes, x: float, y: float, used: tuple[str, ...]) -> None:
    """The experts of one block, one above the other, those in use in ink."""
    height = 0.058
    for place, name in enumerate(LOCAL_EXPERTS):
        middle = y + (1.5 - place) * height
        hue = INK if name in used else None
        _box(axes, x, middle, name, hue, width=0.125, height=height * 0.7, size=FONT - 1)


def _arrow(axes: Axes, start, end, hue, on: bool) -> None:
    axes.add_patch(
        FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=9, color=hue,
                        linewidth=1.6 if on else 0.8, linestyle="-" if on else ":", zorder=2)
    )  # fmt: skip


def _link(axes: Axes, x: float, source: float, target: float, hue: str) -> None:
    """A bent arrow beside the summaries; the two directions bend to either side."""
    side = 0.034 if source > target else -0.034
    axes.add_patch(
        FancyArrowPatch(
            (x + side, source - 0.02 * np.sign(source - target)),
            (x + side, target + 0.02 * np.sign(source - target)),
            connectionstyle="arc3,rad=-0.35", arrowstyle="-|>", mutation_scale=13, color=hue,
            linewidth=2, zorder=5,
        )
    )  # fmt: skip


# --- genealogy -----------------------------------------------------------------------------------


def ancestry(history: History) -> list[int]:
    """Numbers of the best member and of those it has its weights from, the best first."""
    parents = history.parents.reshape(-1)
    line = [history.winner()]
    while parents[line[-1]] >= 0:
        line.append(int(parents[line[-1]]))
    return line


def _genealogy(axes: Axes, history: History, table: Table) -> None:
    """Every member at its generation and fitness, and the line that led to the best."""
    generations, size = history.fitness.shape
    fitness, parents = history.fitness.reshape(-1), history.parents.reshape(-1)
    when = 1 + np.arange(len(fitness)) // size
    top = float(np.quantile(fitness, 0.98)) * 1.05
    born = np.flatnonzero(parents >= 0)
    for child in born:
        parent = parents[child]
        axes.plot(
            when[[parent, child]], fitness[[parent, child]], color=FAINT, linewidth=0.4, zorder=1
        )
    axes.scatter(when, fitness, s=9, color=FAINT, zorder=2, linewidths=0)
    line = ancestry(history)
    axes.plot(when[line], fitness[line], color=HUES[1], linewidth=2.2, marker="o", zorder=3)
    genomes = history.genomes.reshape(-1, table.size)
    spoken = [table.to_json(genomes[member]) for member in line]
    for place in range(len(line) - 1):
        text = _change(spoken[place + 1], spoken[place], table)
        if text and len(line) <= 24:
            axes.annotate(
                text, (when[line[place]], fitness[line[place]]), textcoords="offset points",
                xytext=(4, 7), fontsize=FONT - 4, color=TOTAL, rotation=32, zorder=4,
            )  # fmt: skip
    axes.set_ylim(max(0.0, fitness.min() - 0.08 * (top - fitness.min())), top)
    axes.set_xlim(0.5, generations + 1.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title(f"the line of the best: {len(line)} of {len(fitness)} members, with its changes",
                   fontsize=FONT + 2)  # fmt: skip
    axes.set_xlabel("generation", fontsize=FONT)
    axes.set_ylabel("fitness", fontsize=FONT)
    axes.tick_params(labelsize=FONT)


def _change(before: dict, after: dict, table: Table) -> str:
    """Structure genes that a child turned on or off, the first three of them."""
    words = []
    for gene in table.genes:
        old, new = before[gene.name], after[gene.name]
        owner = "".join(gene.name.split("/")[1:2]).rpartition(":")[2]
        if gene.kind == "mask":
            words += [f"+{label} {owner}" for label in new if label not in old]
            words += [f"−{label} {owner}" for label in old if label not in new]  # noqa: RUF001
        elif gene.kind == "choice" and old != new:
            words.append(f"{gene.name} {new}")
    more = f" (+{len(words) - 3})" if len(words) > 3 else ""
    return ", ".join(word.strip() for word in words[:3]) + more
