"""Starting a program: plugins, devices of a processor, and errors as one line."""

import gc
import importlib
import os
import sys
import threading
import traceback
from collections.abc import Callable
from types import ModuleType
from typing import NoReturn

import jax
import jaxlib.version
from absl import app, flags, logging

from haemsa_jax.errors import PLUGINS, InputError
from haemsa_jax.training.engine.reports import NonFiniteLossError

from .processes import join_processes

# Models, parts and kinds of tasks from outside, registered before flags are defined.
for _plugin in filter(None, os.environ.get(PLUGINS, "").split(",")):
    try:
        importlib.import_module(_plugin.strip())
    except ImportError as _error:
        sys.exit(f"error: {PLUGINS}: cannot import {_plugin!r}: {_error}; name importable modules")

# Seconds that one part of a split processor waits for another: XLA warns after 20 and ends the
# process 40 later, which a long generation on a busy machine takes.
_PATIENCE = {
    "xla_cpu_collective_call_warn_stuck_timeout_seconds": 600,
    "xla_cpu_collective_call_terminate_timeout_seconds": 7200,
    "xla_cpu_collective_timeout_seconds": 7200,
}


def run(main: Callable[[], None]) -> None:
    """`app.run`, where an error of input or training is one line and exit status 2.

    With `--verbosity=1` or higher its traceback comes before that line.
    """
    _own_flags(sys.modules[main.__module__])

    def checked(argv: list[str]) -> None:
        if len(argv) > 1:
            raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
        verbose = flags.FLAGS.verbosity >= 1
        if not verbose:
            # Orbax and TFDS tell of every file they touch, and print what they then raise.
            logging.set_verbosity(logging.FATAL)
        # Tracing makes millions of small objects that stay: looking for garbage among them takes a
        # fifth of it.
        gc.set_threshold(100_000, 50, 1000)
        _expand_homes()
        try:
            join_processes()
            _split_processor()
            main()
        except (InputError, NonFiniteLossError, jax.errors.JaxRuntimeError, OSError) as error:
            if isinstance(error, jax.errors.JaxRuntimeError) and jax.process_count() == 1:
                raise
            if verbose:
                traceback.print_exc()
            _end(_line(error))

    app.run(checked)


def _split_processor() -> None:
    """Makes of a CPU as many devices as `--devices` asks for, before JAX looks for them."""
    count = flags.FLAGS.devices if "devices" in flags.FLAGS else 0
    given = os.environ.get("XLA_FLAGS", "")
    if count > 0 and "device_count" not in given:
        jax.config.update("jax_num_cpu_devices", count)
    # An XLA that does not know a flag ends the process: only those that were looked at get any.
    if count > 1 and jaxlib.version.__version_info__ < (0, 13):
        own = [f"--{name}={limit}" for name, limit in _PATIENCE.items() if name not in given]
        os.environ["XLA_FLAGS"] = " ".join([given, *own]).strip()


def _expand_homes() -> None:
    """`~` at the beginning of a flag's value, or of one of its list, is the home directory.

    Shells leave it as it is behind `--flag=`.
    """
    for name in flags.FLAGS:
        value = flags.FLAGS[name].value
        if isinstance(value, str) and value.startswith("~"):
            flags.FLAGS[name].value = os.path.expanduser(value)
        elif isinstance(value, list):
            flags.FLAGS[name].value = [
                os.path.expanduser(one) if isinstance(one, str) else one for one in value
            ]


def _own_flags(program: ModuleType) -> None:
    """`--help` shows a program's text and flags however it was started.

    absl looks for both in `__main__`, which is a script of the installation where the program is
    one of its commands.
    """
    main = sys.modules["__main__"]
    if program is not main:
        main.__doc__ = program.__doc__
        for flag in flags.FLAGS.get_key_flags_for_module(program.__name__):
            flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)


def _line(error: Exception) -> str:
    """What an error tells who reads no traceback."""
    if isinstance(error, OSError):
        where = f" {error.filename}" if error.filename else ""
        return f"cannot read or write{where}: {error.strerror or error}"
    if isinstance(error, jax.errors.JaxRuntimeError):
        first = str(error).strip().partition("\n")[0]
        return f"another process of this run is gone ({first}); start all of them again to resume"
    return str(error)


def _end(message: str) -> NoReturn:
    """Print one line and end the process at once.

    Threads of a storage layer that failed may still be at work; an orderly exit would wait for them
    and print what each of them has to say.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    # What they still print goes nowhere: the last word is ours, on a line of its own should one of
    # them have begun one.
    start = "\n" if threading.active_count() > 1 else ""
    ours = os.dup(2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    os.write(ours, f"{start}error: {message}\n".encode())
    os._exit(2)
