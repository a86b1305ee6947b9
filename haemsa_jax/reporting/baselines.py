"""Yardsticks: what a constant and a ridge regression reach on the same splits, in NumPy.

A sample's features are, per modality, the mean over its tokens, standardised with the training
split and clipped to +-5 standard deviations, zeros where the modality is absent, and one column
that says whether it is present. The ridge is chosen on validation; the test split is
read once, at the end. A network that does not beat `ridge all` has learnt nothing from order, from
interaction or from time.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from haemsa_jax.config import TaskSpec
from haemsa_jax.data.dataset import Dataset, Split
from haemsa_jax.training import metrics

ALPHAS = 10.0 ** np.arange(0, 5.5, 0.5)
CLIP = 5.0  # standard deviations


def evaluate(dataset: Dataset, task: str, past: int = 3) -> dict[str, dict[str, float]]:
    """Test metrics of every yardstick for one task.

    Args:
      dataset: with the splits train, validation and test.
      task: a name from `dataset.tasks`.
      past: preceding utterances of the same group that `ridge all + context` sees beside the
        sample itself; 0, or a data set without conversations, leaves that row out.

    Returns:
      row name -> metric -> value. The rows are `median` (for a regression) or `majority`,
      `ridge MODALITY` for each modality, and where there are several `ridge all`; then
      `ridge all + context`.
    """
    modalities = tuple(dataset.widths)
    constant = "median" if dataset.tasks[task].kind == "regression" else "majority"
    predictions = {constant: _constant(dataset, task)}
    for modality in modalities:
        predictions[f"ridge {modality}"] = _ridge(dataset, task, (modality,), 0)
    if len(modalities) > 1:
        predictions["ridge all"] = _ridge(dataset, task, modalities, 0)
    if dataset.conversational and past:
        predictions["ridge all + context"] = _ridge(dataset, task, modalities, past)
    return {name: _metrics(dataset, task, "test", made) for name, made in predictions.items()}


def _metrics(dataset: Dataset, task: str, split: str, prediction) -> dict[str, float]:
    rows = dataset.splits[split]
    values = metrics.compute(
        dataset.tasks[task], prediction, rows.labels[task], rows.labelled[task]
    )
    return {name: float(value) for name, value in values.items()}


def _constant(dataset: Dataset, task: str) -> np.ndarray:
    """The median of the training labels; of classes and labels, their frequencies."""
    train, spec = dataset.splits["train"], dataset.tasks[task]
    labels = train.labels[task][train.labelled[task]]
    centre = np.median if spec.kind == "regression" else np.mean
    constant = centre(_targets(spec, labels), axis=0)
    return np.broadcast_to(constant, (len(dataset.splits["test"]), *constant.shape))


def _targets(spec: TaskSpec, labels: np.ndarray) -> np.ndarray:
    """Labels as what a regression can fit: float64[N], or {0, 1} of float64[N, C]."""
    if spec.kind == "classification":
        return np.eye(spec.outputs)[labels]
    return np.asarray(labels, np.float64)


# --- ridge ---------------------------------------------------------------------------------------


def _ridge(dataset: Dataset, task: str, modalities: Sequence[str], past: int) -> np.ndarray:
    """Predictions for the test split by the ridge that is best on validation."""
    spec, train = dataset.tasks[task], dataset.splits["train"]
    features = {
        name: _with_past(x, dataset.splits[name].group, past)
        for name, x in _features(dataset, modalities).items()
    }
    labelled = train.labelled[task]
    targets = _targets(spec, train.labels[task][labelled])
    sign = 1 if metrics.HIGHER_IS_BETTER[spec.primary] else -1

    def validation_score(fit):
        weights, intercept = fit
        prediction = features["validation"] @ weights + intercept
        return sign * _metrics(dataset, task, "validation", prediction)[spec.primary]

    fits = _fits(spec, features["train"][labelled], targets)
    weights, intercept = max(fits, key=validation_score)
    return features["test"] @ weights + intercept


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


def _features(dataset: Dataset, modalities: Sequence[str]) -> dict[str, np.ndarray]:
    """Per split float64[N, sum(d_m + 1)]."""
    columns = {name: [] for name in dataset.splits}
    for modality in modalities:
        means = {name: _token_mean(split, modality) for name, split in dataset.splits.items()}
        seen = means["train"][dataset.splits["train"].presence[modality]]
        centre, scale = (seen.mean(axis=0), seen.std(axis=0)) if len(seen) else (0.0, 1.0)
        scale = np.where(scale > 0, scale, 1)
        for name, split in dataset.splits.items():
            present = split.presence[modality][:, None]
            standard = np.clip((means[name] - centre) / scale, -CLIP, CLIP)
            columns[name] += [np.where(present, standard, 0), present]
    return {name: np.concatenate(parts, axis=1) for name, parts in columns.items()}


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
