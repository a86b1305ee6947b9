"""Start and end of a program: plugins, devices of a processor, errors and signals as one line."""

import contextlib
import gc
import importlib
import io
import os
import re
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import jax
import jaxlib.version
from absl import app, flags, logging

from haemsa_jax.errors import PLUGINS, InputError
from haemsa_jax.training.engine.reports import NonFiniteLossError
from haemsa_jax.writing import naming

from . import SIGNALS, compilation, stopped_by
from .processes import join_processes
from .usage import define_help

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
# What a program holds until it ends, such as its run directory.
held = contextlib.ExitStack()


class Stopped(KeyboardInterrupt):
    """A signal ends the program; its number is the argument."""


def run(main: Callable[[], None]) -> None:
    """`app.run`, where an error of input or training is one line and exit status 2.

    With `--verbosity=1` or higher its traceback comes before that line. Ctrl-C and SIGTERM are one
    line and the shell's status of a process that the signal ended.
    """
    _own_flags(sys.modules[main.__module__])
    define_help()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # No result is lost because a terminal cannot show its arrow.
            stream.reconfigure(errors="backslashreplace")
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    sys.unraisablehook = _without_closed_loops
    for number in SIGNALS:
        signal.signal(number, _stop)

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
        try:
            _expand_homes()
            check_texts()
            join_processes()
            _split_processor()
            compilation.keep_programs(flags.FLAGS[compilation.FLAG].value)
            with held:
                main()
            with naming(Path("/dev/stdout")):
                print(end="", flush=True)
        except BrokenPipeError as error:
            if error.filename is not None:
                raise
            _end("what read the output has ended", 128 + signal.SIGPIPE)  # as `| head` does
        except (
            InputError, NonFiniteLossError, jax.errors.JaxRuntimeError, MemoryError, OSError,
        ) as error:  # fmt: skip
            if _is_fault(error):
                raise
            if verbose:
                traceback.print_exc()
            _end(_line(error))

    try:
        app.run(checked, flags_parser=_parsed)
    except KeyboardInterrupt as error:
        number = error.args[0] if isinstance(error, Stopped) else signal.SIGINT
        _end(*stopped_by(number))


def _parsed(argv: list[str]) -> list[str]:
    """`flags.FLAGS(argv)`, whose errors are one line as well."""
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        program = Path(argv[0]).stem
        _end(f"{' '.join(str(error).split())}; {program} --help lists its flags")


def _without_closed_loops(unraisable) -> None:
    """`sys.unraisablehook`, but for threads of a storage layer whose write has failed already.

    Each tells of a loop that nobody waits on any more, beside the line that says what failed.
    """
    if "Event loop is closed" not in str(unraisable.exc_value):
        sys.__unraisablehook__(unraisable)


def _stop(number: int, frame) -> NoReturn:
    """What was begun is cleared away; a second signal does not wait for that."""
    for each in SIGNALS:
        signal.signal(each, lambda again, frame: os._exit(128 + again))
    raise Stopped(number)


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


_PATHS = "run_dir", "out_dir", "data_dir", "raw_dir", "input", "output", compilation.FLAG


def check_texts() -> None:
    """Refuses what is no text, no home directory, and directories that are no place.

    Raises:
      InputError: a flag has such a value.
    """
    with naming(Path()):
        here = os.getcwd()
    if not _is_utf8(here):
        raise InputError(f"the name of {os.getcwdb()!r} is not UTF-8; start in another directory")
    for name in flags.FLAGS:
        value = flags.FLAGS[name].value
        for text in value if isinstance(value, list) else [value]:
            if not isinstance(text, str):
                continue
            if "\0" in text or not _is_utf8(text):
                raise InputError(
                    f"--{name}={os.fsencode(text)!r} is not UTF-8; rename what it names, or set "
                    "PYTHONUTF8=1 where that is all that is wrong"
                )
            if text.startswith("~"):
                home = text.partition("/")[0]
                raise InputError(
                    f"--{name}={text}: there is no home directory {home}; give the whole path"
                )
            if name in _PATHS and (not text or re.match(r"\w+://", text)):
                wrong = "is a URL, and only files of this machine are read" if text else "is empty"
                raise InputError(f"--{name}={text} {wrong}; name a directory or file")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _own_flags(program: ModuleType) -> None:
    """`--help` shows a program's text and flags however it was started.

    absl looks for both in `__main__`, which is a script of the installation where the program is
    one of its commands.
    """
    main = sys.modules["__main__"]
    flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[compilation.FLAG])
    if program is not main:
        main.__doc__ = program.__doc__
        for flag in flags.FLAGS.get_key_flags_for_module(program.__name__):
            flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)


def _is_fault(error: Exception) -> bool:
    """Whether an error is the program's own, so that its traceback is wanted."""
    if not isinstance(error, jax.errors.JaxRuntimeError) or _lacks_memory(error):
        return False
    # Of several processes, whatever else breaks a program is the loss of another one.
    return jax.process_count() == 1 or "INVALID_ARGUMENT" in str(error)


def _lacks_memory(error: Exception) -> bool:
    if isinstance(error, jax.errors.JaxRuntimeError):
        return "RESOURCE_EXHAUSTED" in str(error)
    return isinstance(error, MemoryError)


def _line(error: Exception) -> str:
    """What an error tells who reads no traceback."""
    if _lacks_memory(error):
        first = str(error).strip().partition("\n")[0]
        return f"memory is full ({first}); ask for less, such as smaller sizes or fewer seeds"
    if isinstance(error, OSError):
        where = f" {error.filename}" if error.filename else ""
        return f"cannot read or write{where}: {error.strerror or error}"
    if isinstance(error, jax.errors.JaxRuntimeError):
        first = str(error).strip().partition("\n")[0]
        return f"another process of this run is gone ({first}); start all of them again to resume"
    return str(error)


def _end(message: str, status: int = 2) -> NoReturn:
    """Print one line and end the process at once.

    Threads of a storage layer that failed may still be at work; an orderly exit would wait for them
    and print what each of them has to say.
    """
    for stream in filter(None, (sys.stdout, sys.stderr)):
        with contextlib.suppress(OSError):
            stream.flush()
    # What they still print goes nowhere: the last word is ours, on a line of its own should one of
    # them have begun one.
    start = "\n" if threading.active_count() > 1 else ""
    ours = os.dup(2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    line = f"{start}{'error: ' * (status == 2)}{message}\n"
    os.write(ours, line.encode(errors="backslashreplace"))
    os._exit(status)
