"""What the launchers share: flags from a dataclass, and errors as one line."""

import dataclasses
import gc
import importlib
import inspect
import os
import shlex
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import jax
import jaxlib.version
from absl import app, flags, logging

from haemsa_jax.config import NetworkConfig, TrainConfig
from haemsa_jax.errors import InputError
from haemsa_jax.models.model import MODELS, config_class, model_named
from haemsa_jax.reporting.card import COMMANDS
from haemsa_jax.training.engine import parallel, streaming
from haemsa_jax.training.engine.reports import NonFiniteLossError

from .emptying import empty
from .processes import join_processes

# The flags defined here belong to the launcher, whose --help then lists them.
flags.disclaim_key_flags()

# Models, parts and kinds of tasks from outside, registered before flags are defined.
PLUGINS = "HAEMSA_PLUGINS"
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

_DEFINE = {int: flags.DEFINE_integer, float: flags.DEFINE_float, str: flags.DEFINE_string}


def define_flags(config: type, skip: tuple[str, ...] = (), **defaults) -> None:
    """A flag for every field of a configuration that has a plain default.

    Args:
      config: the dataclass.
      skip: fields that get none.
      defaults: other values than the configuration's own.
    """
    documented = _field_docs(config)
    for field in dataclasses.fields(config):
        if field.type in _DEFINE and field.name not in skip:
            default = defaults.get(field.name, field.default)
            _DEFINE[field.type](field.name, default, documented[field.name])


def define_network_flags() -> None:
    """A flag for the model, and one for every field of any model's configuration.

    A flag that is not given leaves the field as the model, or the launcher, has it.
    """
    flags.DEFINE_enum("model", "haemsa", sorted(MODELS), "The network's model.")
    defaults: dict[str, dict[str, list[str]]] = {}
    kinds, documented = {}, {}
    for name, module in MODELS.items():
        config = config_class(module)
        documented = {**_field_docs(NetworkConfig), **_field_docs(config), **documented}
        for field in dataclasses.fields(config):
            if field.type in _DEFINE:
                kinds[field.name] = field.type
                of = defaults.setdefault(field.name, {})
                of.setdefault(str(field.default), []).append(name)
    for name, kind in kinds.items():
        values = ", ".join(
            value if len(models) == len(MODELS) else f"{value} ({', '.join(models)})"
            for value, models in defaults[name].items()
        )
        _DEFINE[kind](name, None, f"{documented[name]} By default {values}.")


def network_from_flags(base: NetworkConfig | None, defaults: Mapping[str, Any], **others):
    """The configuration of the model that the flags describe.

    Args:
      base: a network of which the flags given change single values; its model stays.
      defaults: what a launcher has instead of a model's own defaults, where the model has it.
      others: fields without a flag.

    Raises:
      InputError: a flag is given that the model does not have, or a model other than `base`'s.
    """
    given = flags.FLAGS
    if base is not None and given["model"].present and given.model != base.model:
        raise InputError(
            f"--model={given.model}, but the genome is for model={base.model}; leave the flag away"
        )
    config = config_class(model_named(given.model if base is None else base.model))
    own = {field.name for field in dataclasses.fields(config)}
    for module in MODELS.values():
        for field in dataclasses.fields(config_class(module)):
            foreign = field.name in given and field.type in _DEFINE and field.name not in own
            if foreign and given[field.name].present:
                raise InputError(
                    f"--{field.name}: model={config.model} has no such setting; leave the flag away"
                )
    values = {
        name: given[name].value for name in own if name in given and given[name].value is not None
    }
    values = {name: value for name, value in values.items() if name not in others}
    if base is not None:
        return dataclasses.replace(base, **values, **others)
    wanted = {name: value for name, value in defaults.items() if name in own}
    return config(**{**wanted, **values}, **others)


def from_flags(config: type, base=None, **others):
    """The configuration that the flags describe; `others` are fields without a flag.

    Where there is a `base`, flags that are not given leave its values as they are.
    """
    fields = {f.name for f in dataclasses.fields(config) if f.type in _DEFINE} - {*others}
    names = [name for name in fields if name in flags.FLAGS]
    if base is None:
        return config(**{name: flags.FLAGS[name].value for name in names}, **others)
    given = {name: flags.FLAGS[name].value for name in names if flags.FLAGS[name].present}
    return dataclasses.replace(base, **given, **others)


