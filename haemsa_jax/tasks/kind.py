"""Task kinds: all that depends on what a task predicts, behind one interface, open to users."""

import abc
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import numpy as np

from haemsa_jax.config import TaskSpec, TrainConfig
from haemsa_jax.errors import InputError
from haemsa_jax.tasks import metrics

Array = Any  # numpy.ndarray or jax.Array
Head = Mapping[str, Array]  # statistics of a head, as `head_statistics` gives them


class Summary(NamedTuple):
    """A prediction for people, of the mean over networks.

    Attributes:
      value: a number, a class, or several labels.
      probabilities: by class or label; empty where there are none.
      spread: standard deviation over networks, of the value or by class of the probability.
    """

    value: float | str | tuple[str, ...]
    probabilities: Mapping[str, float]
    spread: float | Mapping[str, float]


class TaskKind(abc.ABC):
    """A kind of task: how it is trained, measured and shown.

    There is one object a kind (`register`, `kind_of`). It holds no state: what differs between
    tasks of a kind stands in their `TaskSpec`. In what follows C is `outputs(task)`, the width of
    the head; a *label* has the shape `label_shape(task)`, a *prediction*, which is what people and
    metrics read, `prediction_shape(task)`.

    Attributes:
      name: as `TaskSpec.kind` names it.
      metrics: names of the metrics that fit; `Metric.kinds` adds more.
      label_dtype: of labels, `int32` for numbers of classes, else `float32`.
      constant_name: what `constant` is called in tables.
    """

    name: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]]
    label_dtype: ClassVar[type] = np.float32
    constant_name: ClassVar[str] = "majority"

    @property
    def allowed_metrics(self) -> tuple[str, ...]:
        """Names of all metrics that a task of this kind may ask for."""
        added = (name for name, metric in metrics.METRICS.items() if self.name in metric.kinds)
        return tuple(dict.fromkeys([*self.metrics, *added]))

    # --- the task and its labels ---

    @abc.abstractmethod
    def check(self, task: TaskSpec) -> None:
        """Raises InputError where classes or range of a task do not fit."""

    @abc.abstractmethod
    def describe(self, task: TaskSpec) -> str:
        """What is predicted, in words, such as `a number in [-3, 3]`."""

    @abc.abstractmethod
    def outputs(self, task: TaskSpec) -> int:
        """Width of the head."""

    def label_shape(self, task: TaskSpec) -> tuple[int, ...]:
        """Shape of one label; a single number by default."""
        return ()

    @abc.abstractmethod
    def prediction_shape(self, task: TaskSpec) -> tuple[int, ...]:
        """Shape of one prediction as `readable` gives it."""

    @abc.abstractmethod
    def valid_labels(self, task: TaskSpec, labels: np.ndarray) -> tuple[np.ndarray, str]:
        """Which labels of a data set may be, bool[N], and the rule for each number in words.

        Args:
          task: whose labels they are.
          labels: [N, ...] of `label_shape`; those of unlabelled samples may be anything.
        """

    def valid_batch_labels(self, task: TaskSpec, labels: np.ndarray) -> tuple[np.ndarray, str]:
        """The same of the labels of a batch that somebody made."""
        return self.valid_labels(task, labels)

    # --- training ---

    @abc.abstractmethod
    def head_statistics(self, task: TaskSpec, labels: np.ndarray) -> dict[str, np.ndarray]:
        """`offset` and `scale` float32[C] of a head: its logits are offset + scale * output.

        Args:
          task: whose head it is.
          labels: [n, ...], those of the labelled training samples.
        """

    @abc.abstractmethod
    def loss(
        self,
        task: TaskSpec,
        config: TrainConfig,
        settings: Any,
        head: Head,
        logits: jax.Array,
        label: jax.Array,
    ) -> jax.Array:
        """Loss of one prediction, pure.

        Args:
          task: whose label it is.
          config: which losses are on.
          settings: how strong those are, where a search decides that.
          head: statistics of the head.
          logits: float[C], what the head says: of a regression label units.
          label: of `label_shape`.

        Returns:
          float[].
        """

    @abc.abstractmethod
    def distillation_loss(
        self, task: TaskSpec, head: Head, logits: jax.Array, teacher: jax.Array
    ) -> jax.Array:
        """Distance of a prediction with modalities hidden from the complete one, its teacher.

        Args:
          task: whose predictions they are.
          head: statistics of the head.
          logits: float[C].
          teacher: float[C]; no gradient goes through it (Hinton et al. 2015, arXiv 1503.02531).

        Returns:
          float[], 0 where both are equal.
        """

    @abc.abstractmethod
    def rightness(
        self, task: TaskSpec, head: Head, logits: jax.Array, label: jax.Array
    ) -> jax.Array:
        """How right a prediction is, float[] from 0 to 1; arguments as of `loss`."""

    # --- measuring ---

    @abc.abstractmethod
    def readable(self, task: TaskSpec, logits: Array) -> Array:
        """Logits as predictions that people and metrics read.

        Args:
          task: whose logits they are.
          logits: float[..., C] of NumPy or JAX; the result is of the same library and type.

        Returns:
          Predictions as `float[..., *prediction_shape]`, such as label units or probabilities.
        """

    @abc.abstractmethod
    def constant(self, task: TaskSpec, labels: np.ndarray) -> np.ndarray:
        """The best prediction that is the same for all, float64 of `prediction_shape`.

        Args:
          task: whose labels they are.
          labels: [n, ...], those of the labelled training samples.
        """

    def reference(self, task: TaskSpec, labels: np.ndarray) -> float:
        """Primary metric of `constant` on the training labels, for `score`; 1 where it is 0, or
        where higher is better, and `score` does not read it."""
        if metrics.METRICS[task.primary].higher_is_better:
            return 1.0
        constant = self.constant(task, labels)
        same = np.broadcast_to(constant, (len(labels), *constant.shape))
        values = metrics.compute(task, same, labels, np.ones(len(labels), bool))
        return float(values[task.primary]) or 1.0

    def score(self, task: TaskSpec, values: Mapping[str, Array], reference: Array) -> Array:
        """The primary metric on one scale for all tasks, as `metrics.score`."""
        return metrics.score(task, values, reference)

    def class_f1(self, task: TaskSpec, predictions: np.ndarray, truth: np.ndarray) -> dict:
        """F1 by class, of N predictions; empty where there are no classes."""
        return {}

    def class_counts(self, task: TaskSpec, truth: np.ndarray) -> np.ndarray:
        """int[len(classes)], in how many of N labels each class occurs."""
        return np.zeros(0, int)

    # --- linear yardsticks ---

    @abc.abstractmethod
    def linear_targets(self, task: TaskSpec, labels: np.ndarray) -> np.ndarray:
        """Labels as what least squares can fit, float64[N] or [N, K]."""

    def linear_predictions(self, task: TaskSpec, fitted: np.ndarray) -> np.ndarray:
        """Fitted targets [N] or [N, K] as predictions."""
        return fitted

    def intercept_shifts(self, task: TaskSpec, mean: np.ndarray) -> tuple[Any, ...]:
        """What may be added to the intercept, best on validation; `mean` is that of the targets."""
        return (0.0,)

    # --- for people ---

    @abc.abstractmethod
    def summary(self, task: TaskSpec, mean: np.ndarray, spread: np.ndarray) -> Summary:
        """One prediction, mean and standard deviation over networks."""

    @abc.abstractmethod
    def errors(self, task: TaskSpec, predictions: np.ndarray, truth: np.ndarray) -> np.ndarray:
        """float[N], by which samples are ordered."""

    @abc.abstractmethod
    def label_words(self, task: TaskSpec, label: Any) -> str:
        """A label in words."""

    @abc.abstractmethod
    def prediction_words(self, task: TaskSpec, prediction: Any) -> str:
        """A prediction in words."""

    @abc.abstractmethod
    def moved(self, task: TaskSpec, predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """How far predictions move, in a unit that compares between tasks.

        Args:
          task: whose predictions they are.
          predictions: float64[1 + P, N, ...], the unchanged ones first.
          labels: [N, ...], of the same samples.

        Returns:
          float64[P].
        """


_KINDS: dict[str, TaskKind] = {}


def register(kind: TaskKind) -> TaskKind:
    """Makes a kind known by its name: `TaskSpec(kind=...)` may then name it everywhere.

    Args:
      kind: an object of the kind's class.

    Returns:
      The same object.

    Raises:
      InputError: the name is taken, or a metric is not registered.
    """
    if kind.name in _KINDS:
        raise InputError(f"task kind {kind.name!r} is already registered; choose another name")
    for name in kind.metrics:
        metrics.metric_of(name)
    _KINDS[kind.name] = kind
    return kind


def kind_of(name: str) -> TaskKind:
    """The kind of that name; always the same object.

    Raises:
      InputError: there is none.
    """
    if name not in _KINDS:
        raise InputError(f"kind {name!r} is unknown; choose from {', '.join(_KINDS)}")
    return _KINDS[name]


def kinds() -> tuple[str, ...]:
    """Names of all kinds, in the order in which they were registered."""
    return tuple(_KINDS)
