"""Runs launchers that are expected to refuse, in processes that share their imports.

Reads a JSON list of [program, flags] and writes one of [exit status, standard error]. A refusal
takes milliseconds, its imports seconds.
"""

import json
import os
import runpy
import sys
import tempfile
import traceback

import launch.tasks  # noqa: F401
from haemsa_jax.evolution import outcome, problem, run, search  # noqa: F401
from haemsa_jax.reporting import baselines, evolution, figures  # noqa: F401
from haemsa_jax.training import evaluation  # noqa: F401


def start(program, flags, error):
    sys.argv = [program, *flags]
    os.dup2(error, 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    try:
        runpy.run_module(f"launch.{program}", run_name="__main__")
    except SystemExit as end:
        status = end.code
    except BaseException:
        traceback.print_exc()
        status = 99
    else:
        status = 0
    sys.stderr.flush()
    os._exit(status if isinstance(status, int) else 1)


def main():
    results = []
    for program, flags in json.load(sys.stdin):
        with tempfile.TemporaryFile("w+") as error:
            if (child := os.fork()) == 0:
                start(program, flags, error.fileno())
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            error.seek(0)
            results.append((status, error.read()))
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
