"""What is reported and selected by: one definition of every metric, for NumPy and for JAX.

A metric is `(prediction, truth, mask) -> scalar`. It works in the array namespace of `prediction`:
float64 reports with NumPy, fitness inside `jit` and `vmap` with JAX. Shapes are static: samples are
masked out of sums and counts, which are divided once at the end, so that padding (which may hold
NaN) and batch boundaries change nothing. Values are fractions in [0, 1], Corr in [-1, 1], MAE in
label units. Over no sample at all a metric is NaN.

Regression metrics follow `metricsTop.py` of github.com/thuiar/MMSA, F1 follows scikit-learn's
`f1_score(truth, prediction)`: a class that nobody predicts, or that does not occur, has F1 = 0.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np

from haemsa_jax.config import TaskSpec
from haemsa_jax.errors import InputError
from haemsa_jax.tasks.counting import Array, divide, f1_by_class, f1_by_support, mean_where

Function = Callable[[Array, Array, Array], Array]


# --- regression: prediction float[N], truth float[N], mask bool[N] -------------------------------


def mae(prediction, truth, mask):
    """Mean absolute error of the unclipped values."""
    return mean_where(prediction.__array_namespace__(), abs(prediction - truth), mask)


def corr(prediction, truth, mask):
    """Pearson correlation of the unclipped values; 0 where either side does not vary.

    A constant side is one whose standard deviation is within rounding of its largest value.
    """
    xp = prediction.__array_namespace__()

    def standardised(values):
        values = xp.where(mask, values, 0)
        centred = xp.where(mask, values - mean_where(xp, values, mask), 0)
        deviation = xp.sqrt(mean_where(xp, centred**2, mask))
        rounding = 16 * xp.finfo(values.dtype).eps * xp.max(abs(values))
        return divide(xp, centred, xp.where(deviation > rounding, deviation, 0), 0)

    return xp.clip(mean_where(xp, standardised(prediction) * standardised(truth), mask), -1, 1)


def _rounded_accuracy(limit: int) -> Function:
    """Acc-(2 limit + 1): both sides clipped to +-limit, rounded half to even, exactly equal."""

    def accuracy_of_levels(prediction, truth, mask):
        xp = prediction.__array_namespace__()
        levels = [xp.round(xp.clip(values, -limit, limit)) for values in (prediction, truth)]
        return mean_where(xp, levels[0] == levels[1], mask)

    return accuracy_of_levels


def _graded_accuracy(*bounds: float) -> Function:
    """CH-SIMS's: values in [-1, 1] are of one class up to each bound, that included."""

    def accuracy_of_grades(prediction, truth, mask):
        xp = prediction.__array_namespace__()
        grades = [sum(values > bound for bound in bounds) for values in (prediction, truth)]
        return mean_where(xp, grades[0] == grades[1], mask)

    return accuracy_of_grades


def _positive(prediction, truth, mask):
    """All samples; the classes are v <= 0 and v > 0."""
    return prediction > 0, truth > 0, mask


def _has0(prediction, truth, mask):
    """All samples; the classes are v < 0 and v >= 0."""
    return prediction >= 0, truth >= 0, mask


def _non0(prediction, truth, mask):
    """Samples whose truth is not 0; the classes are v <= 0 and v > 0."""
    return prediction > 0, truth > 0, mask & (truth != 0)


def _binary_accuracy(binarise: Callable[..., tuple[Array, Array, Array]]) -> Function:
    def acc2(prediction, truth, mask):
        xp = prediction.__array_namespace__()
        predicted, actual, kept = binarise(prediction, truth, mask)
        return mean_where(xp, predicted == actual, kept)

    return acc2


def _binary_f1(binarise: Callable[..., tuple[Array, Array, Array]]) -> Function:
    def f1(prediction, truth, mask):
        xp = prediction.__array_namespace__()
        return f1_by_support(xp, *binarise(prediction, truth, mask), classes=2)

    return f1


# --- classification: prediction float[N, C] scores, truth int[N], mask bool[N] --------------------


