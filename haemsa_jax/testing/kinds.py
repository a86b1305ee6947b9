"""Whether a task kind keeps its interface: on random labels and logits, in NumPy and in JAX."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from haemsa_jax.config import TaskSpec, TrainConfig
from haemsa_jax.tasks import TaskKind, kind_of, metrics
from haemsa_jax.testing.comparing import require, require_close, require_shape

COUNT = 60  # labels that are drawn
STEPS, RATE = 300, 0.05  # of gradient descent, in units of the head's scale


def check_kind(kind: TaskKind, spec: TaskSpec, labels: Any = None, *, seed: int = 0) -> None:
    """Checks a task kind on labels of one task.

    - Heads' statistics, the loss and the distillation loss are finite and of their shapes; gradient
      descent on the loss makes a prediction more right; nothing is learnt from equal predictions,
      and nothing by the teacher.
    - Logits read alike in NumPy and JAX; metrics count masked-in samples alone, in both.
    - The best constant, linear yardsticks and what is for people have their shapes and types.

    Args:
      kind: the registered kind.
      spec: a task of that kind.
      labels: [N, ...] that may be; by default drawn, classes or 0 and 1 or numbers of the range.
      seed: of labels and logits.

    Raises:
      AssertionError: one of these does not hold.
    """
    require(kind_of(spec.kind) is kind, f"{spec.kind!r} is registered as another object")
    rng = np.random.default_rng(seed)
    labels = _labels(kind, spec, rng) if labels is None else np.asarray(labels)
    require_shape("labels", labels, (len(labels), *kind.label_shape(spec)))
    require(bool(kind.valid_labels(spec, labels)[0].all()), "valid_labels refuses these labels")
    head = kind.head_statistics(spec, labels)
    for name in ("offset", "scale"):
        require_shape(f"head_statistics[{name!r}]", head[name], (kind.outputs(spec),))
        require(head[name].dtype == np.float32, f"head_statistics[{name!r}] is no float32")
        require(bool(np.isfinite(head[name]).all()), f"head_statistics[{name!r}] is not finite")
    drawn = rng.normal(size=(len(labels), kind.outputs(spec)))
    logits = head["offset"] + head["scale"] * drawn.astype(np.float32)
    head = jax.tree.map(jnp.asarray, head)
    _check_learning(kind, spec, head, jnp.asarray(logits), jnp.asarray(labels))
    predictions = _check_reading(kind, spec, logits.astype(np.float64))
    _check_metrics(spec, predictions, labels)
    _check_yardsticks(kind, spec, labels)
    _check_words(kind, spec, predictions, labels)


def _labels(kind: TaskKind, spec: TaskSpec, rng: np.random.Generator) -> np.ndarray:
    shape = (COUNT, *kind.label_shape(spec))
    if kind.label_dtype == np.int32:
        return rng.integers(0, len(spec.classes), shape).astype(np.int32)
    if spec.classes:
        return rng.integers(0, 2, shape).astype(np.float32)
    low, high = spec.range or (-3.0, 3.0)
    return rng.uniform(low, high, shape).astype(np.float32)


def _check_learning(kind: TaskKind, spec: TaskSpec, head, logits, labels) -> None:
    config = TrainConfig()

    def loss(logits, label):
        return kind.loss(spec, config, None, head, logits, label)

    def right(logits, label):
        return kind.rightness(spec, head, logits, label)

    def step(logits, _):
        slope = jax.vmap(jax.grad(loss))(logits, labels)
        return logits - RATE * head["scale"] ** 2 * slope, None

    before = jax.vmap(loss)(logits, labels)
    require_shape("the loss of each sample", before, labels.shape[:1])
    require(bool(jnp.isfinite(before).all()), "the loss is not finite")
    better = jax.jit(lambda x: jax.lax.scan(step, x, length=STEPS)[0])(logits)
    require(bool(jnp.isfinite(better).all()), "the gradient of the loss is not finite")
    after = jax.vmap(loss)(better, labels)
    require(after.mean() < before.mean(), "gradient descent does not lower the loss")
    rightness = [jax.vmap(right)(x, labels) for x in (logits, better)]
    for values in rightness:
        require_shape("rightness of each sample", values, labels.shape[:1])
        within = (values >= 0) & (values <= 1)
        require(bool(within.all()), "rightness lies outside [0, 1]")
    means = [float(values.mean()) for values in rightness]
    require(means[0] < means[1], f"a lower loss is not more right: {means[0]:.3g}, {means[1]:.3g}")

    def apart(logits, teacher):
        return kind.distillation_loss(spec, head, logits, teacher)

    same, other = apart(logits[0], logits[0]), apart(logits[0], logits[1])
    require_shape("distillation_loss", same, ())
    require(abs(same) < 1e-5 < other, f"distillation_loss of equal logits is {same}, else {other}")
    learnt = jax.grad(lambda teacher: apart(logits[0], teacher))(logits[1])
    require(bool((learnt == 0).all()), "distillation_loss has a gradient by its teacher")


def _check_reading(kind: TaskKind, spec: TaskSpec, logits: np.ndarray) -> np.ndarray:
    predictions = kind.readable(spec, logits)
    require_shape("readable", predictions, (len(logits), *kind.prediction_shape(spec)))
    require(predictions.dtype == np.float64, f"readable makes {predictions.dtype} of float64")
    rounded = jax.jit(lambda x: kind.readable(spec, x))(jnp.asarray(logits, jnp.float32))
    require_close("readable in JAX", rounded, predictions)
    require_close("readable of one", kind.readable(spec, logits[0]), predictions[0])
    return predictions


def _check_metrics(spec: TaskSpec, predictions: np.ndarray, labels: np.ndarray) -> None:
    mask = np.arange(len(labels)) % 3 > 0
    junk = predictions.copy()
    junk[~mask] = np.nan
    expected = metrics.compute(spec, predictions[mask], labels[mask], mask[mask])
    for what, given in (("predictions", predictions), ("NaN", junk)):
        values = metrics.compute(spec, given, labels, mask)
        require_close(f"metrics where {what} are masked", values, expected, 1e-9)
    traced = jax.jit(lambda p, t, m: metrics.compute(spec, p, t, m))(
        jnp.asarray(junk, jnp.float32), jnp.asarray(labels), jnp.asarray(mask)
    )
    require_close("metrics in JAX", traced, expected, 1e-3)


def _check_yardsticks(kind: TaskKind, spec: TaskSpec, labels: np.ndarray) -> None:
    constant = kind.constant(spec, labels)
    require_shape("constant", constant, kind.prediction_shape(spec))
    reference = kind.reference(spec, labels)
    require(reference > 0, f"reference is {reference}, not positive")
    targets = kind.linear_targets(spec, labels)
    require(len(targets) == len(labels) and targets.ndim < 3, f"linear_targets is {targets.shape}")
    fitted = kind.linear_predictions(spec, targets)
    require_shape("linear_predictions", fitted, (len(labels), *kind.prediction_shape(spec)))
    counts = kind.class_counts(spec, labels)
    require(len(counts) in (0, len(spec.classes)), f"class_counts is of {len(counts)} classes")
    f1 = kind.class_f1(spec, fitted, labels)
    require({*f1} <= {*spec.classes}, f"class_f1 is of {', '.join(f1)}")


def _check_words(kind: TaskKind, spec: TaskSpec, predictions, labels: np.ndarray) -> None:
    words = {
        "describe": kind.describe(spec),
        "label_words": kind.label_words(spec, labels[0]),
        "prediction_words": kind.prediction_words(spec, predictions[0]),
    }
    for name, text in words.items():
        require(isinstance(text, str) and bool(text), f"{name} is {text!r}, no text")
    summary = kind.summary(spec, predictions[0], 0.1 * np.ones_like(predictions[0]))
    known = set(summary.probabilities) in ({*()}, {*spec.classes})
    require(known, f"summary has probabilities of {', '.join(summary.probabilities)}")
    errors = kind.errors(spec, predictions, labels)
    require_shape("errors", errors, labels.shape[:1])
    require(bool(np.isfinite(errors).all()), "errors are not finite")
    changed = np.stack([predictions, predictions, predictions[::-1]])
    moved = kind.moved(spec, changed, labels)
    require_shape("moved", moved, (2,))
    require(moved[0] == 0 < moved[1], f"moved is {moved}; expected 0 where nothing changed")
