"""How far a training is."""

from statistics import fmean

from tqdm import tqdm

from launch import cli


class TrainingBar:
    """One progress bar: step rate, losses and validation metrics, mean over seeds."""

    def __init__(self, name: str = ""):
        self.bar = tqdm(
            desc=name or None, unit="step", dynamic_ncols=True, mininterval=0.5,
            disable=not cli.leads(),
        )  # fmt: skip
        self.shown: dict[str, str] = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.bar.close()

    def __call__(self, row: dict) -> None:
        if row["kind"] == "train":
            # What a resumed run already had behind it does not count towards the rate.
            if self.bar.total is None:
                self.bar.total, self.bar.initial = row["total"], row["step"] - 1
                self.bar.n = row["step"] - 1
            self.bar.update(row["step"] - self.bar.n)
            self.shown["loss"] = f"{fmean(row['loss']):.3f}"
        elif row["kind"] == "validation":
            # The first metric of a task is the one that selects.
            first = {name.rpartition("/")[0]: name for name in reversed(row) if "/" in name}
            self.shown |= {name: f"{fmean(row[name]):.3f}" for name in first.values()}
        self.bar.set_postfix(self.shown, refresh=False)