def accuracy(prediction, truth, mask):
    """Share of samples whose highest score (the first of equal ones) is the true class."""
    xp = prediction.__array_namespace__()
    return mean_where(xp, xp.argmax(prediction, axis=-1) == truth, mask)


def f1_weighted(prediction, truth, mask):
    """Class F1 averaged by the number of true samples."""
    xp = prediction.__array_namespace__()
    return f1_by_support(xp, xp.argmax(prediction, axis=-1), truth, mask, prediction.shape[-1])


def f1_macro(prediction, truth, mask):
    """Class F1 averaged over the classes that occur in truth or prediction."""
    xp = prediction.__array_namespace__()
    predicted = xp.argmax(prediction, axis=-1)
    f1, supports, predictions = f1_by_class(xp, predicted, truth, mask, prediction.shape[-1])
    return mean_where(xp, f1, supports + predictions > 0)


def class_f1(prediction, truth, mask):
    """F1 of every class: float[C]."""
    xp = prediction.__array_namespace__()
    return f1_by_class(xp, xp.argmax(prediction, axis=-1), truth, mask, prediction.shape[-1])[0]


# --- multilabel: prediction float[N, C] probabilities, truth {0, 1}[N, C], mask bool[N] -----------


def label_wacc(prediction, truth, mask):
    """Weighted accuracy of every label, float[C]: (TP N / P + TN) / (2 N) at threshold 0.5.

    That is the mean of the hit rates among the P positives and the N negatives. Of a label that
    has only positives or only negatives, the one rate that exists.
    """
    xp = prediction.__array_namespace__()
    right = (prediction > 0.5) == (truth > 0.5)
    sides = xp.stack([truth > 0.5, truth <= 0.5]) & mask[:, None]  # [2, N, C]
    counts = xp.sum(sides, axis=1)
    rates = divide(xp, xp.sum(sides & right, axis=1), counts, 0)
    return divide(xp, xp.sum(rates, axis=0), xp.sum(counts > 0, axis=0), xp.nan)


def label_f1(prediction, truth, mask):
    """Weighted F1 (over label off and label on) of every label, at threshold 0.5: float[C]."""
    xp = prediction.__array_namespace__()
    return f1_by_support(xp, prediction > 0.5, truth > 0.5, mask, classes=2)


def wacc_mean(prediction, truth, mask):
    """Weighted accuracy, averaged over the labels."""
    return prediction.__array_namespace__().mean(label_wacc(prediction, truth, mask))


def f1_mean(prediction, truth, mask):
    """Weighted F1, averaged over the labels."""
    return prediction.__array_namespace__().mean(label_f1(prediction, truth, mask))


PER_CENT = "%"
BY_CLASS = "f1_class"  # `TaskKind.class_f1`, in tables


@dataclass(frozen=True)
class Metric:
    """A metric and how it is shown.

    Attributes:
      name: by which `TaskSpec.metrics` asks for it.
      function: as the head of this file says; None of what only tables show.
      display: name in tables and figures.
      unit: `%` of a fraction, which is shown times 100; else as it stands behind a value.
      higher_is_better: whether it is; a metric that falls is scored against `TaskKind.reference`.
      kinds: names of kinds that it fits besides those that list it themselves.
      counts: whether it is a whole number of which neither more nor less is better.
    """

    name: str
    function: Function | None
    display: str
    unit: str = PER_CENT
    higher_is_better: bool = True
    kinds: tuple[str, ...] = ()
    counts: bool = False


METRICS: dict[str, Metric] = {}


def register_metric(metric: Metric) -> Metric:
    """Makes a metric known by its name; an InputError where the name is taken."""
    if metric.name in METRICS:
        raise InputError(f"metric {metric.name!r} is already registered; choose another name")
    METRICS[metric.name] = metric
    return metric


def metric_of(name: str) -> Metric:
    """The metric of that name; an InputError where there is none."""
    if name not in METRICS:
        raise InputError(f"metric {name!r} is unknown; choose from {', '.join(METRICS)}")
    return METRICS[name]


