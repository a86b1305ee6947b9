"""Yardsticks: what a constant and a ridge regression reach on the same splits, in NumPy.

A sample's features are, per modality, the mean over its tokens, standardised with the training
split and clipped to +-5 standard deviations, zeros where the modality is absent, and one column
that says whether it is present. The ridge is chosen on validation. A network that does not beat
`ridge all` has learnt nothing from order, from interaction or from time.
"""

import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from haemsa_jax.config import TaskSpec
from haemsa_jax.data.dataset import Dataset, Split
from haemsa_jax.training import metrics

ALPHAS = 10.0 ** np.arange(0, 5.5, 0.5)
CLIP = 5.0  # standard deviations

Predict = Callable[[Split], np.ndarray]


def evaluate(dataset: Dataset, task: str, past: int = 3) -> dict[str, dict[str, float]]:
    """Test metrics of every yardstick for one task: row name -> metric -> value."""
    return {
        name: measure(dataset.tasks[task], predict, dataset.splits["test"])
        for name, predict in fit(dataset, task, past).items()
    }


def fit(dataset: Dataset, task: str, past: int = 3) -> dict[str, Predict]:
    """Every yardstick for one task, fitted on training, its penalty chosen on validation.

    Args:
      dataset: with the splits train and validation.
      task: a name from `dataset.tasks`.
      past: preceding utterances of the same group that `ridge all + context` sees beside the
        sample itself; 0, or a data set without conversations, leaves that row out.

    Returns:
      row name -> predictions for all rows of a split. The rows are `median` (for a regression) or
      `majority`, `ridge MODALITY` for each modality, and where there are several `late fusion` (the
      mean of those, an absent modality filled with zeros) and `ridge all`; then
      `ridge all + context`.
    """
    modalities = tuple(dataset.widths)
    constant = "median" if dataset.tasks[task].kind == "regression" else "majority"
    alone = [_ridge(dataset, task, (modality,), 0) for modality in modalities]
    fitted = {constant: _constant(dataset, task)}
    fitted |= {f"ridge {m}": one for m, one in zip(modalities, alone, strict=True)}
    if len(modalities) > 1:
        fitted["late fusion"] = lambda split: np.mean([one(split) for one in alone], axis=0)
        fitted["ridge all"] = _ridge(dataset, task, modalities, 0)
    if dataset.conversational and past:
        fitted["ridge all + context"] = _ridge(dataset, task, modalities, past)
    return fitted


def measure(spec: TaskSpec, predict: Predict, split: Split) -> dict[str, float]:
    """Metrics of a yardstick on the labelled rows of a split."""
    labels, labelled = split.labels[spec.name], split.labelled[spec.name]
    values = metrics.compute(spec, predict(split), labels, labelled)
    return {name: float(value) for name, value in values.items()}


def _constant(dataset: Dataset, task: str) -> Predict:
    """The median of the training labels; of classes and labels, their frequencies."""
    train, spec = dataset.splits["train"], dataset.tasks[task]
    labels = train.labels[task][train.labelled[task]]
    centre = np.median if spec.kind == "regression" else np.mean
    constant = centre(_targets(spec, labels), axis=0)
    return lambda split: np.broadcast_to(constant, (len(split), *constant.shape))


def _targets(spec: TaskSpec, labels: np.ndarray) -> np.ndarray:
    """Labels as what a regression can fit: float64[N], or {0, 1} of float64[N, C]."""
    if spec.kind == "classification":
        return np.eye(spec.outputs)[labels]
    return np.asarray(labels, np.float64)


# --- ridge ---------------------------------------------------------------------------------------


def _ridge(dataset: Dataset, task: str, modalities: Sequence[str], past: int) -> Predict:
    """The ridge that is best on validation."""
    spec, train = dataset.tasks[task], dataset.splits["train"]
    columns = [functools.partial(_columns, m, *_scale(train, m)) for m in modalities]

    def features(split):
        return _with_past(np.concatenate([x(split) for x in columns], axis=1), split.group, past)

    labelled = train.labelled[task]
    targets = _targets(spec, train.labels[task][labelled])
    sign = 1 if metrics.HIGHER_IS_BETTER[spec.primary] else -1
    validation = dataset.splits["validation"]
    seen = features(validation)

    def validation_score(found):
        weights, intercept = found
        said = measure(spec, lambda _: seen @ weights + intercept, validation)
        return sign * said[spec.primary]

    fits = _fits(spec, features(train)[labelled], targets)
    weights, intercept = max(fits, key=validation_score)
    return lambda split: features(split) @ weights + intercept


def _fits(spec: TaskSpec, x: np.ndarray, y: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Weights and intercept for every alpha, the strongest first.

    The intercept is not penalised. For a multilabel task, where rare labels hardly ever reach a
    probability of 0.5, every fit is offered a second time with its threshold at the label's
    frequency.
    """
    x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
    for weights in _ridge_path(x - x_mean, y - y_mean):
        intercept = y_mean - x_mean @ weights
        yield weights, intercept
        if spec.kind == "multilabel":
            yield weights, intercept + 0.5 - y_mean


def _ridge_path(x: np.ndarray, y: np.ndarray) -> Iterator[np.ndarray]:
    """argmin |y - x w|^2 + alpha |w|^2 for every alpha, the strongest first.

    Solved in the smaller of the two Gram matrices, `w = (x'x + aI)^-1 x'y = x'(xx' + aI)^-1 y`. One
    system an alpha costs less than the eigenvectors that would serve all of them.
    """
    wide = x.shape[1] > x.shape[0]
    gram = x @ x.T if wide else x.T @ x
    right = y if wide else x.T @ y
    for alpha in ALPHAS[::-1]:
        solution = np.linalg.solve(gram + alpha * np.eye(len(gram)), right)
        yield x.T @ solution if wide else solution


# --- features ------------------------------------------------------------------------------------


def _scale(train: Split, modality: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the training samples' token means, float64[d] each."""
    seen = _token_mean(train, modality)[train.presence[modality]]
    if not len(seen):
        return np.zeros(seen.shape[1]), np.ones(seen.shape[1])
    scale = seen.std(axis=0)
    return seen.mean(axis=0), np.where(scale > 0, scale, 1)


def _columns(modality: str, centre: np.ndarray, scale: np.ndarray, split: Split) -> np.ndarray:
    """float64[N, d + 1], the features of one modality and whether it is there."""
    present = split.presence[modality][:, None]
    standard = np.clip((_token_mean(split, modality) - centre) / scale, -CLIP, CLIP)
    return np.concatenate([np.where(present, standard, 0), present], axis=1)


def _token_mean(split: Split, modality: str) -> np.ndarray:
    """float64[N, d]; zeros without a token."""
    features, mask = split.features[modality], split.masks[modality]
    total = np.sum(features, axis=1, dtype=np.float64, where=mask[..., None])
    return total / np.maximum(mask.sum(axis=1), 1)[:, None]


def _with_past(x: np.ndarray, group: np.ndarray, past: int) -> np.ndarray:
    """`[N, d] -> [N, (past + 1) d]`: the rows before are appended, zeros where the group begins."""
    parts = [x]
    for distance in range(1, past + 1):
        earlier = np.zeros_like(x)
        same = group[distance:] == group[:-distance]
        earlier[distance:][same] = x[:-distance][same]
        parts.append(earlier)
    return np.concatenate(parts, axis=1)
