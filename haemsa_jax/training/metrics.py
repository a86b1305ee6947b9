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
from typing import Any

from haemsa_jax.config import METRICS, TaskSpec

Array = Any  # numpy.ndarray or jax.Array
Metric = Callable[[Array, Array, Array], Array]


def _divide(xp, numerator, denominator, otherwise):
    """`numerator / denominator`, and `otherwise` where the denominator is 0; never warns."""
    holds = denominator != 0
    return xp.where(holds, numerator / xp.where(holds, denominator, 1), otherwise)


def _mean(xp, values, mask):
    return _divide(xp, xp.sum(xp.where(mask, values, 0)), xp.sum(mask), xp.nan)


# --- regression: prediction float[N], truth float[N], mask bool[N] -------------------------------


def mae(prediction, truth, mask):
    """Mean absolute error of the unclipped values."""
    return _mean(prediction.__array_namespace__(), abs(prediction - truth), mask)


def corr(prediction, truth, mask):
    """Pearson correlation of the unclipped values; 0 where either side does not vary.

    A constant side is one whose standard deviation is within rounding of its largest value.
    """
    xp = prediction.__array_namespace__()

    def standardised(values):
        values = xp.where(mask, values, 0)
        centred = xp.where(mask, values - _mean(xp, values, mask), 0)
        deviation = xp.sqrt(_mean(xp, centred**2, mask))
        rounding = 16 * xp.finfo(values.dtype).eps * xp.max(abs(values))
        return _divide(xp, centred, xp.where(deviation > rounding, deviation, 0), 0)

    return xp.clip(_mean(xp, standardised(prediction) * standardised(truth), mask), -1, 1)


def _rounded_accuracy(limit: int) -> Metric:
    """Acc-(2 limit + 1): both sides clipped to +-limit, rounded half to even, exactly equal."""

    def accuracy_of_levels(prediction, truth, mask):
        xp = prediction.__array_namespace__()
        levels = [xp.round(xp.clip(values, -limit, limit)) for values in (prediction, truth)]
        return _mean(xp, levels[0] == levels[1], mask)

    return accuracy_of_levels


def _has0(prediction, truth, mask):
    """All samples; the classes are v < 0 and v >= 0."""
    return prediction >= 0, truth >= 0, mask


def _non0(prediction, truth, mask):
    """Samples whose truth is not 0; the classes are v <= 0 and v > 0."""
    return prediction > 0, truth > 0, mask & (truth != 0)


def _binary_accuracy(binarise) -> Metric:
    def acc2(prediction, truth, mask):
        xp = prediction.__array_namespace__()
        predicted, actual, kept = binarise(prediction, truth, mask)
        return _mean(xp, predicted == actual, kept)

    return acc2


def _binary_f1(binarise) -> Metric:
    def f1(prediction, truth, mask):
        xp = prediction.__array_namespace__()
        return _weighted_f1(xp, *binarise(prediction, truth, mask), classes=2)

    return f1


# --- F1 ------------------------------------------------------------------------------------------


def _class_f1(xp, predicted, actual, mask, classes):
    """F1 of every class.

    Args:
      predicted: class numbers (or booleans) [N, ...].
      actual: the same of the truth.
      mask: bool[N].

    Returns:
      F1, number of true samples, number of predicted samples, each [..., classes].
    """
    mask = mask.reshape(mask.shape + (1,) * predicted.ndim)
    numbers = xp.arange(classes)
    predicted = mask & (predicted[..., None] == numbers)
    actual = mask & (actual[..., None] == numbers)
    hits, supports, guesses = (xp.sum(x, axis=0) for x in (predicted & actual, actual, predicted))
    return _divide(xp, 2 * hits, supports + guesses, 0), supports, guesses


def _weighted_f1(xp, predicted, actual, mask, classes):
    """Class F1 averaged by the number of true samples: [...]."""
    f1, supports, _ = _class_f1(xp, predicted, actual, mask, classes)
    return _divide(xp, xp.sum(f1 * supports, axis=-1), xp.sum(supports, axis=-1), xp.nan)


# --- classification: prediction float[N, C] scores, truth int[N], mask bool[N] --------------------


def accuracy(prediction, truth, mask):
    """Share of samples whose highest score (the first of equal ones) is the true class."""
    xp = prediction.__array_namespace__()
    return _mean(xp, xp.argmax(prediction, axis=-1) == truth, mask)


def f1_weighted(prediction, truth, mask):
    """Class F1 averaged by the number of true samples."""
    xp = prediction.__array_namespace__()
    return _weighted_f1(xp, xp.argmax(prediction, axis=-1), truth, mask, prediction.shape[-1])


def f1_macro(prediction, truth, mask):
    """Class F1 averaged over the classes that occur in truth or prediction."""
    xp = prediction.__array_namespace__()
    predicted = xp.argmax(prediction, axis=-1)
    f1, supports, guesses = _class_f1(xp, predicted, truth, mask, prediction.shape[-1])
    return _mean(xp, f1, supports + guesses > 0)


# --- multilabel: prediction float[N, C] probabilities, truth {0, 1}[N, C], mask bool[N] -----------


