"""How far a training or a search is: bars to hand to `make_train(...)(observe=...)` and searches.

with TrainingBar() as bar:
    trained = train("runs/mine", observe=bar)
"""

import sys
import threading
import time
from math import isnan
from statistics import fmean

import jax
from tqdm import tqdm


class Bar:
    """A progress bar whose clock starts when compiling has ended, and runs on in between."""

    def __init__(self, name: str, unit: str, every: float | None = None):
        # A file is not filled with lines that a terminal would write over each other.
        self.every = every or (1.0 if sys.stderr.isatty() else 30.0)
        self.name, self.announced = name, False
        self.timed: tuple[int, float] | None = None
        self.lock, self.ended = threading.RLock(), threading.Event()
        self.ticking = threading.Thread(target=self._tick, daemon=True)
        self.bar = tqdm(
            desc=": ".join(filter(None, (name, "compiling"))),
            unit=unit,
            dynamic_ncols=True,
            mininterval=0.5,
            disable=jax.process_index() > 0,
        )

    def __enter__(self):
        self.ticking.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.ticking.join()
        self.bar.close()

    def _tick(self) -> None:
        while not self.ended.wait(self.every):
            with self.lock:
                if not self.bar.disable:
                    if self.foreseen() > self.bar.n:
                        self.bar.n = self.foreseen()
                    self.bar.refresh()

    def foreseen(self) -> int:
        """Steps that are done by now, as far as can be told."""
        return self.bar.n

    def reach(self, done: int, total: int) -> None:
        """So many are done; what was compiled for, or done by an earlier run, sets no rate."""
        if self.bar.total is None:
            self.bar.set_description(self.name or None, refresh=False)
            self.bar.reset(total)
            self.bar.initial = self.bar.n = self.bar.last_print_n = done
            self.bar.refresh()
        self.bar.update(done - self.bar.n)

    def announce(self, done: int, total: int) -> None:
        """Says once how long is left, by a block that began after another one had ended.

        Beside the first blocks validation is compiled and the first checkpoint written.
        """
        if self.announced or self.bar.disable or done in (self.bar.initial, total):
            return
        if self.timed is None:
            self.timed = done, time.monotonic()
        elif done > self.timed[0]:
            self.announced = True
            left = (total - done) * (time.monotonic() - self.timed[1]) / (done - self.timed[0])
            self.say(f"{self.name + ': ' if self.name else ''}about {_duration(left)} to go")

    def say(self, line: str) -> None:
        """A line above the bar."""
        if not self.bar.disable:
            self.bar.write(line, file=sys.stderr)


class TrainingBar(Bar):
    """Step rate, losses and validation metrics, mean over seeds."""

    def __init__(self, name: str = ""):
        super().__init__(name, "step")
        self.shown: dict[str, str] = {}

    def __call__(self, row: dict) -> None:
        if row["kind"] == "plan":
            self.say(plan(row))
            for doubt in row["doubts"]:
                self.say(doubt)
        elif row["kind"] == "train":
            # Rows come all at once when their block is done, the next ones perhaps minutes later.
            self.reach(row["done"], row["total"])
            self.announce(row["done"], row["total"])
            self.shown["loss"] = f"{fmean(row['loss']):.3f}"
        elif row["kind"] == "validation":
            # The first metric of a task is the one that selects.
            first = {name.rpartition("/")[0]: name for name in reversed(row) if "/" in name}
            self.shown |= {name: f"{fmean(row[name]):.3f}" for name in first.values()}
        self.bar.set_postfix(self.shown, refresh=row["kind"] == "validation")


class SearchBar(Bar):
    """Time of the search, then round, best and median cost, diverged members, steps a second.

    Within a round it advances as fast as was measured before the search began.
    """

    def __init__(self, name: str, rounds: int, every: float | None = None):
        super().__init__(name, "step", every)
        self.rounds = rounds
        self.coming: tuple[float, float, int, int] | None = None

    def __call__(self, row: dict) -> None:
        done = row["generation"]
        with self.lock:
            if done:
                rate = "" if isnan(row["rate"]) else f", steps/s={row['rate']:.0f}"
                self.bar.set_postfix_str(
                    f"round {done}/{self.rounds}, fitness (lower is better) best={row['best']:.4f} "
                    f"median={row['median']:.4f}, diverged={row['diverged']}{rate}",
                    refresh=False,
                )
            self.bar.n = min(self.bar.n, row["steps"])
            self.reach(row["steps"], row["of_steps"])
            if not self.announced and done < self.rounds:
                self.announced = True
                beside = row["beside_seconds"]
                after = f", then {_duration(beside)} of random search (--noyardstick omits it)"
                left = f"about {_duration(row['seconds'])} to go"
                self.say(f"{self.name}: {left}{after * (beside > 0)}")
            until = row["next_seconds"], row["steps"], row["next_steps"]
            self.coming = time.monotonic(), *until
            if not self.bar.disable:
                self.bar.refresh()

    def foreseen(self) -> int:
        """As fast as was measured, short of the end of the round."""
        if self.coming is None:
            return self.bar.n
        began, seconds, before, after = self.coming
        share = min(0.99, (time.monotonic() - began) / max(seconds, 1e-9))
        return int(before + share * (after - before))


def plan(row: dict) -> str:
    """A sentence on what is about to be trained, from a row of kind `plan`."""
    samples = " + ".join(f"{count:,}" for count in dict.fromkeys(row["samples"].values()))
    networks, epochs = row["networks"], row["epochs"]
    goes_on = f", of which {row['step']:,} are done" * bool(row["step"])
    return (
        f"training {networks} network{'s' * (networks > 1)} on {samples} samples: "
        f"{epochs} epoch{'s' * (epochs > 1)}, {row['total']:,} steps of {row['batch_size']} "
        f"samples of a task{goes_on}"
    )


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
