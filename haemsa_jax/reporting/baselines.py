"""Yardsticks: what a constant and a ridge regression (scikit-learn) reach on the same splits.

A sample's features are, per modality, the mean over its tokens, standardised with the training
split and clipped to +-5 standard deviations, zeros where the modality is absent, and one column
that says whether it is present. The penalty is chosen on validation. A network that does not beat
`ridge all` has learnt nothing from order, from interaction or from time.
"""

import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import numpy as np
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from haemsa_jax.config import TaskSpec
from haemsa_jax.data.dataset import Dataset, Split
from haemsa_jax.data.values import numbers
from haemsa_jax.errors import InputError
from haemsa_jax.tasks import kind_of, kinds, metrics

ALPHAS = 10.0 ** np.arange(0, 5.5, 0.5)
LATE_FUSION = "late fusion"  # of the ridges of single modalities
CLIP = 5.0  # standard deviations

# Predictions of all rows of a split: float[N] in label units, or [N, C] scores or probabilities.
Predict = Callable[[Split], np.ndarray]
Fit = Callable[[Dataset, str], Predict]  # of a data set and the name of one of its tasks
Features = Callable[[Split], np.ndarray]


def evaluate(
    dataset: Dataset, task: str, *, split: str, past: int = 3
) -> dict[str, dict[str, float]]:
    """Metrics of every yardstick for one task on one split.

    Args:
      dataset: with the splits train, validation and the one to read.
      task: a name from `dataset.tasks`.
      split: the one to read; the penalty is chosen on validation whichever it is.
      past: as `fit` takes it.

    Returns:
      row name -> metric -> value.
    """
    return {
        name: measure(dataset.tasks[task], predict, dataset.splits[split])
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
    constant = kind_of(dataset.tasks[task].kind).constant_name
    alone = [_ridge(dataset, task, (modality,), 0) for modality in modalities]
    fitted = {constant: _constant(dataset, task)}
    fitted |= {f"ridge {m}": ridge for m, ridge in zip(modalities, alone, strict=True)}
    if len(modalities) > 1:
        fitted[LATE_FUSION] = lambda split: np.mean([ridge(split) for ridge in alone], axis=0)
        fitted["ridge all"] = _ridge(dataset, task, modalities, 0)
    if dataset.conversational and past:
        fitted["ridge all + context"] = _ridge(dataset, task, modalities, past)
    return fitted


def is_yardstick(row: str) -> bool:
    """Whether a row of results has the name of a yardstick."""
    constants = {kind_of(name).constant_name for name in kinds()}
    return row in {LATE_FUSION, *constants} or row.startswith("ridge ")


def measure(spec: TaskSpec, predict: Predict, split: Split) -> dict[str, float]:
    """Metrics of a yardstick on the labelled rows of a split."""
    labels, labelled = split.labels[spec.name], split.labelled[spec.name]
    values = metrics.compute(spec, predict(split), labels, labelled)
    return {name: float(value) for name, value in values.items()}


def fit_others(others: Mapping[str, Fit], dataset: Dataset, task: str) -> dict[str, Predict]:
    """Predictions from anywhere for one task, of which what does not fit it is refused.

    Args:
      others: by name of its row what makes a `Predict`; it may have been fitted long before.
      dataset: with the splits that those read.
      task: a name from `dataset.tasks`.
    """
    spec = dataset.tasks[task]
    return {name: checked(name, spec, fit(dataset, task)) for name, fit in others.items()}


def check_names(others: Mapping[str, Fit], taken: Collection[str]) -> None:
    """Refuses a name that another row has.

    Raises:
      InputError: there is such a row.
    """
    for name in others:
        if name in taken:
            raise InputError(f"{name} is a row already; choose another name for your own")


def checked(name: str, spec: TaskSpec, predict: Predict) -> Predict:
    """The same predictions, of which other shapes and values that are not finite are refused."""

    def predictions(split: Split) -> np.ndarray:
        where, shape = f"{name}, task {spec.name!r}", (len(split), *spec.prediction_shape)
        values = numbers(predict(split), where, "predictions", shape=shape, dtype=np.float64)
        if not np.isfinite(values).all():
            row = int(np.argwhere(~np.isfinite(values))[0][0])
            raise InputError(f"{where}: the prediction of {split.ids[row]!r} is not finite")
        return values

    return predictions


def _constant(dataset: Dataset, task: str) -> Predict:
    """The median of the training labels; of classes and labels, their frequencies."""
    train, spec = dataset.splits["train"], dataset.tasks[task]
    labels = train.labels[task][train.labelled[task]]
    constant = kind_of(spec.kind).constant(spec, labels)
    return lambda split: np.broadcast_to(constant, (len(split), *constant.shape))


# --- ridge ---------------------------------------------------------------------------------------


def _ridge(dataset: Dataset, task: str, modalities: Sequence[str], past: int) -> Predict:
    """The ridge regression whose penalty is best on validation."""
    spec, train = dataset.tasks[task], dataset.splits["train"]
    columns = [_columns(train, modality) for modality in modalities]

    def features(split: Split) -> np.ndarray:
        return _with_past(np.concatenate([x(split) for x in columns], axis=1), split.group, past)

    labelled = train.labelled[task]
    kind = kind_of(spec.kind)
    targets = kind.linear_targets(spec, train.labels[task][labelled])
    sign = 1 if metrics.metric_of(spec.primary).higher_is_better else -1
    validation = dataset.splits["validation"]
    seen = features(validation)

    def validation_score(fitted: Callable[[np.ndarray], np.ndarray]) -> float:
        values = measure(spec, lambda _: kind.linear_predictions(spec, fitted(seen)), validation)
        return sign * values[spec.primary]

    best = max(_fits(spec, features(train)[labelled], targets), key=validation_score)
    return lambda split: kind.linear_predictions(spec, best(features(split)))


def _fits(
    spec: TaskSpec, x: np.ndarray, y: np.ndarray
) -> Iterator[Callable[[np.ndarray], np.ndarray]]:
    """Linear predictions from features for every penalty, the strongest first.

    The intercept is not penalised. Every fit is offered once for each of the kind's shifts of it.
    """
    for alpha in ALPHAS[::-1]:
        model = Ridge(alpha=alpha, solver="cholesky").fit(x, y)
        for shift in kind_of(spec.kind).intercept_shifts(spec, y.mean(axis=0)):
            yield functools.partial(_shifted, model, shift)


def _shifted(model: Ridge, shift: np.ndarray | float, x: np.ndarray) -> np.ndarray:
    return model.predict(x) + shift


# --- features ------------------------------------------------------------------------------------


def _columns(train: Split, modality: str) -> Features:
    """float64[N, d + 1] of a split: one modality standardised as in training, and its presence."""
    seen = _token_mean(train, modality)[train.presence[modality]]
    scaler = StandardScaler().fit(seen) if len(seen) else None

    def columns(split: Split) -> np.ndarray:
        present = split.presence[modality][:, None]
        means = _token_mean(split, modality)
        standard = scaler.transform(means) if scaler else means
        return np.concatenate([np.where(present, standard.clip(-CLIP, CLIP), 0), present], axis=1)

    return columns


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
