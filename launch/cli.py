"""What the launchers share: flags from a dataclass, and errors as one line."""

import dataclasses
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from absl import app, flags, logging

from haemsa_jax.errors import InputError
from haemsa_jax.training.loop import NonFiniteLossError

# The flags defined here belong to the launcher, whose --help then lists them.
flags.disclaim_key_flags()

_DEFINE = {int: flags.DEFINE_integer, float: flags.DEFINE_float, str: flags.DEFINE_string}


def define_flags(config: type, skip: tuple[str, ...] = ()) -> None:
    """A flag for every field of a configuration that has a plain default."""
    documented = _field_docs(config)
    for field in dataclasses.fields(config):
        if field.type in _DEFINE and field.name not in skip:
            _DEFINE[field.type](field.name, field.default, documented[field.name])


def from_flags(config: type, **others):
    """The configuration that the flags describe; `others` are fields without a flag."""
    names = [field.name for field in dataclasses.fields(config) if field.name in flags.FLAGS]
    values = {name: flags.FLAGS[name].value for name in names}
    return config(**{**values, **others})


def _field_docs(config: type) -> dict[str, str]:
    """What the docstring's `Attributes:` says of each field."""
    docs, name = {}, None
    for line in config.__doc__.partition("Attributes:")[2].splitlines():
        if line.startswith("      ") and not line.startswith("       ") and ":" in line:
            name, _, rest = line.strip().partition(":")
            docs[name] = rest.strip()
        elif name and line.strip():
            docs[name] += " " + line.strip()
    return docs


class Interrupt:
    """Ctrl-C and SIGTERM as a question that long work asks between two blocks: `interrupt()`.

    A second signal ends the process at once.
    """

    SIGNALS = signal.SIGINT, signal.SIGTERM

    def __init__(self):
        self.signal: int | None = None

    def __enter__(self):
        self.before = {number: signal.signal(number, self._note) for number in self.SIGNALS}
        return self

    def __exit__(self, *_):
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def __call__(self) -> bool:
        return self.signal is not None

    def _note(self, number: int, frame) -> None:
        if self.signal is not None:
            os._exit(128 + number)
        self.signal = number
        print("\nstopping after this block; once more ends at once", file=sys.stderr, flush=True)

    def end(self, where: str) -> NoReturn:
        """End with the status of a process that the signal ended."""
        print(f"stopped {where}; the same command goes on from there", flush=True)
        sys.exit(128 + self.signal)


def run(main: Callable[[], None]) -> None:
    """`app.run`, where an error of input or training is one line and exit status 2."""

    def checked(argv: list[str]) -> None:
        if len(argv) > 1:
            raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
        # Orbax and TFDS tell of every file they touch, and print what they then raise.
        logging.set_verbosity(logging.FATAL)
        try:
            main()
        except (InputError, NonFiniteLossError) as error:
            _end(str(error))
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
    print(f"error: {message}", file=sys.stderr, flush=True)
    os._exit(2)