_FIVE_GRADES = _graded_accuracy(-0.7, -0.1, 0.1, 0.7)
for _metric in (
    Metric("mae", mae, "MAE", unit="", higher_is_better=False),
    Metric("corr", corr, "Corr", unit=""),
    Metric("acc7", _rounded_accuracy(3), "Acc-7"),
    Metric("acc5", _rounded_accuracy(2), "Acc-5"),
    Metric("acc3", _rounded_accuracy(1), "Acc-3"),
    Metric("acc2_has0", _binary_accuracy(_has0), "Acc-2 neg/non-neg"),
    Metric("f1_has0", _binary_f1(_has0), "F1 neg/non-neg"),
    Metric("acc2_non0", _binary_accuracy(_non0), "Acc-2 neg/pos"),
    Metric("f1_non0", _binary_f1(_non0), "F1 neg/pos"),
    Metric("sims_acc2", _binary_accuracy(_positive), "SIMS Acc-2", kinds=("regression",)),
    Metric("sims_acc3", _graded_accuracy(-0.1, 0.1), "SIMS Acc-3", kinds=("regression",)),
    Metric(
        "sims_acc5", _graded_accuracy(-0.7, -0.1, 0.1, 0.7), "SIMS Acc-5", kinds=("regression",)
    ),
    Metric("sims_f1", _binary_f1(_positive), "SIMS F1", kinds=("regression",)),
    Metric("accuracy", accuracy, "Acc"),
    Metric("f1_weighted", f1_weighted, "F1 weighted"),
    Metric("f1_macro", f1_macro, "F1 macro"),
    Metric("wacc_mean", wacc_mean, "WAcc"),
    Metric("f1_mean", f1_mean, "F1"),
    Metric(BY_CLASS, None, "F1"),
):
    register_metric(_metric)


def compute(task: TaskSpec, prediction: Array, truth: Array, mask: Array) -> dict[str, Array]:
    """The metrics that `task` asks for.

    Args:
      task: kind and metrics.
      prediction: float[N, *shape] as `TaskKind.readable` gives it; of classes any scores. One that
        is not finite on a masked-in sample makes every metric NaN; comparisons would otherwise take
        NaN for a class and hide the divergence.
      truth: float[N], int[N] or {0, 1}[N, C], by kind.
      mask: bool[N], the samples that count.

    Returns:
      Scalars by metric name; NumPy's are float64, hence plain floats to `json`.

    Raises:
      ValueError: shapes that do not fit, which would broadcast.
    """
    expected = (*mask.shape, *task.prediction_shape)
    if prediction.shape != expected or len(truth) != len(mask):
        raise ValueError(
            f"task {task.name!r}: prediction {prediction.shape} and truth {truth.shape} do not fit "
            f"mask {mask.shape}; prediction should be {expected}"
        )
    xp = prediction.__array_namespace__()
    prediction = xp.astype(prediction, float)
    if task.label_dtype == np.float32:
        truth = xp.astype(xp.asarray(truth), float)
    finite = xp.isfinite(prediction)
    trusted = xp.all(finite | ~mask.reshape(mask.shape + (1,) * (prediction.ndim - 1)))
    prediction = xp.where(finite, prediction, 0)
    functions = {name: cast(Function, metric_of(name).function) for name in task.metrics}
    values = {name: of(prediction, truth, mask) for name, of in functions.items()}
    return {name: xp.where(trusted, value, xp.nan)[()] for name, value in values.items()}


def score(task: TaskSpec, metric_values: Mapping[str, Array], reference: Array) -> Array:
    """The primary metric on one scale for all tasks, for selection: (-inf, 1], 1 is perfect.

    Args:
      task: its primary metric decides.
      metric_values: from `compute`.
      reference: `TaskKind.reference`, its value for the best constant prediction, > 0, whose score
        is then 0 whatever the labels' scale. Read only where lower is better.
    """
    value = metric_values[task.primary]
    return value if metric_of(task.primary).higher_is_better else 1 - value / reference
