"""The figure of a search: how it went, which genes won, the best architecture, whence it came."""

import os

import jax
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from haemsa_jax.config import NetworkConfig
from haemsa_jax.evolution.genome import from_values
from haemsa_jax.evolution.state import History, Problem, SearchResult
from haemsa_jax.reporting import architecture
from haemsa_jax.reporting.drawing import ABSENT, DPI, FAINT, FONT, HUES, TOTAL
from haemsa_jax.structure.table import Table


def evolution_figure(
    result: SearchResult,
    beside: SearchResult | None,
    problem: Problem,
    network: NetworkConfig,
    path: str | os.PathLike,
) -> None:
    """Writes one PNG with five panels.

    Args:
      result: the search.
      beside: the random search with the same budget, if there was one.
      problem: what was searched.
      network: the supernet.
      path: of the PNG.
    """
    layout = ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.15)
    figure = Figure(figsize=(23, 12.5), dpi=DPI, layout=layout)
    panels = figure.subplot_mosaic(
        [["progress", "front", "genes"], ["network", "line", "genes"]], width_ratios=(1.15, 1, 0.8)
    )
    _progress(panels["progress"], result, beside)
    _front(panels["front"], result, beside)
    _frequencies(panels["genes"], result.history, problem.table)
    decoded = jax.jit(lambda genome: from_values(network, problem.table.decode(genome))[0])
    best = jax.device_get(decoded(result.genome))
    architecture.draw(panels["network"], network, best)
    _genealogy(panels["line"], result, problem.table)
    figure.savefig(path)


# --- fitness -------------------------------------------------------------------------------------


def _progress(axes: Axes, evolved: SearchResult, beside: SearchResult | None) -> None:
    runs = {"evolved": (evolved, HUES[0])}
    if beside is not None:
        runs["random search"] = (beside, HUES[1])
    for name, (result, hue) in runs.items():
        generations = 1 + np.arange(len(result.history.best))
        quartiles = np.quantile(result.history.fitness, (0.25, 0.5, 0.75), axis=1)
        axes.plot(generations, result.history.best, color=hue, linewidth=2.4, label=f"{name}: best")
        axes.plot(
            generations,
            quartiles[1],
            color=hue,
            linewidth=1,
            linestyle="--",
            label=f"{name}: median of the round",
        )
        axes.fill_between(generations, quartiles[0], quartiles[2], color=hue, alpha=0.12, lw=0)
    config = (
        "" if evolved.place[0] < len(evolved.history.best) - 1 else ", the last is the final one"
    )
    axes.set_title(f"fitness by round{config} ↓", fontsize=FONT + 2)
    axes.set_xlabel("round", fontsize=FONT)
    axes.set_ylabel("cost × price of size, 0 is perfect", fontsize=FONT)  # noqa: RUF001
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.tick_params(labelsize=FONT)
    axes.grid(color=ABSENT)
    axes.legend(fontsize=FONT)


# --- size ----------------------------------------------------------------------------------------


def _front(axes: Axes, evolved: SearchResult, beside: SearchResult | None) -> None:
    """Cost and size of all members that were judged after whole trainings, and the front."""
    runs = {"evolved": (evolved, HUES[0])}
    if beside is not None:
        runs["random search"] = (beside, HUES[1])
    highest: list[float] = []
    for name, (result, hue) in runs.items():
        rounds = slice(max(0, len(result.history.best) - 2), None)
        good = ~result.history.diverged[rounds].reshape(-1)
        cost = result.history.costs[rounds].mean(axis=-1).reshape(-1)[good]
        share = result.history.sizes[rounds].reshape(-1)[good]
        axes.scatter(share, cost, color=hue, s=26, alpha=0.55, linewidths=0, label=name)
        order = np.lexsort((cost, share))
        lowest = np.minimum.accumulate(cost[order])
        front = order[np.flatnonzero(np.diff(lowest, prepend=np.inf) < 0)]
        axes.plot(share[front], cost[front], color=hue, linewidth=1.6, drawstyle="steps-post")
        axes.scatter(
            result.history.sizes[result.place],
            result.history.costs[result.place].mean(),
            color=hue,
            marker="*",
            s=300,
            edgecolors="white",
            zorder=4,
            label=f"{name}: the winner",
        )
        axes.axhline(
            float(result.ensemble_costs.mean()),
            color=hue,
            linewidth=1.2,
            linestyle=":",
            label=f"{name}: the ensemble of {len(result.ensemble)}",
        )
        highest.append(np.quantile(cost, 0.9))
    # What hardly learnt anything would press the others together.
    axes.set_ylim(top=1.1 * max(highest))
    axes.set_title("cost and size, and what neither beats", fontsize=FONT + 2)
    axes.set_xlabel("share of the parameters in use", fontsize=FONT)
    axes.set_ylabel("cost = 1 - score, 0 is perfect", fontsize=FONT)
    axes.tick_params(labelsize=FONT)
    axes.grid(color=ABSENT)
    axes.legend(fontsize=FONT - 1)


# --- genes ---------------------------------------------------------------------------------------


def gene_frequencies(history: History, table: Table) -> tuple[list[tuple[str, str]], np.ndarray]:
    """How common every structure gene is among the members of a round.

    Returns:
      Pairs of gene and label (of a choice an empty one), and float[n, N]: the share of each round's
      members in which the label of a mask is on, or the mean place of a choice
      among its options.
    """
    decoded = jax.device_get(jax.jit(jax.vmap(jax.vmap(table.decode)))(history.genomes))
    names, rows = [], []
    for gene in table.genes:
        values = decoded[gene.name].mean(axis=1)
        if gene.kind == "mask":
            names += [(gene.name, label) for label in gene.labels]
            rows += [*values.T]
        elif gene.kind == "choice":
            names.append((gene.name, ""))
            rows.append(values / max(1, len(gene.labels) - 1))
    return names, np.stack(rows)


