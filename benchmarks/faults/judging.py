"""What became of damaged inputs: refused in one line, done, or a fault of the library."""

import contextlib
import hashlib
import signal
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from haemsa_jax.errors import InputError

LIMIT = 10.0  # seconds of the processor that one input may take
WAITS = 20.0  # times as long on the clock: others may use the machine, too
COUNTED = "tried", "refused", "done", "tracebacks", "hangs", "lost"
EXAMPLES = 8  # of faults that are kept of a part


class OverTimeError(BaseException):
    """An input took too long; no `except Exception` takes it for damage."""


@dataclass
class Tally:
    """Counts of one part of the campaign.

    Attributes:
      part: its name.
      tried: inputs, or moments.
      refused: ended in one line that says why.
      done: ended as if nothing had been wrong, or gone on from what was left.
      tracebacks: ended in another exception, or in a message of several lines.
      hangs: took longer than the limit.
      lost: a file was changed or left behind, a program in a pickle ran, or a result differs.
      skipped: why the part did not run.
      examples: of what should not have been, `EXAMPLES` different ones at most.
    """

    part: str
    tried: int = 0
    refused: int = 0
    done: int = 0
    tracebacks: int = 0
    hangs: int = 0
    lost: int = 0
    skipped: str = ""
    examples: list[str] = field(default_factory=list)

    @property
    def faults(self) -> int:
        """What should be zero."""
        return self.tracebacks + self.hangs + self.lost

    def note(self, kind: str, example: str) -> None:
        """Counts a fault; of those that end alike one example is kept."""
        setattr(self, kind, getattr(self, kind) + 1)
        ends = {known.rpartition(" @ ")[2] for known in self.examples}
        if len(self.examples) < EXAMPLES and example.rpartition(" @ ")[2] not in ends:
            self.examples.append(f"{kind}: {example}")

    def to_json(self) -> dict:
        """One row of the record."""
        return asdict(self)


def as_results(rows: list[dict]) -> dict[str, dict[str, dict[str, list[int]]]]:
    """Rows of `to_json` with their `seed` as a record has them: counts of each part over all seeds.

    A part that did not run is left out; of one that was run again the last counts.
    """
    last = {(row["part"], row["seed"]): row for row in rows if not row["skipped"]}
    parts: dict[str, dict[str, list[int]]] = {}
    for (part, _), row in last.items():
        of = parts.setdefault(part, {name: [0] for name in COUNTED})
        for name in COUNTED:
            of[name][0] += row[name]
    return {"faults": parts}


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raises OverTimeError in the block after that time of the processor, or `WAITS` times as long
    on the clock; only in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("only the main thread can be interrupted")

    def stop(number, frame):
        raise OverTimeError

    timers = {
        signal.ITIMER_PROF: (signal.SIGPROF, seconds),
        signal.ITIMER_REAL: (signal.SIGALRM, WAITS * seconds),
    }
    before = {number: signal.signal(number, stop) for number, _ in timers.values()}
    for timer, (_, limit) in timers.items():
        # Again and again: Python ignores what is raised while it deletes an object.
        signal.setitimer(timer, limit, limit)
    try:
        yield
    finally:
        for timer in timers:
            signal.setitimer(timer, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def attempt(tally: Tally, call: Callable[[], object], what: str, limit: float = LIMIT) -> bool:
    """Calls once with a damaged input and counts what becomes of it; whether it was done.

    Args:
      tally: that counts.
      call: as a launcher would.
      what: the damage, for examples.
      limit: seconds of the processor.
    """
    tally.tried += 1
    try:
        with warnings.catch_warnings(), at_most(limit):
            warnings.simplefilter("ignore")
            call()
    except (InputError, OSError) as error:
        # The launchers print what the system says of a file, too, where it has a name.
        named = isinstance(error, InputError) or error.filename is not None
        if named and len(str(error).splitlines()) == 1:
            tally.refused += 1
        else:
            tally.note("tracebacks", f"{what} @ {_place(error)}")
    except OverTimeError as error:
        tally.note("hangs", f"{what} @ {_place(error)}")
    except Exception as error:
        tally.note("tracebacks", f"{what} @ {_place(error)}")
    else:
        tally.done += 1
        return True
    return False


def _place(error: BaseException) -> str:
    """Where it was raised: the innermost file of this project, and the words."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "haemsa" in Path(f.filename).parts[-2] or "haemsa" in f.filename]
    last = (own or frames)[-1]
    words = " ".join(str(error).split())[:200]
    return f"{Path(last.filename).name}:{last.lineno} {type(error).__name__}: {words}"


def snapshot(folder: Path) -> dict[str, str]:
    """Digest of every file below a folder, by its path there."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def check_untouched(tally: Tally, folder: Path, before: dict[str, str], what: str) -> None:
    """Counts as lost what reading has changed, deleted or left behind."""
    after = snapshot(folder)
    if after != before:
        odd = sorted({*after.items()} ^ {*before.items()})[0][0]
        tally.note("lost", f"{what} @ {odd} was changed, deleted or left behind")
