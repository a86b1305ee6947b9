"""Panels of gate weights, one a level: blocks as a heat map, links as a matrix, a bank as bars."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from haemsa_jax.reporting.drawing import ABSENT, FONT, HUES, heat_map, numbers, title_of
from haemsa_jax.structure.parts import Declaration, Gating

TITLES = {
    "local": "local expert weights",
    "links": "cross-modal link weights",
    "fusion": "global expert weights",
    "specific": "weights of specific parts",
}


def levels(declaration: Declaration) -> dict[str, list[Gating]]:
    """A model's gates by level, in the order of their declaration."""
    by_level: dict[str, list[Gating]] = {}
    for gating in declaration.gates:
        by_level.setdefault(gating.level, []).append(gating)
    return by_level


def draw(
    axes: Axes, level: str, gatings: Sequence[Gating], weights: Mapping[str, np.ndarray]
) -> None:
    """One level on one pair of axes.

    Args:
      axes: to draw on.
      level: its name.
      gatings: its gates.
      weights: by gate float[parts].
    """
    title = TITLES.get(level, f"{level} weights")
    if len(gatings) > 1:
        _blocks(axes, gatings, weights)
    elif all(">" in label for label in gatings[0].labels):
        _pairs(axes, gatings[0], weights[gatings[0].name])
    else:
        _bars(axes, gatings[0], weights[gatings[0].name])
    title_of(axes, title, "source" if ">" in gatings[0].labels[0] else "")


def _blocks(axes: Axes, gatings: Sequence[Gating], weights) -> None:
    columns = list(dict.fromkeys(label for gating in gatings for label in gating.labels))
    table = np.full((len(gatings), len(columns)), np.nan)
    for row, gating in enumerate(gatings):
        for label, weight in zip(gating.labels, weights[gating.name], strict=True):
            table[row, columns.index(label)] = weight
    rows = [gating.name.partition("/")[2] for gating in gatings]
    heat_map(axes, table, numbers(table), rows, columns)


def _pairs(axes: Axes, gating: Gating, weights) -> None:
    pairs = [label.split(">") for label in gating.labels]
    # Targets are declared in the order of the modality axis.
    names = list(dict.fromkeys([target for _, target in pairs] + [source for source, _ in pairs]))
    table = np.full((len(names), len(names)), np.nan)
    for (source, target), weight in zip(pairs, weights, strict=True):
        table[names.index(target), names.index(source)] = weight
    heat_map(axes, table, numbers(table), names, names)
    axes.set_ylabel("target", fontsize=FONT)


def _bars(axes: Axes, gating: Gating, weights) -> None:
    places = np.arange(len(gating.labels))
    bars = axes.barh(places, weights, height=0.6, color=HUES[0])
    axes.bar_label(bars, fmt="%.2f", fontsize=FONT, padding=3)
    axes.set_yticks(places, gating.labels, fontsize=FONT)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.18)
    axes.set_xticks((0, 0.5, 1))
    axes.set_facecolor("white")
    axes.grid(axis="x", color=ABSENT)
    axes.spines[["top", "right"]].set_visible(False)