def label_wacc(prediction, truth, mask):
    """Weighted accuracy of every label, (TP N / P + TN) / (2 N), at threshold 0.5.

    That is the mean of the hit rates among the P positives and the N negatives. Of a label that
    has only positives or only negatives, the one rate that exists.

    Returns:
      float[C].
    """
    xp = prediction.__array_namespace__()
    right = (prediction > 0.5) == (truth > 0.5)
    sides = xp.stack([truth > 0.5, truth <= 0.5]) & mask[:, None]  # [2, N, C]
    counts = xp.sum(sides, axis=1)
    rates = _divide(xp, xp.sum(sides & right, axis=1), counts, 0)
    return _divide(xp, xp.sum(rates, axis=0), xp.sum(counts > 0, axis=0), xp.nan)


def label_f1(prediction, truth, mask):
    """Weighted F1 (over label off and label on) of every label, at threshold 0.5: float[C]."""
    xp = prediction.__array_namespace__()
    return _weighted_f1(xp, prediction > 0.5, truth > 0.5, mask, classes=2)


def wacc_mean(prediction, truth, mask):
    """Weighted accuracy, averaged over the labels."""
    return prediction.__array_namespace__().mean(label_wacc(prediction, truth, mask))


def f1_mean(prediction, truth, mask):
    """Weighted F1, averaged over the labels."""
    return prediction.__array_namespace__().mean(label_f1(prediction, truth, mask))


# -------------------------------------------------------------------------------------------------

FUNCTIONS: dict[str, Metric] = {
    "mae": mae,
    "corr": corr,
    "acc7": _rounded_accuracy(3),
    "acc5": _rounded_accuracy(2),
    "acc3": _rounded_accuracy(1),
    "acc2_has0": _binary_accuracy(_has0),
    "f1_has0": _binary_f1(_has0),
    "acc2_non0": _binary_accuracy(_non0),
    "f1_non0": _binary_f1(_non0),
    "accuracy": accuracy,
    "f1_weighted": f1_weighted,
    "f1_macro": f1_macro,
    "wacc_mean": wacc_mean,
    "f1_mean": f1_mean,
}


def f1_by_class(task: TaskSpec, prediction: Array, truth: Array) -> Array:
    """float[C]: F1 of every class, or of every label the weighted F1 of off and on.

    Args:
      task: a classification or multilabel.
      prediction: float[N, C], scores of the classes or probabilities of the labels.
      truth: int[N] or {0, 1}[N, C].
    """
    xp = prediction.__array_namespace__()
    everything = xp.ones(len(truth), bool)
    if task.kind == "multilabel":
        return label_f1(prediction, truth, everything)
    predicted = xp.argmax(prediction, axis=-1)
    return _class_f1(xp, predicted, truth, everything, task.outputs)[0]


BY_CLASS = "f1_class"  # what `f1_by_class` gives, in tables

HIGHER_IS_BETTER: dict[str, bool] = {
    name: name != "mae" for names in [*METRICS.values(), [BY_CLASS]] for name in names
}


def compute(task: TaskSpec, prediction: Array, truth: Array, mask: Array) -> dict[str, Array]:
    """The metrics that `task` asks for.

    Args:
      task: kind and metrics.
      prediction: float[N] in label units for a regression, else float[N, C] scores of the classes
        or probabilities of the labels. One that is not finite on a masked-in sample makes every
        metric NaN; comparisons would otherwise take NaN for a class and hide the divergence.
      truth: float[N], int[N] or {0, 1}[N, C], by kind.
      mask: bool[N], the samples that count.

    Returns:
      Scalars by metric name; NumPy's are float64, hence plain floats to `json`.

    Raises:
      ValueError: shapes that do not fit, which would broadcast.
    """
    expected = mask.shape if task.kind == "regression" else (*mask.shape, task.outputs)
    if prediction.shape != expected or len(truth) != len(mask):
        raise ValueError(
            f"task {task.name!r}: prediction {prediction.shape} and truth {truth.shape} do not fit "
            f"mask {mask.shape}; prediction should be {expected}"
        )
    xp = prediction.__array_namespace__()
    prediction = xp.astype(prediction, float)
    if task.kind == "regression":
        truth = xp.astype(xp.asarray(truth), float)
    finite = xp.isfinite(prediction)
    trusted = xp.all(finite | ~mask.reshape(mask.shape + (1,) * (prediction.ndim - 1)))
    prediction = xp.where(finite, prediction, 0)
    values = {name: FUNCTIONS[name](prediction, truth, mask) for name in task.metrics}
    return {name: xp.where(trusted, value, xp.nan)[()] for name, value in values.items()}


def score(task: TaskSpec, metric_values: Mapping[str, Array], reference: Array) -> Array:
    """The primary metric on one scale for all tasks, for selection: (-inf, 1], 1 is perfect.

    Args:
      task: its primary metric decides.
      metric_values: from `compute`.
      reference: MAE of always predicting the training median, > 0; the score of that prediction is
        then 0, whatever the labels' scale. Read only where the primary metric is the MAE.
    """
    value = metric_values[task.primary]
    return 1 - value / reference if task.primary == "mae" else value
