"""How many samples are predicted at once, so that no program asks for more memory than there is.

What attention needs grows with the square of the tokens, and models differ in where they attend:
the trace of a program says how large its arrays are before anything is compiled or run.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from haemsa_jax.data.batches import DeviceSplit
from haemsa_jax.errors import InputError
from haemsa_jax.memory import gibibytes

LARGEST = 2 << 30  # bytes of the largest array; a program holds up to three of them at a time
SMALL = 64  # tokens of a window up to which any number of samples fits


class Capacity:
    """capacity(lengths) -> how many samples of so many tokens by modality are predicted at once.

    A power of two, or 0 where not even one is. As long as no modality has more tokens than in
    training, at least one is; and there what fits does not depend on the lengths, so that few
    programs are traced.

    Args:
      forward: (split, rows) -> the program.
      widths: of features by modality.
      window: utterances (before, after) the target that are read with it.
      usual: tokens by modality to which those of training are padded.
      most: samples at once.
    """

    def __init__(
        self,
        forward: Callable[[DeviceSplit, Any], Any],
        *,
        widths: Mapping[str, int],
        window: tuple[int, int],
        usual: Mapping[str, int],
        most: int,
    ):
        self._forward, self._widths, self._window = forward, widths, window
        self._usual, self._most = dict(usual), most
        self._known: dict[tuple[int, ...], int] = {}

    def __call__(self, lengths: Mapping[str, int]) -> int:
        lengths = self._at_least_usual(lengths)
        small = sum(self._window, 1) * sum(lengths.values()) <= SMALL
        fitting = self._most if small else LARGEST // self.bytes_of(lengths)
        fitting = max(fitting, int(lengths == self._usual))
        return min(self._most, 1 << fitting.bit_length() - 1 if fitting else 0)

    def _at_least_usual(self, lengths: Mapping[str, int]) -> dict[str, int]:
        return {m: max(lengths[m], usual) for m, usual in self._usual.items()}

    def batches(self, lengths: Sequence[Mapping[str, int]]) -> Iterator[list[int]]:
        """Places of samples that are predicted at once: long ones by fewer, with their likes.

        Args:
          lengths: of each sample, all of which fit alone.
        """
        alike: dict[tuple[int, ...], list[int]] = {}
        for place, own in enumerate(lengths):
            alike.setdefault((self(own), *self._at_least_usual(own).values()), []).append(place)
        for (size, *_), places in alike.items():
            for start in range(0, len(places), size):
                yield places[start : start + size]

    def checked(self, lengths: Mapping[str, int], tokens: Mapping[str, int], what: str) -> int:
        """capacity(lengths), where it is not 0.

        Args:
          lengths: to which the tokens are padded.
          tokens: that are there, by modality.
          what: for the message.

        Raises:
          InputError: it is 0; says how many tokens fit.
        """
        if size := self(lengths):
            return size
        longest = max(tokens, key=lambda m: tokens[m])
        fitting = dict(lengths)
        while not self(fitting):  # no more than is usual does
            fitting[max(fitting, key=lambda m: fitting[m])] //= 2
        raise InputError(
            f"{longest}: {what} has {tokens[longest]:,} tokens, of which the network would make an "
            f"array of {gibibytes(self.bytes_of(lengths))}; at most {gibibytes(LARGEST)} are "
            f"used, which is enough for about {fitting[longest]:,} tokens: cut it shorter, or give "
            "means of neighbouring tokens"
        )

    def bytes_of(self, lengths: Mapping[str, int]) -> int:
        """Of the largest array that the program of one sample makes."""
        lengths = self._at_least_usual(lengths)
        key = tuple(lengths.values())
        if key not in self._known:
            past, future = self._window
            span = past + 1 + future

            def array(kind, *shape):
                return jax.ShapeDtypeStruct((span, *shape), kind)

            features = {m: array(np.float32, lengths[m], d) for m, d in self._widths.items()}
            masks = {m: array(np.bool_, lengths[m]) for m in self._widths}
            split = DeviceSplit(features, masks, array(np.int32), {}, {}, {})
            rows = jax.ShapeDtypeStruct((1,), np.int32)
            traced = jax.make_jaxpr(self._forward)(split, rows)
            self._known[key] = max(_sizes(traced.jaxpr))
        return self._known[key]


def _sizes(jaxpr: Any) -> Iterator[int]:
    """Bytes of all arrays that a trace makes."""
    for equation in jaxpr.eqns:
        for made in equation.outvars:
            if hasattr(made.aval, "dtype"):
                yield made.aval.size * made.aval.dtype.itemsize
        for inner in jax.tree.leaves(tuple(equation.params.values()), is_leaf=_is_trace):
            if _is_trace(inner):
                yield from _sizes(getattr(inner, "jaxpr", inner))


def _is_trace(value: Any) -> bool:
    return hasattr(value, "eqns") or hasattr(value, "jaxpr")
