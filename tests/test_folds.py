"""Folds: whole groups, each held out from one network of a bag, which predicts as one."""

import dataclasses

import jax
import numpy as np
import pytest
from networks import as_model
from samples import make_split

from haemsa_jax.config import TrainConfig
from haemsa_jax.data.folds import assign, joined, make_partition
from haemsa_jax.errors import InputError
from haemsa_jax.inference import Predictor
from haemsa_jax.training.engine import loop
from haemsa_jax.training.engine.loop import make_train
from haemsa_jax.training.measurement.evaluation import evaluate
from haemsa_jax.training.measurement.validation import make_predict_held_out
from haemsa_jax.training.persistence import log
from haemsa_jax.training.persistence.trained import load_trained

CONFIG = TrainConfig(
    seeds=2, folds=3, epochs=4, batch_size=16, dropout=0.1, learning_rate=1e-2, evaluate_every=2
)
ONE = jax.local_devices()[:1]


@pytest.fixture(scope="module")
def datasets(solo):
    return {solo.name: solo}


@pytest.fixture(scope="module")
def train(lone, datasets):
    return make_train(lone, CONFIG, datasets, ONE, checkpoint_every=7)


@pytest.fixture(scope="module")
def run(train, tmp_path_factory):
    directory = tmp_path_factory.mktemp("folds")
    train(directory)
    return directory


@pytest.fixture(scope="module")
def trained(run):
    return load_trained(run)


def test_groups_stay_together_and_folds_are_alike(datasets):
    partition = make_partition(datasets, 3)
    split, fold = partition.training["talks"], partition.fold["talks"]
    assert len(split) == 70 + 21
    for group in np.unique(split.group):
        assert len({*fold[split.group == group]}) == 1
    counts = np.bincount(fold, minlength=3)
    assert counts.max() - counts.min() <= 5  # a group
    np.testing.assert_array_equal(make_partition(datasets, 3).fold["talks"], fold)
    for number in range(3):
        trains, judges = partition.trains("talks", number), partition.judges("talks", number)
        np.testing.assert_array_equal(trains, ~judges)


def test_joined_splits_keep_their_groups_apart():
    first, second = make_split(1, 10), make_split(2, 7)
    longer = {m: np.pad(x, [(0, 0), (0, 2), (0, 0)]) for m, x in second.features.items()}
    masks = {m: np.pad(x, [(0, 0), (0, 2)]) for m, x in second.masks.items()}
    whole = joined(first, dataclasses.replace(second, features=longer, masks=masks))
    assert whole.group.tolist() == [0] * 5 + [1] * 5 + [2] * 5 + [3] * 2
    assert whole.ids == (*first.ids, *second.ids)
    for m, features in whole.features.items():
        tokens = first.features[m].shape[1]
        np.testing.assert_array_equal(features[:10, :tokens], first.features[m])
        assert not whole.masks[m][:10, tokens:].any()
        np.testing.assert_array_equal(features[10:], longer[m])


def test_too_few_groups_and_labels(datasets, solo):
    with pytest.raises(InputError, match=r"folds=40: talks has 19 groups.*use at most 19 folds"):
        make_partition(datasets, 40)
    with pytest.raises(InputError, match="folds=1 would leave nothing to train on"):
        TrainConfig(folds=1)
    train = solo.splits["train"]
    first = train.group == 0
    only = dataclasses.replace(train, labelled={**train.labelled, "mood": first})
    none = dataclasses.replace(
        solo.splits["validation"],
        labelled={**solo.splits["validation"].labelled, "mood": np.arange(21) < 0},
    )
    split = joined(only, none)
    assert set(assign("talks", split, 3)) == {0, 1, 2}
    broken = dataclasses.replace(solo)
    object.__setattr__(broken, "splits", {**solo.splits, "train": only, "validation": none})
    with pytest.raises(InputError, match=r"talks has no label for task 'mood' in.*fewer folds"):
        make_partition({"talks": broken}, 3)


def test_a_fold_trains_as_its_rows_alone_would(lone, datasets, solo, train, monkeypatch):
    """The network of a fold is that of a training that has never had the others' rows."""
    together = train()
    partition = make_partition(datasets, 3)
    split, number = partition.training["talks"], 2
    keep = partition.trains("talks", number)
    alone = _rows(split, keep)
    dataset = dataclasses.replace(
        solo, splits={"train": alone, "validation": solo.splits["test"]}, partition=""
    )
    roots = loop._roots
    single = dataclasses.replace(CONFIG, folds=0, seeds=1, seed=CONFIG.seed + 1)
    monkeypatch.setattr(loop, "_roots", lambda seeds, folds: roots(seeds, 3)[number, None])
    programs = make_train(lone, single, {"talks": dataset}, ONE)
    rows = []
    programs(observe=rows.append)
    losses = np.array([row["loss"][0] for row in rows if row["kind"] == "train"])
    monkeypatch.undo()
    seen = []
    original = loop.reports.by_seed
    monkeypatch.setattr(
        loop.reports, "by_seed", lambda x, *a, **k: (seen.append(x), original(x, *a, **k))[1]
    )
    train()
    member = CONFIG.folds + number  # of the second seed
    of_fold = np.concatenate([x[:, member].mean(axis=-1) for x in seen if x.ndim == 3])
    count = min(len(losses), len(of_fold))
    assert count >= 12
    # The schedule is as long as the longest fold's epochs.
    np.testing.assert_allclose(of_fold[:3], losses[:3], atol=1e-4)
    assert together.count == 2 and together.size == 3


