"""Runs of several processes."""

import jax
from absl import flags

from haemsa_jax.errors import InputError

# The flags defined here belong to the launcher, whose --help then lists them.
flags.disclaim_key_flags()


def define_process_flags() -> None:
    """Of which processes a run is, where there are several."""
    flags.DEFINE_string(
        "coordinator",
        None,
        "HOST:PORT where process 0 listens, for a run of several processes; `auto` asks the "
        "cluster (SLURM, Open MPI, Kubernetes, Cloud TPU).",
    )
    flags.DEFINE_integer(
        "processes", None, "How many processes the run has, unless the coordinator is auto."
    )
    flags.DEFINE_integer("process", None, "Number of this process, from 0.")


def join_processes() -> None:
    """Makes this process one of the run's, before JAX looks for devices.

    Raises:
      InputError: the flags do not fit together, or the processes do not find each other.
    """
    if "coordinator" not in flags.FLAGS:
        return
    where, count, number = (flags.FLAGS[n].value for n in ("coordinator", "processes", "process"))
    named = count is not None and number is not None and 0 <= number < count
    if where is None and count is number is None:
        return
    if where == "auto" and count is number is None:
        _initialize()
    elif where is not None and ":" in where and named:
        _initialize(where, count, number)
    else:
        raise InputError(
            f"--coordinator={where} --processes={count} --process={number}: expected HOST:PORT, "
            "how many processes there are, and the number of this one, from 0; or auto alone"
        )


def _initialize(*where) -> None:
    try:
        jax.distributed.initialize(*where)
    except (RuntimeError, ValueError) as error:
        first = str(error).strip().partition("\n")[0]
        raise InputError(f"the processes of this run did not find each other: {first}") from error
