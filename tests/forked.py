"""Runs launchers in forks of one process that has imported what all of them import: a third of a
short launcher's time is importing.

    python forked.py < orders > statuses

An order is a line of JSON: program, flags, surroundings that differ, and the files that its output
goes to. JAX has not looked for devices here, so there are no threads of its to lose in a fork.
"""

import importlib
import json
import os
import runpy
import sys
import warnings

SHARED = (
    "jax", "flax", "optax", "orbax.checkpoint", "matplotlib.pyplot", "tokenizers", "safetensors",
    "tensorflow_datasets", "haemsa_datasets", "haemsa_jax", "haemsa_jax.encoders.text",
    "haemsa_jax.reporting.figures", "haemsa_jax.evolution.problem",
)  # fmt: skip


def serve() -> dict:
    """Forks for every order; in a fork, returns the order."""
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if not child:
            return order
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    sys.exit()


def run(program: str, flags: list[str], surroundings: dict[str, str], out: str, err: str) -> None:
    """As `python -m launch.PROGRAM FLAGS` would, to the end of the process."""
    for number, path in enumerate((os.devnull, out, err)):
        file = os.open(path, os.O_RDWR)
        os.dup2(file, number)
        os.close(file)
    os.environ.update(surroundings)
    sys.argv[1:] = flags
    runpy.run_module(f"launch.{program}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what importing says, every launcher would say
        for name in SHARED:
            importlib.import_module(name)
    run(**serve())
