"""Keeps TFDS from talking over the launchers: its messages name scratch directories."""

import contextlib
import io
import sys
from collections.abc import Iterator

import tensorflow_datasets as tfds
from absl import logging


@contextlib.contextmanager
def quiet_tfds() -> Iterator[None]:
    """Shows TFDS's errors only, and its progress bars only on a terminal."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)