def _frequencies(axes: Axes, history: History, table: Table) -> None:
    names, shares = gene_frequencies(history, table)
    generations = shares.shape[1]
    axes.imshow(
        shares,
        vmin=0,
        vmax=1,
        cmap="Blues",
        aspect="auto",
        interpolation="nearest",
        extent=(0.5, generations + 0.5, len(names) - 0.5, -0.5),
    )
    size = FONT - 2 if len(names) <= 45 else FONT - 4
    spoken = short_names(table)
    labels = [" ".join((spoken[gene], label)).strip() for gene, label in names]
    axes.set_yticks(range(len(names)), labels, fontsize=size)
    right = axes.secondary_yaxis("right")
    right.set_yticks(range(len(names)), [f"{share:.2f}" for share in shares[:, -1]], fontsize=size)
    for side in (axes, right):
        side.tick_params(length=0)
    for place in range(1, len(names)):
        if names[place][0] != names[place - 1][0]:
            axes.axhline(place - 0.5, color="white", linewidth=2)
    axes.set_title("share of the members that have a gene", fontsize=FONT + 2)
    axes.set_xlabel("round (numbers: the last)", fontsize=FONT)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def short_names(table: Table) -> dict[str, str]:
    """Every gene's name for people; of a task id its name alone, where no other gene has that."""
    split = {gene.name: gene.name.partition("/") for gene in table.genes}
    short = {
        name: " ".join(filter(None, (kind, owner.rpartition(":")[2])))
        for name, (kind, _, owner) in split.items()
    }
    labels = list(short.values())
    return {
        name: short[name] if labels.count(short[name]) == 1 else f"{kind} {owner}"
        for name, (kind, _, owner) in split.items()
    }


# --- genealogy -----------------------------------------------------------------------------------


LISTED = 24  # changes that a panel has room for


def ancestry(history: History, member: int) -> list[int]:
    """Numbers of a member and of those it has its weights from, itself first.

    A finalist, which is trained anew, follows from who had its genome in the round before.
    """
    parents = history.parents.reshape(-1)
    size, genomes = history.fitness.shape[1], history.genomes
    line, (when, place) = [member], divmod(member, history.fitness.shape[1])
    if when and parents[member] < 0:
        same = (genomes[when - 1] == genomes[when, place]).all(axis=-1)
        if same.any():
            line.append((when - 1) * size + int(np.argmax(same)))
    while parents[line[-1]] >= 0:
        line.append(int(parents[line[-1]]))
    return line


def _genealogy(axes: Axes, result: SearchResult, table: Table) -> None:
    """Every member at its round and fitness, and the line that led to the winner."""
    history = result.history
    _, size = history.fitness.shape
    fitness, parents = history.fitness.reshape(-1), history.parents.reshape(-1)
    when = 1 + np.arange(len(fitness)) // size
    top = float(np.quantile(fitness, 0.98)) * 1.05
    born = np.flatnonzero(parents >= 0)
    for child in born:
        both = np.array([parents[child], child])
        axes.plot(when[both], fitness[both], color=FAINT, linewidth=0.4, zorder=1)
    axes.scatter(when, fitness, s=9, color=FAINT, zorder=2, linewidths=0)
    line = ancestry(history, result.place[0] * size + result.place[1])
    axes.plot(when[line], fitness[line], color=HUES[1], linewidth=2.2, marker="o", zorder=3)
    genomes = history.genomes.reshape(-1, table.size)
    spoken = [table.to_json(genomes[member]) for member in line]
    changes = [
        (when[child], _change(spoken[place + 1], spoken[place], table))
        for place, child in enumerate(line[:-1])
    ]
    # The line falls, so that its words have room above it.
    words = [f"{generation:>3}  {text}" for generation, text in reversed(changes) if text]
    if words:
        head = ["round: what went on (+) and off (−)"]  # noqa: RUF001
        head += [f"  … {len(words) - LISTED} before"] if len(words) > LISTED else []
        axes.text(
            0.985,
            0.98,
            "\n".join(head + words[-LISTED:]),
            transform=axes.transAxes,
            ha="right",
            va="top",
            multialignment="left",
            fontsize=FONT - 2,
            color=TOTAL,
            zorder=4,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85},
        )
    low = float(fitness.min())
    axes.set_ylim(max(0.0, low - 0.08 * (top - low)), top)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title(
        f"the lineage of the winner: {len(line)} of {len(fitness)} members, and its changes",
        fontsize=FONT + 2,
    )
    axes.set_xlabel("round", fontsize=FONT)
    axes.set_ylabel("fitness", fontsize=FONT)
    axes.tick_params(labelsize=FONT)


def _change(before: dict, after: dict, table: Table) -> str:
    """Structure genes that a child turned on or off, the first three of them."""
    words, names = [], short_names(table)
    for gene in table.genes:
        old, new, name = before[gene.name], after[gene.name], names[gene.name]
        # An expert, an operator and a modality tell by themselves what they are.
        kind, _, owner = name.partition(" ")
        owner = owner if kind in ("modalities", "local", "links", "fusion") else name
        if gene.kind == "mask":
            words += [f"+{label} {owner}" for label in new if label not in old]
            words += [f"−{label} {owner}" for label in old if label not in new]  # noqa: RUF001
        elif gene.kind == "choice" and old != new:
            words.append(f"{name} {new}")
    more = f" (+{len(words) - 3})" if len(words) > 3 else ""
    return ", ".join(word.strip() for word in words[:3]) + more
