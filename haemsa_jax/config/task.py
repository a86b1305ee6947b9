"""Tasks: what is to be predicted, and how that is measured."""

from dataclasses import dataclass

from haemsa_jax.config.checks import require
from haemsa_jax.errors import IF_OWN


@dataclass(frozen=True)
class TaskSpec:
    """One target on one data set; hashable, lists become tuples.

    Attributes:
      name: name within its data set, such as `ui`.
      kind: name of a registered task kind (`haemsa_jax.tasks`): `regression`, `classification`,
        `multilabel`, or a user's.
      metrics: what is reported, of those that fit the kind; the first is the primary one.
      classes: names of the classes or labels; empty for regression.
      range: lowest and highest label of a regression, in label units; None otherwise.
    """

    name: str
    kind: str
    metrics: tuple[str, ...]
    classes: tuple[str, ...] = ()
    range: tuple[float, float] | None = None

    def __post_init__(self):
        from haemsa_jax.tasks import kind_of, kinds  # here, since kinds need JAX

        for field in ("metrics", "classes", "range"):
            if isinstance(getattr(self, field), list):
                object.__setattr__(self, field, tuple(getattr(self, field)))
        require(
            self.kind in kinds(),
            f"task {self.name!r}: kind {self.kind!r} is unknown; choose from {', '.join(kinds())}"
            f"{IF_OWN}",
        )
        allowed = kind_of(self.kind).allowed_metrics
        require(bool(self.metrics), f"task {self.name!r}: at least one metric is needed")
        for metric in self.metrics:
            require(
                metric in allowed,
                f"task {self.name!r}: metric {metric!r} does not fit a {self.kind}; "
                f"choose from {', '.join(allowed)}",
            )
        kind_of(self.kind).check(self)

    @property
    def outputs(self) -> int:
        """Width of the head: 1 for a regression, else mostly the number of classes or labels."""
        from haemsa_jax.tasks import kind_of

        return kind_of(self.kind).outputs(self)

    @property
    def prediction_shape(self) -> tuple[int, ...]:
        """Shape of one prediction as metrics read it."""
        from haemsa_jax.tasks import kind_of

        return kind_of(self.kind).prediction_shape(self)

    @property
    def label_shape(self) -> tuple[int, ...]:
        """Shape of one label."""
        from haemsa_jax.tasks import kind_of

        return kind_of(self.kind).label_shape(self)

    @property
    def label_dtype(self) -> type:
        """NumPy type of labels: `int32` of numbers of classes, else `float32`."""
        from haemsa_jax.tasks import kind_of

        return kind_of(self.kind).label_dtype

    @property
    def primary(self) -> str:
        """The metric by which validation selects."""
        return self.metrics[0]


def dataset_of(task_id: str) -> str:
    """`cmu_mosi/contextual:sentiment` -> `cmu_mosi/contextual`."""
    return task_id.rpartition(":")[0]
