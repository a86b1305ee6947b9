"""Axes of parameters: which rows and columns belong to which part."""

from collections.abc import Iterable
from typing import NamedTuple


class Segment(NamedTuple):
    """A stretch of an axis.

    Attributes:
      parts: names of the parts without any of which it is not needed; () for what always is.
      size: its length.
    """

    parts: tuple[str, ...]
    size: int


Axis = tuple[Segment, ...]


def plain(size: int) -> Axis:
    """A stretch that is always needed."""
    return (Segment((), size),)


def each(parts: Iterable[str], size: int = 1) -> Axis:
    """One stretch of a length for each part."""
    return tuple(Segment((part,), size) for part in parts)


def outer(left: Iterable[str], right: Iterable[str], size: int = 1) -> Axis:
    """One stretch for every pair, the left part slowest."""
    right = tuple(right)
    return tuple(Segment((a, b), size) for a in left for b in right)


def length(axis: Axis) -> int:
    """Total length of the stretches."""
    return sum(segment.size for segment in axis)
