"""Yardsticks on data sets small enough to know the answer."""

import dataclasses

import numpy as np
import pytest
from absl import flags

from haemsa_jax.config import TaskSpec
from haemsa_jax.data.dataset import Dataset, Split
from haemsa_jax.errors import InputError
from haemsa_jax.reporting import baselines, results, robustness
from launch import others

WIDTHS = {"text": 6, "audio": 3}
TASKS = {
    "valence": TaskSpec("valence", "regression", ("mae", "corr"), range=(-9, 9)),
    "emotion": TaskSpec("emotion", "classification", ("f1_weighted",), ("a", "b", "c")),
    "emotions": TaskSpec("emotions", "multilabel", ("wacc_mean", "f1_mean"), ("joy", "fear")),
}


def make_split(count, seed):
    """Dialogues of four; `valence` is made from text and from the audio of the row before."""
    rng = np.random.default_rng(seed)
    features = {m: rng.normal(size=(count, 2, width)) for m, width in WIDTHS.items()}
    masks = {m: np.ones((count, 2), bool) for m in WIDTHS}
    masks["text"][:, 1] = False
    masks["audio"][::5] = False
    features["text"][:, 1] = np.nan  # padding may hold anything
    features["audio"][::5] = np.nan
    group = np.arange(count, dtype=np.int32) // 4

    text = features["text"][:, 0]
    audio = np.where(masks["audio"][:, :1], features["audio"].mean(axis=1), 0)
    before = np.where(np.arange(count)[:, None] % 4 > 0, np.roll(audio, 1, axis=0), 0)
    valence = text @ [1, -1, 0.5, 0, 0, 0] + 2 * before[:, 0]
    labels = {
        "valence": np.clip(valence, -9, 9).astype(np.float32),
        "emotion": np.argmax(text[:, :3], axis=1).astype(np.int32),
        "emotions": (text[:, :2] > [0, 1.3]).astype(np.float32),
    }
    labelled = {task: np.ones(count, bool) for task in labels}
    ids = [f"{seed}_{row}" for row in range(count)]
    features = {m: x.astype(np.float32) for m, x in features.items()}
    return Split(features, masks, labels, labelled, group, ids)


@pytest.fixture(scope="module")
def dataset():
    splits = {
        name: make_split(count, seed)
        for seed, (name, count) in enumerate({"train": 400, "validation": 120, "test": 200}.items())
    }
    return Dataset("toy", WIDTHS, TASKS, splits, conversational=True)


def with_test_labels(dataset, task, labels):
    test = dataset.splits["test"]
    test = dataclasses.replace(test, labels={**test.labels, task: labels})
    return dataclasses.replace(dataset, splits={**dataset.splits, "test": test})


def test_rows_and_their_order(dataset):
    rows = baselines.evaluate(dataset, "valence", split="test", past=1)
    context = "ridge all + context"
    alone = ["ridge text", "ridge audio"]
    assert list(rows) == ["median", *alone, "late fusion", "ridge all", context]
    assert all(list(row) == ["mae", "corr"] for row in rows.values())
    mae = {name: row["mae"] for name, row in rows.items()}
    assert mae["ridge text"] < 0.9 * mae["median"]  # text is most of the label
    assert mae[context] < 0.2 * mae["median"]  # and the rest lies in the row before
    assert rows["median"]["corr"] == 0


def test_no_context_without_conversations_and_no_sum_of_one_modality(dataset):
    assert "ridge all + context" not in baselines.evaluate(dataset, "valence", split="test", past=0)
    splits = {
        name: dataclasses.replace(
            split,
            features={"text": split.features["text"]},
            masks={"text": split.masks["text"]},
        )
        for name, split in dataset.splits.items()
    }
    words = dataclasses.replace(dataset, widths={"text": 6}, splits=splits, conversational=False)
    assert list(baselines.evaluate(words, "valence", split="test")) == ["median", "ridge text"]


def test_median_by_hand(dataset):
    # training labels 1, 2, 9 (and one that is not labelled): median 2; test labels 0 and 6: MAE 3
    train, test = make_split(4, 0), make_split(4, 1)
    train.labels["valence"][:] = [1, 2, 9, -9]
    train.labelled["valence"][3] = False
    test.labels["valence"][:] = [0, 6, -9, -9]
    test.labelled["valence"][2:] = False
    splits = {"train": train, "validation": make_split(4, 2), "test": test}
    small = dataclasses.replace(dataset, splits=splits)
    assert baselines.evaluate(small, "valence", split="test")["median"]["mae"] == 3