def devices() -> list[jax.Device]:
    """All devices of all processes, or the local ones that `--devices` asks for."""
    if jax.process_count() > 1:
        if flags.FLAGS.devices:
            raise InputError(f"--devices={flags.FLAGS.devices} is for one process; of several all "
                             "devices are used: leave it away")  # fmt: skip
        return jax.devices()
    available, count = jax.local_devices(), flags.FLAGS.devices
    if not 0 <= count <= len(available):
        raise InputError(
            f"--devices={count}, but JAX finds {len(available)} ({available[0].platform}); "
            f"give a number from 1 to {len(available)}, or 0 for all"
        )
    return available[: count or None]


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


def leads() -> bool:
    """Whether this process prints and writes: the only one, or the first of several."""
    return jax.process_index() == 0


def run_directory(*reads: str | Path) -> Path:
    """`--run_dir`, emptied where `--overwrite` asks for it: to be called once all else is checked.

    Args:
      reads: files and directories that the run begins with, which must lie elsewhere.

    Raises:
      InputError: one of them lies within, or prepared data does that would be deleted, or what
        would be deleted is no run.
    """
    directory = Path(flags.FLAGS.run_dir)
    data = [flags.FLAGS.data_dir] if flags.FLAGS.overwrite else []
    for path in map(Path, (*reads, *data)):
        if directory.resolve() in (path.resolve(), *path.resolve().parents):
            raise InputError(
                f"--run_dir={directory} holds {path}, which the run reads; choose another --run_dir"
            )
    if flags.FLAGS.overwrite:
        if leads() and directory.is_dir():
            empty(directory)
        parallel.meet()  # nobody looks before it is empty
    return directory


def note_command(directory: Path) -> None:
    """Keeps the command beside what it made, once."""
    program = Path(sys.argv[0])
    started = (
        ["python", "-m", f"launch.{program.stem}"] if program.suffix == ".py" else [program.name]
    )
    command = shlex.join([*started, *sys.argv[1:]])
    path = directory / COMMANDS
    if not path.is_file() or command not in path.read_text("utf-8").splitlines():
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{command}\n")


def define_run_flags() -> None:
    """Where a run is kept, and on what it runs."""
    flags.DEFINE_string("run_dir", None, "Directory of the run.", required=True)
    flags.DEFINE_bool("overwrite", False, "Delete what RUN_DIR holds.")
    flags.DEFINE_integer(
        "devices", 0, "Local devices to use; 0 for all. A CPU is split into as many as that."
    )


def define_training_flags() -> None:
    """Where and how a training runs, and all its settings."""
    define_run_flags()
    define_resident_flag()
    flags.DEFINE_integer("checkpoint_every", 500, "Steps between checkpoints.", lower_bound=1)
    define_flags(TrainConfig)


def define_trained_flags() -> None:
    """Which networks of a run are used, and on what."""
    flags.DEFINE_string("run_dir", None, "Directory of a trained run.", required=True)
    flags.DEFINE_string(
        "dataset", None, "As which data set samples are read, of a network trained on several."
    )
    flags.DEFINE_integer(
        "networks", None,
        "Networks whose predictions are averaged; by default all seeds, or a search's best.",
    )  # fmt: skip


def define_resident_flag() -> None:
    """How large a data set may be on the device."""
    flags.DEFINE_integer(
        "resident_mib", streaming.RESIDENT >> 20,
        "Splits of more MiB of features are streamed from the host's memory; two pieces at a time "
        "take no more than that.",
    )  # fmt: skip


def _field_docs(config: type) -> dict[str, str]:
    """What the docstring's `Attributes:` says of each field."""
    docs, name = {}, None
    # Cleaned: from Python 3.13 on, docstrings have lost their indentation already.
    for line in inspect.getdoc(config).partition("Attributes:")[2].splitlines():
        if line.startswith("  ") and not line.startswith("   ") and ":" in line:
            name, _, rest = line.strip().partition(":")
            docs[name] = rest.strip()
        elif name and line.strip():
            docs[name] += " " + line.strip()
    return docs


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
