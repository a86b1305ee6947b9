"""What figures share: hues, sizes of letters, heat maps.

Hues are Okabe and Ito's, which colour-blind readers tell apart; weights and shares run along one
sequential map from 0 to 1, so that panels compare.
"""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

HUES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D00", "#7A5195")
TOTAL, ABSENT = "#222222", "#E8E8E8"
INK, FAINT = "#333333", "#BBBBBB"
DPI = 120
FONT = 10


def heat_map(axes: Axes, shares, texts, rows, columns, fontsize=FONT, signed=0.0) -> None:
    """Shares in [0, 1], or from -signed to signed, with their texts; NaN is drawn as not there."""
    axes.set_facecolor(ABSENT)
    low, high, colours = (-signed, signed, "RdBu") if signed else (0, 1, "Blues")
    axes.imshow(shares, vmin=low, vmax=high, cmap=colours, aspect="auto")
    for (row, column), share in np.ndenumerate(shares):
        ink = "white" if abs(share) > 0.6 * high else "black"
        axes.text(
            column, row, texts[row][column], ha="center", va="center", color=ink, fontsize=fontsize
        )
    slant: dict[str, Any] = {}
    if len(columns) > 3:
        slant = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(range(len(columns)), columns, fontsize=FONT, **slant)
    axes.set_yticks(range(len(rows)), rows, fontsize=FONT)
    axes.tick_params(length=0)


def numbers(weights: np.ndarray) -> list[list[str]]:
    """Texts of a heat map; empty where a weight is NaN."""
    return [["" if np.isnan(value) else f"{value:.2f}" for value in row] for row in weights]


def title_of(axes: Axes, title: str, x: str = "") -> None:
    """A panel's title, the name of its horizontal axis, and the size of its letters."""
    axes.set_title(title, fontsize=FONT + 1)
    axes.set_xlabel(x, fontsize=FONT)
    axes.tick_params(labelsize=FONT)
