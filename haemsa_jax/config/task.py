"""Tasks: what is to be predicted, and how that is measured."""

from dataclasses import dataclass

from haemsa_jax.config.checks import require

KINDS = ("regression", "classification", "multilabel")

# Metrics a task may ask for, by kind. `training/metrics.py` defines each of them.
METRICS = {
    "regression": (
        "mae", "corr", "acc7", "acc5", "acc3",
        "acc2_has0", "f1_has0", "acc2_non0", "f1_non0",
    ),
    "classification": ("accuracy", "f1_weighted", "f1_macro"),
    "multilabel": ("wacc_mean", "f1_mean"),
}  # fmt: skip


@dataclass(frozen=True)
class TaskSpec:
    """One target on one data set.

    Attributes:
      name: name within its data set, such as `ui`.
      kind: one of `KINDS`.
      metrics: what is reported, from `METRICS[kind]`; the first is the primary one.
      classes: names of the classes or labels; empty for regression.
      range: lowest and highest label of a regression, in label units; None otherwise.
    """

    name: str
    kind: str
    metrics: tuple[str, ...]
    classes: tuple[str, ...] = ()
    range: tuple[float, float] | None = None

    def __post_init__(self):
        require(
            self.kind in KINDS,
            f"task {self.name!r}: kind {self.kind!r} is unknown; choose from {', '.join(KINDS)}",
        )
        require(bool(self.metrics), f"task {self.name!r}: at least one metric is needed")
        for metric in self.metrics:
            require(
                metric in METRICS[self.kind],
                f"task {self.name!r}: metric {metric!r} does not fit a {self.kind}; "
                f"choose from {', '.join(METRICS[self.kind])}",
            )
        if self.kind == "regression":
            require(not self.classes, f"task {self.name!r}: a regression has no classes")
            require(
                self.range is not None and self.range[0] < self.range[1],
                f"task {self.name!r}: range {self.range} must be (lowest, highest) label",
            )
        else:
            require(
                len(self.classes) >= (2 if self.kind == "classification" else 1),
                f"task {self.name!r}: a {self.kind} needs its class names, got {self.classes}",
            )

    @property
    def outputs(self) -> int:
        """Width of the head: 1 for a regression, else the number of classes or labels."""
        return max(1, len(self.classes))

    @property
    def primary(self) -> str:
        """The metric by which validation selects."""
        return self.metrics[0]


def dataset_of(task_id: str) -> str:
    """`cmu_mosi/contextual:sentiment` -> `cmu_mosi/contextual`."""
    return task_id.rpartition(":")[0]
