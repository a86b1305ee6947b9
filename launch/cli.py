"""What the launchers share: flags from a dataclass, and errors as one line."""

import dataclasses
import gc
import inspect
import os
import shlex
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import jax
from absl import app, flags, logging

from haemsa_jax.config import TrainConfig
from haemsa_jax.errors import InputError
from haemsa_jax.reporting.card import COMMANDS
from haemsa_jax.training import parallel, streaming
from haemsa_jax.training.loop import NonFiniteLossError

# The flags defined here belong to the launcher, whose --help then lists them.
flags.disclaim_key_flags()

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
    there, count = jax.local_devices(), flags.FLAGS.devices
    if not 0 <= count <= len(there):
        raise InputError(
            f"--devices={count}, but JAX finds {len(there)} ({there[0].platform}); give a number "
            f"from 1 to {len(there)}, or 0 for all"
        )
    return there[: count or None]


def _split_processor() -> None:
    """Makes of a CPU as many devices as `--devices` asks for, before JAX looks for them."""
    count = flags.FLAGS.devices if "devices" in flags.FLAGS else 0
    if count > 0 and "device_count" not in os.environ.get("XLA_FLAGS", ""):
        jax.config.update("jax_num_cpu_devices", count)


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
      InputError: one of them lies within, or prepared data does that would be deleted.
    """
    directory = Path(flags.FLAGS.run_dir)
    data = [flags.FLAGS.data_dir] if flags.FLAGS.overwrite else []
    for path in map(Path, (*reads, *data)):
        if directory.resolve() in (path.resolve(), *path.resolve().parents):
            raise InputError(
                f"--run_dir={directory} holds {path}, which the run reads; choose another --run_dir"
            )
    if flags.FLAGS.overwrite:
        if leads() and directory.exists():
            shutil.rmtree(directory)
        parallel.meet()  # nobody looks before it is empty
    return directory


def note_command(directory: Path) -> None:
    """Keeps the command beside what it made, once."""
    program = f"launch.{Path(sys.argv[0]).stem}"
    command = shlex.join(["python", "-m", program, *sys.argv[1:]])
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


def define_process_flags() -> None:
    """Of which processes a run is, where there are several."""
    flags.DEFINE_string(
        "coordinator", None,
        "HOST:PORT where process 0 listens, for a run of several processes; `auto` asks the "
        "cluster (SLURM, Open MPI, Kubernetes, Cloud TPU).",
    )  # fmt: skip
    flags.DEFINE_integer(
        "processes", None, "How many processes the run has, unless the coordinator is auto."
    )
    flags.DEFINE_integer("process", None, "Number of this process, from 0.")


def _join_processes() -> None:
    """Makes this process one of the run's, before JAX looks for devices."""
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


class Interrupt:
    """Ctrl-C and SIGTERM as a question that long work asks between two blocks: `interrupt()`.

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
        if leads():
            same = "the same command" + (" without --overwrite" if flags.FLAGS.overwrite else "")
            print(f"stopped {where}; {same} goes on from there", flush=True)
        sys.exit(128 + self.signal)


def run(main: Callable[[], None]) -> None:
    """`app.run`, where an error of input or training is one line and exit status 2."""

    def checked(argv: list[str]) -> None:
        if len(argv) > 1:
            raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
        # Orbax and TFDS tell of every file they touch, and print what they then raise.
        logging.set_verbosity(logging.FATAL)
        # Tracing makes millions of small objects that stay: looking for garbage among them takes a
        # fifth of it.
        gc.set_threshold(100_000, 50, 1000)
        _expand_homes()
        try:
            _join_processes()
            _split_processor()
            main()
        except (InputError, NonFiniteLossError) as error:
            _end(str(error))
        except jax.errors.JaxRuntimeError as error:
            if jax.process_count() == 1:
                raise
            first = str(error).strip().partition("\n")[0]
            _end(
                f"another process of this run is gone ({first}); start all of them again to resume"
            )
        except OSError as error:
            where = f" {error.filename}" if error.filename else ""
            _end(f"cannot read or write{where}: {error.strerror}")

    app.run(checked)


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