def _rows(split, keep):
    return dataclasses.replace(
        split,
        features={m: x[keep] for m, x in split.features.items()},
        masks={m: x[keep] for m, x in split.masks.items()},
        labels={n: x[keep] for n, x in split.labels.items()},
        labelled={n: x[keep] for n, x in split.labelled.items()},
        group=split.group[keep],
        ids=[name for name, kept in zip(split.ids, keep, strict=True) if kept],
        words=[name for name, kept in zip(split.words, keep, strict=True) if kept],
    )


def test_normalization_is_each_folds_own(trained, datasets):
    partition = make_partition(datasets, 3)
    split = partition.training["talks"]
    for place in range(6):
        keep = partition.trains("talks", place % 3)
        tokens = split.features["text"][keep][split.masks["text"][keep]]
        mean = trained.constants["stem_talks_text"]["mean"][place]
        np.testing.assert_allclose(mean, tokens.mean(axis=0), atol=1e-5)


def test_nobody_is_judged_on_what_it_has_seen(lone, datasets, trained, run):
    partition = make_partition(datasets, 3)
    predict = make_predict_held_out(lone, partition, ONE)
    networks = trained.params, trained.constants, trained.structures
    rows, outputs = predict(*networks, "talks:score")
    assert outputs.shape == (2, 91, 1)
    alone = make_predict_held_out(lone, make_partition({"talks": _whole(datasets)}), ONE)
    for place in range(6):
        own = jax.tree.map(lambda x, place=place: x[place, None], networks)
        _, everything = alone(*own, "talks:score")
        judged = partition.judges("talks", place % 3)[rows]
        np.testing.assert_allclose(
            outputs[place // 3, judged], everything[0, rows][judged], atol=1e-5
        )
    scores = [row["score"] for row in log.read(run) if row["kind"] == "validation"]
    assert np.max(scores, axis=0).tolist() == trained.progress["best_score"]
    # All networks of a seed stop together.
    assert len(trained.progress["best_step"]) == 2


def _whole(datasets):
    """All development samples as the validation split of a data set."""
    (dataset,) = datasets.values()
    split = make_partition(datasets, 3).training["talks"]
    other = dataclasses.replace(split, ids=[f"other {name}" for name in split.ids])
    return dataclasses.replace(dataset, splits={"train": other, "validation": split})


def test_a_bag_predicts_as_one(trained, datasets, lone):
    bag = evaluate(trained, datasets, devices=ONE, ensemble=2)["talks:score"]
    assert bag.predictions.shape == (2, 33)
    each = evaluate(_alone(trained), datasets, devices=ONE)["talks:score"]
    np.testing.assert_allclose(
        bag.predictions, each.predictions.reshape(2, 3, 33).mean(axis=1), atol=1e-6
    )
    together = np.abs(each.predictions.mean(axis=0) - bag.truth).mean()
    assert bag.ensemble["mae"] == [pytest.approx(together, abs=1e-6)]
    split = datasets["talks"].splits["test"]
    features = split.features["text"][4][split.masks["text"][4]]
    one = Predictor(trained, networks=1).predict(text=features)
    alone = Predictor(_alone(trained)).predict(text=features)
    first = Predictor(_alone(trained), networks=3).predict(text=features)
    assert one.tasks["score"].value == pytest.approx(first.tasks["score"].value, abs=1e-6)
    both = Predictor(trained).predict(text=features)
    assert both.tasks["score"].value == pytest.approx(alone.tasks["score"].value, abs=1e-6)


def _alone(trained):
    """Every network of every bag as if it were a seed."""
    config = dataclasses.replace(trained.experiment.train, folds=0, seeds=6)
    experiment = dataclasses.replace(trained.experiment, train=config)
    return dataclasses.replace(trained, experiment=experiment)


def test_other_splits_than_test_were_trained_on(trained, datasets):
    with pytest.raises(InputError, match="split=validation: with folds=3 the networks"):
        evaluate(trained, datasets, "validation")


class KilledError(Exception):
    pass


def test_a_killed_run_resumes_bit_for_bit(train, run, trained, tmp_path):
    def stop(row):
        if row["step"] == 9 and row["kind"] == "train":
            raise KilledError

    with pytest.raises(KilledError):
        train(tmp_path, observe=stop)
    train(tmp_path)
    assert log.read(tmp_path) == log.read(run)
    again = load_trained(tmp_path)
    for name in ("params", "constants", "structures"):
        jax.tree.map(np.testing.assert_array_equal, getattr(again, name), getattr(trained, name))


def test_devices_change_nothing(lone, datasets, run, tmp_path):
    make_train(lone, CONFIG, datasets, jax.local_devices()[:2])(tmp_path)
    losses = [
        np.array([row["loss"] for row in log.read(of) if row["kind"] == "train"])
        for of in (run, tmp_path)
    ]
    np.testing.assert_allclose(*losses, atol=1e-4)


def test_folds_do_not_stream(lone, datasets):
    with pytest.raises(InputError, match=r"folds: talks has 0 MiB.*raise --resident_mib"):
        make_train(lone, CONFIG, datasets, ONE, resident=1)


def test_other_models_take_folds_too(lone, datasets):
    network = as_model("late_fusion", lone)
    trained = make_train(network, CONFIG, datasets, ONE)()
    assert trained.count == 2
    assert evaluate(trained, datasets, devices=ONE)["talks:mood"].predictions.shape == (2, 33, 3)
