"""Panels of gate weights, one a level: blocks as a heat map, links as a matrix, a bank as bars."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from haemsa_jax.reporting.drawing import ABSENT, FONT, HUES, heat_map, title_of
from haemsa_jax.structure.parts import Declaration, Gating

TITLES = {
    "local": "local expert weights",
    "links": "cross-modal link weights",
    "fusion": "global expert weights",
    "specific": "weights of specific parts",
}


EVEN = "* even, as before training"


def texts(gating: Gating, weights: np.ndarray) -> list[str]:
    """Weights as they are shown, those that say nothing learnt with an asterisk.

    Before training a bank weighs all its parts alike, and a link of two modalities one half.

    Args:
      gating: the gate.
      weights: float[parts].
    """
    used = weights > 0
    if all(">" in label for label in gating.labels):
        even = abs(weights - 0.5) < 0.005
    else:
        even = np.full(len(weights), used.sum() > 1 and np.ptp(weights[used]) < 0.005)
    return [f"{w:.2f}{'*' * bool(e and u)}" for w, e, u in zip(weights, even, used, strict=True)]


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
    told = [text for gating in gatings for text in texts(gating, weights[gating.name])]
    title += f"\n{EVEN}" * any(text.endswith("*") for text in told)
    title_of(axes, title, "source" if ">" in gatings[0].labels[0] else "")


def _blocks(axes: Axes, gatings: Sequence[Gating], weights) -> None:
    columns = list(dict.fromkeys(label for gating in gatings for label in gating.labels))
    table = np.full((len(gatings), len(columns)), np.nan)
    shown = np.full(table.shape, "", object)
    for row, gating in enumerate(gatings):
        places = [columns.index(label) for label in gating.labels]
        table[row, places] = weights[gating.name]
        shown[row, places] = texts(gating, weights[gating.name])
    rows = [gating.name.partition("/")[2] for gating in gatings]
    heat_map(axes, table, shown, rows, columns)


def _pairs(axes: Axes, gating: Gating, weights) -> None:
    pairs = [label.split(">") for label in gating.labels]
    # Targets are declared in the order of the modality axis.
    names = list(dict.fromkeys([target for _, target in pairs] + [source for source, _ in pairs]))
    table = np.full((len(names), len(names)), np.nan)
    shown = np.full(table.shape, "", object)
    for (source, target), weight, text in zip(pairs, weights, texts(gating, weights), strict=True):
        place = names.index(target), names.index(source)
        table[place], shown[place] = weight, text
    heat_map(axes, table, shown, names, names)
    axes.set_ylabel("target", fontsize=FONT)


def _bars(axes: Axes, gating: Gating, weights) -> None:
    places = np.arange(len(gating.labels))
    bars = axes.barh(places, weights, height=0.6, color=HUES[0])
    axes.bar_label(bars, texts(gating, weights), fontsize=FONT, padding=3)
    axes.set_yticks(places, gating.labels, fontsize=FONT)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.18)
    axes.set_xticks((0, 0.5, 1))
    axes.set_facecolor("white")
    axes.grid(axis="x", color=ABSENT)
    axes.spines[["top", "right"]].set_visible(False)