def test_majority_by_hand(dataset):
    # the most frequent training class is always named, so its share of the test set is right
    train, test = dataset.splits["train"], dataset.splits["test"]
    top = np.argmax(np.bincount(train.labels["emotion"]))
    share = np.mean(test.labels["emotion"] == top)
    rows = baselines.evaluate(dataset, "emotion", split="test")
    assert rows["majority"]["f1_weighted"] == pytest.approx(share * 2 * share / (1 + share))
    assert rows["ridge text"]["f1_weighted"] > 0.8


def test_rare_labels_get_a_threshold_of_their_own(dataset):
    rows = baselines.evaluate(dataset, "emotions", split="test")
    assert rows["majority"]["wacc_mean"] == 0.5
    assert rows["ridge text"]["wacc_mean"] > 0.85  # fear occurs in a tenth of the samples


def test_labels_of_the_test_split_decide_nothing(dataset):
    labels = dataset.splits["test"].labels["valence"]
    shuffled = with_test_labels(dataset, "valence", labels[::-1].copy())
    predictions = [
        baselines.fit(d, "valence", 1)["ridge all + context"](d.splits["test"])
        for d in (dataset, shuffled)
    ]
    np.testing.assert_array_equal(*predictions)


def test_late_fusion_is_the_mean_of_what_modalities_say(dataset):
    test = dataset.splits["test"]
    fitted = baselines.fit(dataset, "valence", 0)
    alone = [fitted[f"ridge {m}"](test) for m in WIDTHS]
    np.testing.assert_allclose(fitted["late fusion"](test), np.mean(alone, axis=0))


def test_features_by_hand():
    # token means 1, 3, (absent), 2: mean 2, deviation sqrt(2/3) over those present
    features = np.array([[[0], [2]], [[3], [np.nan]], [[np.nan], [np.nan]], [[2], [np.nan]]])
    mask = np.array([[1, 1], [1, 0], [0, 0], [1, 0]], bool)
    other = {"audio": np.ones((4, 1, 1), np.float32)}
    split = Split(
        {"text": features.astype(np.float32), **other},
        {"text": mask, "audio": np.ones((4, 1), bool)},
        {}, {}, np.zeros(4, np.int32), list("abcd"),
    )  # fmt: skip
    z = np.sqrt(3 / 2)
    expected = [[-z, 1, 0, 1], [z, 1, 0, 1], [0, 0, 0, 1], [0, 1, 0, 1]]
    found = np.concatenate(
        [baselines._columns(split, modality)(split) for modality in ("text", "audio")], 1
    )
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_outliers_are_clipped(dataset):
    test = dataset.splits["test"]
    features = {**test.features, "text": 1e6 * np.nan_to_num(test.features["text"])}
    far = dataclasses.replace(test, features=features)
    columns = baselines._columns(dataset.splits["train"], "text")
    assert np.abs(columns(far)).max() == baselines.CLIP


def test_past_stays_within_its_group():
    x, group = np.array([[1.0], [2.0], [3.0], [4.0]]), np.array([7, 7, 7, 2])
    expected = [[1, 0, 0], [2, 1, 0], [3, 2, 1], [4, 0, 0]]
    np.testing.assert_array_equal(baselines._with_past(x, group, 2), expected)
    assert baselines._with_past(x, group, 9).shape == (4, 10)


@pytest.mark.parametrize("shape", [(40, 7), (7, 40)], ids=["tall", "wide"])
def test_ridge_satisfies_its_normal_equations(shape):
    rng = np.random.default_rng(0)
    x, y = rng.normal(3, 1, size=shape), rng.normal(2, 1, size=(shape[0], 2))
    fits = list(baselines._fits(TASKS["valence"], x, y))
    assert len(fits) == len(baselines.ALPHAS)
    for alpha, predict in zip(baselines.ALPHAS[::-1], fits, strict=True):
        intercept = predict(np.zeros((1, shape[1])))
        weights = predict(np.eye(shape[1])) - intercept
        error = y - predict(x)
        # The gradient of |y - x w - b|^2 + alpha |w|^2 vanishes.
        np.testing.assert_allclose(x.T @ error, alpha * weights, atol=1e-8)
        np.testing.assert_allclose(error.sum(axis=0), 0, atol=1e-9)


