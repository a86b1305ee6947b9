"""What a drawn network is made of: boxes, arrows and bent links."""

from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path

from haemsa_jax.reporting.drawing import ABSENT, FAINT, FONT, INK

DARK = 0.6  # a weight from which ink on its shade is white


class Weight(NamedTuple):
    """Of a gate, in [0, 1], and as it is shown."""

    value: float
    text: str


def box(axes: Axes, x, y, text, hue, width, height=0.075, size=FONT, weight=None) -> None:
    """A rounded box; without a hue, what is not used; with a `Weight`, shaded by it."""
    face: str | tuple[float, ...] = "white"
    ink = INK if hue else FAINT
    if weight is not None:
        face, text = colormaps["Blues"](weight.value), f"{text} {weight.text}"
        ink = "white" if weight.value > DARK else ink
    axes.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - height / 2),
            width,
            height,
            boxstyle="round,pad=0.004",
            facecolor=face,
            edgecolor=hue or ABSENT,
            linewidth=1.8,
            zorder=3,
            linestyle="-" if hue else "--",
        )
    )
    axes.text(x, y, text, ha="center", va="center", fontsize=size, color=ink, zorder=4)


def arrow(axes: Axes, start, end, hue, on: bool, weight: float | None = None) -> None:
    """With a weight in [0, 1], as thick as it says."""
    width = (1.6 if on else 0.8) if weight is None else 0.4 + 4 * weight
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=9,
            color=hue,
            linewidth=width,
            linestyle="-" if on else ":",
            zorder=2,
        )
    )


def link(axes: Axes, x: float, source: float, target: float, hue: str, weight) -> None:
    """A bent arrow beside the summaries; the two directions bend to either side."""
    down = 1 if source > target else -1
    side = x + 0.034 * down
    ends = (side, source - 0.02 * down), (side, target + 0.02 * down)
    control = (side + 0.18 * abs(source - target) * down, (source + target) / 2)
    curve = Path([ends[0], control, ends[1]], [Path.MOVETO, Path.CURVE3, Path.CURVE3])
    width = 2 if weight is None else 0.4 + 3 * weight.value
    axes.add_patch(
        FancyArrowPatch(
            path=curve, arrowstyle="-|>", mutation_scale=13, color=hue, linewidth=width, zorder=5
        )
    )
    if weight is not None:  # on the curve, off its middle, where another modality may stand
        t = 0.3
        across, up = np.array([(1 - t) ** 2, 2 * t * (1 - t), t**2]) @ curve.vertices
        axes.text(
            across,
            up,
            weight.text,
            ha="center",
            va="center",
            color=hue,
            fontsize=FONT - 2,
            zorder=6,
            bbox={"fc": "white", "ec": "none", "pad": 0.5},
        )
