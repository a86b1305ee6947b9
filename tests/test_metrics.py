"""Metrics against values worked out by hand, against scikit-learn, and NumPy against JAX."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from haemsa_jax.config import TaskSpec
from haemsa_jax.errors import InputError
from haemsa_jax.tasks import Metric, kind_of, metrics, register_metric

KINDS = ("regression", "classification", "multilabel")
NUMBERS, CLASSES, LABELS = (kind_of(name).metrics for name in KINDS)
SENTIMENT = TaskSpec("sentiment", "regression", NUMBERS, range=(-3, 3))
EMOTION = TaskSpec("emotion", "classification", CLASSES, ("a", "b", "c", "d"))
EMOTIONS = TaskSpec("emotions", "multilabel", LABELS, ("joy", "fear", "anger"))
TASKS = (SENTIMENT, EMOTION, EMOTIONS)


def everything(count):
    return np.ones(count, bool)


def regression(prediction, truth):
    prediction, truth = np.asarray(prediction, float), np.asarray(truth, float)
    return metrics.compute(SENTIMENT, prediction, truth, everything(len(truth)))


def one_hot(labels, classes):
    return np.eye(classes)[np.asarray(labels)]


def random_samples(task, count, seed=0):
    """Random (prediction, truth, mask) with zeros, ties and clipped values among the labels."""
    rng = np.random.default_rng(seed)
    mask = rng.random(count) < 0.7
    if task.kind == "regression":
        truth = np.round(2 * rng.normal(size=count)) / 2
        return truth + rng.normal(size=count), truth, mask
    prediction = rng.random((count, task.outputs))
    if task.kind == "classification":
        return prediction, rng.integers(task.outputs, size=count), mask
    return prediction, (rng.random(prediction.shape) < 0.3).astype(np.float32), mask


def test_every_metric_of_every_kind_is_registered():
    names = {*NUMBERS, *CLASSES, *LABELS}
    assert {*names, metrics.BY_CLASS} <= set(metrics.METRICS)
    assert all(metrics.metric_of(name).function for name in names)
    assert [name for name in names if not metrics.metric_of(name).higher_is_better] == ["mae"]


def test_a_metric_of_ones_own(monkeypatch):
    """It fits a kind of the library, and is scored against what the best constant reaches."""
    monkeypatch.setattr(metrics, "METRICS", dict(metrics.METRICS))

    def mse(prediction, truth, mask):
        xp = prediction.__array_namespace__()
        return xp.sum(xp.where(mask, (prediction - truth) ** 2, 0)) / xp.sum(mask)

    with pytest.raises(InputError, match="metric 'mse' does not fit a regression"):
        TaskSpec("x", "regression", ["mse"], range=(-3, 3))
    register_metric(
        Metric("mse", mse, "MSE", unit="", higher_is_better=False, kinds=("regression",))
    )
    task = TaskSpec("x", "regression", ["mse"], range=(-3, 3))
    values = metrics.compute(task, np.array([0.0, 2.0]), np.array([0.0, 1.0]), everything(2))
    assert values == {"mse": 0.5}
    # The median of 0, 0 and 3 is 0: 9 / 3.
    reference = kind_of(task.kind).reference(task, np.array([0.0, 0.0, 3.0], np.float32))
    assert reference == 3.0
    assert kind_of(task.kind).score(task, values, reference) == pytest.approx(1 - 0.5 / 3)
    with pytest.raises(InputError, match="metric 'mse' does not fit a classification"):
        TaskSpec("x", "classification", ("mse",), ("a", "b"))
    with pytest.raises(InputError, match="'mse' is already registered"):
        register_metric(Metric("mse", mse, "MSE"))
    with pytest.raises(InputError, match="metric 'rmse' is unknown; choose from mae, corr"):
        metrics.metric_of("rmse")


def test_regression_by_hand():
    # errors 1, 1, 0, 2 -> MAE 1
    # deviations: prediction (mean 1) -1, 1, -1, 1; truth (mean 0) -1, -1, -1, 3
    #   covariance sum 1 - 1 + 1 + 3 = 4, sums of squares 4 and 12 -> corr 4 / sqrt(48)
    # levels up to 3: 0 2 0 2 against -1 -1 -1 3 -> 0; v >= 0: 1 1 1 1 against 0 0 0 1 -> 1/4
    values = regression([0, 2, 0, 2], [-1, -1, -1, 3])
    assert values["mae"] == (1 + 3 + 1 + 1) / 4
    assert values["corr"] == pytest.approx(4 / np.sqrt(48), abs=1e-15)
    assert values["acc7"] == 0
    assert values["acc2_has0"] == 1 / 4


def test_mae_and_corr_are_not_clipped():
    values = regression([9, 0, -9], [3, 0, -3])
    assert values["mae"] == 4
    assert values["corr"] == pytest.approx(1, abs=1e-15)
    assert values["acc7"] == 1  # +-9 clipped to +-3


def test_levels_round_half_to_even():
    # 0.5 -> 0, 1.5 -> 2, -0.5 -> 0, 2.5 -> 2 (half away from zero would give 1, 2, -1, 3)
    values = regression([0.5, 1.5, -0.5, 2.5], [0, 2, 0, 2])
    assert values["acc7"] == values["acc5"] == values["acc3"] == 1
    assert regression([0.5, 1.5, -0.5, 2.5], [1, 2, -1, 3])["acc7"] == 1 / 4


def test_levels_are_clipped_before_rounding():
    # prediction 2.6 against truth 1.8: Acc-7 compares 3 with 2, Acc-5 2 with 2
    values = regression([2.6], [1.8])
    assert (values["acc7"], values["acc5"], values["acc3"]) == (0, 1, 1)


def test_has0_and_non0():
    # truth      -2  0  0  1  2      has0 truth 0 1 1 1 1, prediction 0 0 1 1 0: 3 of 5 right
    # prediction -1 -1  1  0 -1      non0 truth 0 1 1 (-2, 1, 2), prediction 0 0 0: 1 of 3 right
    # f1_has0: class 0: TP 1, 1 true, 3 predicted: 2/4; class 1: TP 2, 4 true, 2 predicted: 4/6
    #          weighted (1 * 1/2 + 4 * 2/3) / 5 = 19/30
    # f1_non0: class 0: TP 1, 1 true, 3 predicted: 2/4; class 1: 0; weighted (1 * 1/2) / 3 = 1/6
    values = regression([-1, -1, 1, 0, -1], [-2, 0, 0, 1, 2])
    assert values["acc2_has0"] == 3 / 5
    assert values["acc2_non0"] == 1 / 3
    assert values["f1_has0"] == pytest.approx(19 / 30, abs=1e-15)
    assert values["f1_non0"] == pytest.approx(1 / 6, abs=1e-15)


def test_f1_is_weighted_by_the_truth():
    # one of four is negative, nobody predicted so: class 1 has TP 3, 3 true, 4 predicted: 6/7
    #   weighted by the truth: 3/4 * 6/7 = 9/14; weighted by the prediction it would be 6/7
    values = regression([1, 1, 1, 1], [-1, 1, 1, 1])
    assert values["f1_non0"] == pytest.approx(9 / 14, abs=1e-15)


@pytest.mark.parametrize("constant", [0.0, 0.1, -1e3, 1 / 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_variance_is_no_correlation(constant, dtype):
    truth = np.linspace(-3, 3, 7)
    flat = np.full(7, constant, dtype)
    for prediction, target in ((flat, truth), (truth, flat), (flat, flat)):
        assert metrics.corr(prediction, target, everything(7)) == 0
        jitted = jax.jit(metrics.corr)
        assert jitted(jnp.asarray(prediction), jnp.asarray(target), everything(7)) == 0


def test_a_single_sample():
    values = regression([1.2], [1.0])
    assert values["mae"] == pytest.approx(0.2)
    assert values["corr"] == 0
    assert values["acc7"] == values["acc2_non0"] == values["f1_non0"] == 1


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.kind)
def test_no_sample_is_nan(task):
    prediction, truth, mask = random_samples(task, 5)
    values = metrics.compute(task, prediction, truth, mask & False)
    assert all(np.isnan(value) for value in values.values())


def test_non0_without_a_label_that_is_not_0():
    values = regression([1, -1], [0, 0])
    assert np.isnan(values["acc2_non0"]) and np.isnan(values["f1_non0"])
    assert values["acc2_has0"] == 1 / 2


def test_classification_by_hand():
    # truth 0 0 0 1 1 2, predicted 0 0 1 1 2 2; class 3 occurs nowhere
    #   class 0: TP 2, 3 true, 2 predicted: 4/5; 1: TP 1, 2 true, 2 predicted: 2/4;
    #   class 2: TP 1, 1 true, 2 predicted: 2/3
    #   macro (4/5 + 1/2 + 2/3) / 3 = 59/90; weighted (3 * 4/5 + 2 * 1/2 + 2/3) / 6 = 61/90
    scores = one_hot([0, 0, 1, 1, 2, 2], 4)
    values = metrics.compute(EMOTION, scores, np.array([0, 0, 0, 1, 1, 2]), everything(6))
    assert values["accuracy"] == 4 / 6
    assert values["f1_macro"] == pytest.approx(59 / 90, abs=1e-15)
    assert values["f1_weighted"] == pytest.approx(61 / 90, abs=1e-15)


def test_constant_scores_choose_the_first_class():
    # class 0: TP 1, 1 true, 4 predicted: 2/5; the three others have F1 0
    values = metrics.compute(EMOTION, np.zeros((4, 4)), np.arange(4), everything(4))
    assert values["accuracy"] == 1 / 4
    assert values["f1_weighted"] == values["f1_macro"] == pytest.approx(2 / 5 / 4, abs=1e-15)


def test_multilabel_by_hand():
    # joy:   truth 1 1 0 0 0, predicted 1 0 1 0 0: TP 1, P 2, TN 2, N 3
    #        wacc (1 * 3/2 + 2) / (2 * 3) = 7/12
    #        F1 on: 2 / (2 + 2), off: 4 / (3 + 3); weighted (2 * 1/2 + 3 * 2/3) / 5 = 3/5
    # fear:  truth 0 0 0 0 1, predicted never: TP 0, P 1, TN 4, N 4: wacc 4/8
    #        F1 on 0, off 8/9; weighted 4/5 * 8/9 = 32/45
    # anger: truth never, predicted 1 0 0 0 0: only negatives, 4 of 5 right: wacc 4/5
    #        F1 off 8/9, weighted 8/9
    truth = np.array([[1, 0, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0], [0, 1, 0]])
    prediction = np.array(
        [[0.9, 0.1, 0.8], [0.2, 0.1, 0.0], [0.6, 0.5, 0.1], [0.1, 0.1, 0.2], [0.3, 0.4, 0.5]]
    )
    arguments = (prediction, truth, everything(5))
    np.testing.assert_allclose(metrics.label_wacc(*arguments), [7 / 12, 1 / 2, 4 / 5], atol=1e-15)
    np.testing.assert_allclose(metrics.label_f1(*arguments), [3 / 5, 32 / 45, 8 / 9], atol=1e-15)
    values = metrics.compute(EMOTIONS, *arguments)
    assert values["wacc_mean"] == pytest.approx((7 / 12 + 1 / 2 + 4 / 5) / 3, abs=1e-15)
    assert values["f1_mean"] == pytest.approx((3 / 5 + 32 / 45 + 8 / 9) / 3, abs=1e-15)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.kind)
def test_masked_equals_sliced(task):
    prediction, truth, mask = random_samples(task, 60)
    sliced = metrics.compute(task, prediction[mask], truth[mask], everything(int(mask.sum())))
    prediction[~mask] = np.array([np.nan, np.inf])[np.arange((~mask).sum()) % 2].reshape(
        (-1,) + (1,) * (prediction.ndim - 1)
    )
    truth[~mask] = -7
    masked = metrics.compute(task, prediction, truth, mask)
    assert masked == pytest.approx(sliced, abs=1e-14)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.kind)
def test_a_diverged_prediction_has_no_metric(task):
    prediction, truth, mask = random_samples(task, 9)
    prediction[np.argmax(mask)] = np.nan
    assert all(np.isnan(list(metrics.compute(task, prediction, truth, mask).values())))


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.kind)
def test_numpy_equals_jax_under_jit_and_vmap(task):
    members = [random_samples(task, 40, seed) for seed in range(3)]
    expected = [metrics.compute(task, *member) for member in members]
    batched = [jnp.stack([jnp.asarray(member[i]) for member in members]) for i in range(3)]
    found = jax.jit(jax.vmap(lambda *sample: metrics.compute(task, *sample)))(*batched)
    assert tuple(expected[0]) == task.metrics
    for name in task.metrics:
        np.testing.assert_allclose(found[name], [values[name] for values in expected], atol=1e-6)


def test_reports_are_float64_and_serialise():
    prediction, truth, mask = random_samples(SENTIMENT, 20)
    values = metrics.compute(SENTIMENT, prediction.astype(np.float32), truth, mask)
    assert all(value.dtype == np.float64 for value in values.values())
    assert json.loads(json.dumps(values)) == values


def test_shapes_that_would_broadcast_are_refused():
    with pytest.raises(ValueError, match=r"prediction \(4, 1\).*should be \(4,\)"):
        metrics.compute(SENTIMENT, np.zeros((4, 1)), np.zeros(4), everything(4))
    with pytest.raises(ValueError, match=r"should be \(4, 4\)"):
        metrics.compute(EMOTION, np.zeros(4), np.zeros(4, int), everything(4))


def test_score_is_one_scale():
    assert metrics.score(SENTIMENT, {"mae": 0.0}, reference=0.8) == 1
    assert metrics.score(SENTIMENT, {"mae": 0.6}, reference=0.8) == pytest.approx(0.25)
    assert metrics.score(SENTIMENT, {"mae": 1.6}, reference=0.8) == -1
    assert metrics.score(EMOTION, {"accuracy": 0.7}, reference=0.8) == 0.7


@pytest.mark.parametrize("seed", range(3))
def test_against_scikit_learn(seed):
    sklearn = pytest.importorskip("sklearn.metrics")
    prediction, truth, mask = random_samples(EMOTION, 30, seed)
    values = metrics.compute(EMOTION, prediction, truth, mask)
    actual, predicted = truth[mask], prediction[mask].argmax(-1)
    for average in ("weighted", "macro"):
        expected = sklearn.f1_score(actual, predicted, average=average)
        assert values[f"f1_{average}"] == pytest.approx(expected, abs=1e-12)
    assert values["accuracy"] == pytest.approx(sklearn.accuracy_score(actual, predicted))

    prediction, truth, mask = random_samples(EMOTIONS, 30, seed)
    pairs = [(truth[mask, c], prediction[mask, c] > 0.5) for c in range(EMOTIONS.outputs)]
    f1 = [sklearn.f1_score(*pair, average="weighted") for pair in pairs]
    wacc = [sklearn.balanced_accuracy_score(*pair) for pair in pairs]
    np.testing.assert_allclose(metrics.label_f1(prediction, truth, mask), f1, atol=1e-12)
    np.testing.assert_allclose(metrics.label_wacc(prediction, truth, mask), wacc, atol=1e-12)

    prediction, truth, mask = random_samples(SENTIMENT, 30, seed)
    values = metrics.compute(SENTIMENT, prediction, truth, mask)
    kept = mask & (truth != 0)
    expected = sklearn.f1_score(truth[kept] > 0, prediction[kept] > 0, average="weighted")
    assert values["f1_non0"] == pytest.approx(expected, abs=1e-12)
    expected = np.corrcoef(prediction[mask], truth[mask])[0, 1]
    assert values["corr"] == pytest.approx(expected, abs=1e-12)


def test_f1_by_class_by_hand():
    emotion = TaskSpec("emotion", "classification", ("accuracy",), ("a", "b", "c"))
    said = np.eye(3)[[0, 0, 1, 1, 1]]
    truth = np.array([0, 1, 1, 1, 0])
    # a: one hit, two said, two true; b: two hits, three and three; c: never.
    expected = [2 / 4, 4 / 6, 0.0]
    by_class = kind_of("classification").class_f1(emotion, said, truth)
    assert by_class == pytest.approx(dict(zip("abc", expected, strict=True)))
    assert kind_of("classification").class_counts(emotion, truth).tolist() == [2, 3, 0]
    tags = TaskSpec("tags", "multilabel", ("f1_mean",), ("x", "y"))
    said = np.array([[0.9, 0.1], [0.2, 0.2], [0.7, 0.6]])
    truth = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    # x: on is said twice of three times, 2 * 2 / 5; off never occurs. y: all right.
    by_class = kind_of("multilabel").class_f1(tags, said, truth)
    assert by_class == pytest.approx({"x": 0.8, "y": 1.0})
    assert kind_of("multilabel").class_counts(tags, truth).tolist() == [3, 1]


def test_the_accuracies_of_ch_sims():
    """Classes end at each bound, that included, as in MMSA's `metricsTop.py`."""
    names = ("sims_acc2", "sims_acc3", "sims_acc5", "sims_f1")
    task = TaskSpec("sentiment", "regression", names, range=(-1, 1))
    truth = np.array([-1.0, -0.6, 0.0, 0.2, 0.8])
    prediction = np.array([-0.8, -0.7, 0.05, 0.1, 2.0])
    values = metrics.compute(task, prediction, truth, everything(5))
    # Two: only 0.05 is positive where the truth is not. Three: 0.1 is of the middle class.
    # Five: -0.7 is of the lowest, 0.1 of the middle one.
    assert values == pytest.approx(
        {"sims_acc2": 0.8, "sims_acc3": 0.8, "sims_acc5": 0.6, "sims_f1": 0.8}, abs=1e-9
    )
