"""Ctrl-C and SIGTERM as a question that long work asks between two blocks."""

import os
import signal
import sys
from typing import NoReturn

import jax
from absl import flags

from haemsa_jax.training.engine import parallel


class Interrupt:
    """`interrupt()` says whether a signal came.

    A second signal ends the process at once. Of several processes all ask together, and a signal to
    one is a signal to all.
    """

    SIGNALS = signal.SIGINT, signal.SIGTERM

    def __init__(self):
        self.signal: int | None = None
        self.devices = jax.devices()

    def __enter__(self):
        self.before = {number: signal.signal(number, self._note) for number in self.SIGNALS}
        return self

    def __exit__(self, *_):
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def __call__(self) -> bool:
        if parallel.anybody(self.signal is not None, self.devices) and self.signal is None:
            self.signal = signal.SIGTERM
        return self.signal is not None

    def _note(self, number: int, frame) -> None:
        if self.signal is not None:
            os._exit(128 + number)
        self.signal = number
        print("\nstopping after this block; once more ends at once", file=sys.stderr, flush=True)

    def end(self, where: str) -> NoReturn:
        """End with the status of a process that the signal ended."""
        if jax.process_index() == 0:
            same = "the same command" + (" without --overwrite" if flags.FLAGS.overwrite else "")
            print(f"stopped {where}; {same} goes on from there", flush=True)
        sys.exit(128 + self.signal)
