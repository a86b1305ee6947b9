"""How far a training or a search is: bars to hand to `make_train(...)(observe=...)` and searches.

with TrainingBar() as bar:
    trained = train("runs/mine", observe=bar)
"""

import sys
from math import isnan
from statistics import fmean

import jax
from tqdm import tqdm


class Bar:
    """A progress bar whose clock starts when compiling has ended."""

    def __init__(self, name: str, unit: str):
        self.name, self.announced = name, False
        self.bar = tqdm(
            desc=": ".join(filter(None, (name, "compiling"))),
            unit=unit,
            dynamic_ncols=True,
            mininterval=0.5,
            disable=jax.process_index() > 0,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.bar.close()

    def reach(self, done: int, total: int) -> None:
        """So many are done; what was compiled for, or done by an earlier run, sets no rate."""
        if self.bar.total is None:
            self.bar.set_description(self.name or None, refresh=False)
            self.bar.reset(total)
            self.bar.initial = self.bar.n = self.bar.last_print_n = done
            self.bar.refresh()
        self.bar.update(done - self.bar.n)

    def announce(self, done: int, total: int) -> None:
        """Says once how long is left, as soon as that can be known."""
        timed = done - self.bar.initial
        if not self.announced and timed > 0 and done < total and not self.bar.disable:
            self.announced = True
            left = (total - done) * self.bar.format_dict["elapsed"] / timed
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
    """Round, best and median cost, diverged members, training steps a second, time left."""

    def __init__(self, name: str, rounds: int):
        super().__init__(name, "step")
        self.rounds = rounds

    def __call__(self, row: dict) -> None:
        done = row["generation"]
        if done:
            rate = "" if isnan(row["rate"]) else f", steps/s={row['rate']:.0f}"
            self.bar.set_postfix_str(
                f"round {done}/{self.rounds}, cost best={row['best']:.4f} "
                f"median={row['median']:.4f}, diverged={row['diverged']}{rate}",
                refresh=False,
            )
        self.reach(row["steps"], row["of_steps"])
        if done and not isnan(row["rate"]):
            self.announce(row["steps"], row["of_steps"])


def plan(row: dict) -> str:
    """A sentence on what is about to be trained, from a row of kind `plan`."""
    samples = " + ".join(f"{count:,}" for count in dict.fromkeys(row["samples"].values()))
    networks, goes_on = row["networks"], f", of which {row['step']:,} are done" * bool(row["step"])
    return (
        f"training {networks} network{'s' * (networks > 1)} on {samples} samples: "
        f"{row['epochs']} epochs, {row['total']:,} steps of {row['batch_size']} samples of a task"
        f"{goes_on}"
    )


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
