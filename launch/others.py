"""`--others`: predictions from anywhere as rows beside ours."""

import importlib
import os
import sys

from absl import flags

from haemsa_jax.errors import InputError
from haemsa_jax.reporting.baselines import Fit

# The flags defined here belong to the launcher, whose --help then lists them.
flags.disclaim_key_flags()


def define_flag() -> None:
    """Which functions make them."""
    flags.DEFINE_list(
        "others",
        [],
        "NAME=MODULE:FUNCTION, a comma list of rows of your own: FUNCTION(dataset, task) returns "
        "predict(split), which returns float[N] in label units or [N, C] probabilities.",
    )


def from_flag() -> dict[str, Fit]:
    """By name of its row what makes predictions of a data set and task.

    Raises:
      InputError: an entry is of another form, a name is there twice, or there is no such function.
    """
    others: dict[str, Fit] = {}
    for entry in flags.FLAGS.others:
        name, _, place = entry.partition("=")
        module, _, function = place.partition(":")
        if not (name and module and function):
            raise InputError(f"--others={entry}: expected NAME=MODULE:FUNCTION")
        if name in others:
            raise InputError(f"--others={entry}: {name} is a row already; choose another name")
        if os.getcwd() not in sys.path:  # as the installed commands leave it away
            sys.path.append(os.getcwd())
        try:
            fit = getattr(importlib.import_module(module), function)
        except (ImportError, AttributeError) as error:
            raise InputError(
                f"--others={entry}: {error}; name an importable module and a function in it"
            ) from error
        if not callable(fit):
            raise InputError(f"--others={entry}: {place} is no function")
        others[name] = fit
    return others