def test_a_modality_that_training_lacks_is_zeros(dataset):
    train = dataset.splits["train"]
    masks = {**train.masks, "audio": np.zeros_like(train.masks["audio"])}
    columns = baselines._columns(dataclasses.replace(train, masks=masks), "audio")
    test = dataset.splits["test"]
    assert np.abs(columns(test)).max() <= baselines.CLIP


def test_predictions_from_anywhere_are_rows(dataset):
    """One that knows the truth is perfect; what does not fit the task is refused by its name."""
    seen = []

    def truth(data, task):
        seen.append((data.name, task, [*data.splits]))
        return lambda split: split.labels[task]

    rows = {"toy:valence": {"HAEMSA": {"mae": [0.5]}}, "toy:emotion, by class": {"a": {}}}
    whole = results.with_others(rows, {"mine": truth}, {"toy": dataset}, split="test")
    assert whole["toy:valence"]["mine"] == {"mae": [0.0], "corr": [pytest.approx(1.0)]}
    assert [*whole["toy:valence"]] == ["HAEMSA", "mine"] and "mine" not in rows["toy:valence"]
    assert whole["toy:emotion, by class"] == {"a": {}}
    assert seen == [("toy", "valence", ["train", "validation", "test"])]
    with pytest.raises(InputError, match="HAEMSA is a row already; choose another name"):
        results.with_others(rows, {"HAEMSA": truth}, {"toy": dataset}, split="test")
    for wrong, message in (
        (lambda split: np.zeros(3), "mine, task 'valence': predictions has 3 values; expected 200"),
        (lambda split: np.full(200, np.nan), "the prediction of '2_0' is not finite"),
        (lambda split: ["a"] * 200, "predictions is 'a'; expected numbers"),
    ):
        with pytest.raises(InputError, match=message):
            results.with_others(rows, {"mine": lambda *_: wrong}, {"toy": dataset}, split="test")  # noqa: B023


def test_they_are_rows_under_a_protocol_too(dataset):
    """What text alone says is not worse without audio."""

    def text(data, task):
        return lambda split: np.where(split.masks["text"][:, 0], split.labels[task], 0.0)

    def network(condition):
        task = type("Evaluation", (), {"metrics": {"mae": [1.0]}})
        return [lambda splits: {"toy:valence": task}]

    rows = robustness.measure(
        {"HAEMSA": network}, {"toy": dataset}, "test", "patterns", 0, {}, others={"mine": text}
    )["toy:valence"]
    assert [*rows] == ["HAEMSA", "mine"]
    assert rows["mine"]["text"]["mae"] == rows["mine"]["text+audio"]["mae"] == [0.0]
    assert rows["mine"]["audio"]["mae"][0] > 1.0
    given = {"HAEMSA": network}, {"toy": dataset}, "test", "patterns", 0, {}
    with pytest.raises(InputError, match="HAEMSA is a row already"):
        robustness.measure(*given, others={"HAEMSA": text})


@pytest.fixture
def given(monkeypatch, tmp_path):
    (tmp_path / "elsewhere.py").write_text("def fit(dataset, task): return None\nnumber = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    values = flags.FlagValues()
    monkeypatch.setattr(others.flags, "FLAGS", values)

    def give(entry):
        flags.DEFINE_list("others", [], "", flag_values=values)
        values(["program", f"--others={entry}"])
        return others.from_flag()

    return give


def test_they_are_named_by_a_flag(given):
    (fit,) = given("mine=elsewhere:fit").values()
    assert fit.__module__ == "elsewhere"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("mine", "expected NAME=MODULE:FUNCTION"),
        ("mine=elsewhere", "expected NAME=MODULE:FUNCTION"),
        ("mine=nowhere:fit", "No module named 'nowhere'"),
        ("mine=elsewhere:other", "has no attribute 'other'"),
        ("mine=elsewhere:number", "elsewhere:number is no function"),
        ("mine=elsewhere:fit,mine=elsewhere:fit", "mine is a row already"),
    ],
)
def test_flags_that_name_none(given, entry, message):
    with pytest.raises(InputError, match=message):
        given(entry)
