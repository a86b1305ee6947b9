"""What gets lost under each protocol, and what is measured of it."""

import dataclasses
import re
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from networks import as_model
from test_specialise import SIZES

from haemsa_jax.config import TrainConfig
from haemsa_jax.data import missing
from haemsa_jax.data.folds import make_partition
from haemsa_jax.errors import InputError
from haemsa_jax.reporting import baselines, protocols, robustness, tables
from haemsa_jax.reporting.runs import incomplete_told, vectors_of
from haemsa_jax.training.engine.loop import make_train
from haemsa_jax.training.measurement.doubts import doubts


@dataclasses.dataclass
class Holder:
    """Splits, as a data set has them."""

    splits: dict


@pytest.fixture(scope="module")
def split(talks):
    return talks.splits["train"]


def test_patterns(split):
    assert missing.subsets(("t", "a", "v")) == [
        ("t", "a", "v"), ("t", "a"), ("t", "v"), ("a", "v"), ("t",), ("a",), ("v",)
    ]  # fmt: skip
    kept = missing.keep_modalities(split, ("audio",))
    np.testing.assert_array_equal(kept.masks["audio"], split.masks["audio"])
    assert not kept.masks["text"].any() and not kept.masks["vision"].any()


def test_utterances_lose_modalities_at_a_rate_and_keep_one(split):
    before = np.stack(list(split.presence.values()), axis=1)
    draws = [missing.drop_utterances(split, rate, 3) for rate in (0.0, 0.4, 0.7, 1.0)]
    after = [np.stack(list(d.presence.values()), axis=1) for d in draws]
    np.testing.assert_array_equal(after[0], before)
    for less, more in zip(after[1:], after, strict=False):
        assert not (less & ~more).any()  # what is lost stays lost
        assert less.any(axis=1).all()
    np.testing.assert_array_equal(after[-1].sum(axis=1), 1)
    many = dataclasses.replace(split, masks={m: np.ones((5000, 1), bool) for m in "tav"})
    lost = [1 - mask.mean() for mask in missing.drop_utterances(many, 0.3, 0).masks.values()]
    # One of three always stays: all would go with 0.027, and then a third each comes back.
    np.testing.assert_allclose(lost, 0.3 - 0.027 / 3, atol=0.02)
    again = missing.drop_utterances(split, 0.4, 3).masks["text"]
    np.testing.assert_array_equal(again, draws[1].masks["text"])
    assert (missing.drop_utterances(split, 0.4, 4).masks["text"] != again).any()


def test_frames_are_lost_and_single_vectors_by_their_columns(split):
    masks = {**split.masks, "vision": split.masks["vision"][:, :1]}
    features = {**split.features, "vision": split.features["vision"][:, :1]}
    mixed = dataclasses.replace(split, masks=masks, features=features)
    means = missing.column_means(mixed)
    seen = split.features["text"][split.masks["text"]]
    np.testing.assert_allclose(means["text"], seen.mean(axis=0), rtol=1e-5)
    whole, half, all_gone = (missing.drop_frames(mixed, r, 1, means) for r in (0.0, 0.5, 1.0))
    for name in masks:
        np.testing.assert_array_equal(whole.masks[name], masks[name])
        np.testing.assert_array_equal(whole.features[name], features[name])
    assert 0.3 < half.masks["text"].sum() / masks["text"].sum() < 0.7
    np.testing.assert_array_equal(half.features["text"], features["text"])
    np.testing.assert_array_equal(half.masks["vision"], masks["vision"])
    same = half.features["vision"] == features["vision"]
    assert 0.3 < same.mean() < 0.7
    gone = all_gone.features["vision"]
    np.testing.assert_array_equal(gone, np.broadcast_to(means["vision"].astype("f4"), gone.shape))
    tokens = sum(mask.sum(axis=1) for mask in all_gone.masks.values())
    assert (tokens >= 1).all()
    alone = ~masks["vision"][:, 0]
    np.testing.assert_array_equal(tokens[alone], 1)


@pytest.mark.parametrize("losses", ["utterance:0.5", "frame:.5:3"])
def test_a_training_split_that_is_incomplete(pair, losses):
    """The same for all who read it; splits that judge are whole."""
    lossy = missing.incomplete({"talks": pair}, losses)["talks"]
    for name in ("validation", "test"):
        jax.tree.map(
            np.testing.assert_array_equal, lossy.splits[name].masks, pair.splits[name].masks
        )
    before, after = (x.splits["train"].masks for x in (pair, lossy))
    kept = sum(x.sum() for x in after.values()) / sum(x.sum() for x in before.values())
    assert 0.3 < kept < 0.8
    for folds in (0, 2):
        partition = make_partition({"talks": pair}, folds, losses)
        for modality, mask in after.items():
            rows = partition.training["talks"].masks[modality][: len(mask), : mask.shape[1]]
            np.testing.assert_array_equal(rows, mask)
    assert missing.incomplete({"talks": pair}, "") == {"talks": pair}


def test_lost_columns_hold_the_mean_of_those_that_are_kept(split):
    masks = {m: mask[:, :1] for m, mask in split.masks.items()}
    features = {m: x[:, :1] for m, x in split.features.items()}
    single = dataclasses.replace(split, masks=masks, features=features)

    def lossy(of):
        # A stand-in for a data set, of which the training split alone is read.
        return missing.incomplete({"talks": Holder({"train": of})}, "frame:0.5")["talks"]

    once = lossy(single).splits["train"]
    garbage = {
        m: np.where(masks[m][..., None] & (once.features[m] == x), x, 1e3).astype(x.dtype)
        for m, x in features.items()
    }
    assert all((garbage[m] != x).mean() > 0.3 for m, x in features.items())
    again = lossy(dataclasses.replace(single, features=garbage)).splits["train"]
    for m, mask in masks.items():
        np.testing.assert_array_equal(again.features[m][mask], once.features[m][mask])
    shares = missing.lost_shares(
        {"talks": Holder({"train": single})}, {"talks": Holder({"train": once})}
    )
    assert all(0.4 < share < 0.6 for share in shares["talks"].values())


def test_nobody_sees_what_a_training_split_has_lost(small, pair):
    """Networks, their normalisation and baselines are the same whatever stood there."""
    widths, tasks = {"talks": dict(pair.widths)}, {"talks:score": pair.tasks["score"]}
    network = as_model("late_fusion", small, widths=widths, tasks=tasks, **SIZES["late_fusion"])
    config = TrainConfig(epochs=1, batch_size=16, train_missing="utterance:0.5")
    lossy = missing.incomplete({"talks": pair}, config.train_missing)["talks"].splits["train"]
    train = pair.splits["train"]
    garbage = {m: np.where(lossy.masks[m][..., None], x, 1e3) for m, x in train.features.items()}
    splits = {**pair.splits, "train": dataclasses.replace(train, features=garbage)}
    other = dataclasses.replace(pair, splits=splits)
    one, two = (
        make_train(network, config, {"talks": data}, jax.local_devices()[:1])()
        for data in (pair, other)
    )
    jax.tree.map(np.testing.assert_array_equal, one.params, two.params)
    jax.tree.map(np.testing.assert_array_equal, one.constants, two.constants)
    whole = dataclasses.replace(config, train_missing="")
    complete = make_train(network, whole, {"talks": pair}, jax.local_devices()[:1])()
    assert not jax.tree.all(jax.tree.map(np.array_equal, one.params, complete.params))
    loaded = [
        vectors_of({"talks": data}, SimpleNamespace(network=network, trained=one), None)["talks"]
        for data in (pair, other)
    ]
    measured = [baselines.evaluate(data, "score", split="test") for data in loaded]
    assert measured[0] == measured[1]


@pytest.mark.parametrize(
    "losses", ["utterance", "patterns:0.5", "frame:1", "frame:x", "frame:.1:a"]
)
def test_losses_that_are_none(losses):
    with pytest.raises(InputError, match=f"train_missing='{losses}': expected utterance:RATE or"):
        TrainConfig(train_missing=losses)


def test_what_was_lost_is_told(pair, small):
    partition = make_partition({"talks": pair}, 0, "utterance:0.5")
    network = as_model("late_fusion", small, widths={"talks": dict(pair.widths)})
    first, *_ = doubts(network, partition)
    assert re.fullmatch(
        r"the training split of talks is incomplete; of its values are lost text [2-6]\d %, "
        r"audio [2-6]\d %", first
    )  # fmt: skip
    assert not any("incomplete" in x for x in doubts(network, make_partition({"talks": pair})))

    def contender(label, lost):
        train = TrainConfig(train_missing=lost)
        run = SimpleNamespace(trained=SimpleNamespace(experiment=SimpleNamespace(train=train)))
        return SimpleNamespace(label=label, runs=[run])

    a, b = contender("a", "utterance:.5"), contender("b", "")
    assert incomplete_told([b]) == []
    (told,) = incomplete_told([a, b])
    assert "a utterance:.5, b nothing; baselines are fitted on that of a." in told


def test_area_by_hand():
    assert missing.area_under_rates([0.0, 0.1, 0.2], [1.0, 3.0, 5.0]) == pytest.approx(0.6)
    row = {"0.0": {"mae": [1.0, 0.0]}, "0.1": {"mae": [3.0, 1.0]}}
    over_all = robustness.summaries("frame", row, "mae")
    assert over_all["AUILC"] == pytest.approx([0.2, 0.05])
    assert over_all["average"] == pytest.approx([2.0, 0.5])
    assert robustness.summaries("patterns", row, "mae") == {"average": pytest.approx([2.0, 0.5])}
    uneven = {**row, "0.2": {"mae": [1.0]}}
    assert robustness.summaries("frame", uneven, "mae") == {"AUILC": [], "average": []}


def test_modalities_are_named_in_the_order_of_the_network():
    """Also where an encoder made the text last."""
    order = robustness.modalities_of(
        {"a": SimpleNamespace(widths=dict.fromkeys(("vision", "smell", "audio", "text"), 3))}
    )
    assert order == ("text", "audio", "vision", "smell")


def test_table_and_picture(tmp_path):
    def row(*values):
        return {name: {"mae": [v, v + 0.2]} for name, v in zip(("0.0", "0.1"), values, strict=True)}

    found = {"talks:score": {"HAEMSA": row(1.0, 2.0), "ridge all": row(2.0, 3.0)}}
    text = robustness.markdown("utterance", found)
    assert "| HAEMSA | 1.100 ± 0.141 | 2.100 ± 0.141 | 0.160 ± 0.014 | 1.600 ± 0.141 |" in text
    robustness.figure("utterance", found, tmp_path / "curve.png")
    robustness.figure("patterns", found, tmp_path / "points.png")
    for name in ("curve.png", "points.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_rows_by_condition():
    def row(*values):
        return {name: {"mae": [v]} for name, v in zip(("0.0", "0.1"), values, strict=True)}

    measured = {"a:score": {"HAEMSA": row(1.0, 3.0), "plain": row(2.0, 4.0)}}
    rows = robustness.rows_of("utterance", measured)
    assert [*rows] == ["a:score 0.0", "a:score 0.1", "a:score AUILC", "a:score average"]
    assert rows["a:score 0.1"] == {"HAEMSA": {"mae": [3.0]}, "plain": {"mae": [4.0]}}
    assert rows["a:score AUILC"]["HAEMSA"]["mae"] == [pytest.approx(0.2)]
    assert rows["a:score average"]["HAEMSA"]["mae"] == [pytest.approx(2.0)]


def test_directories_of_every_condition():
    contender = SimpleNamespace(label="HAEMSA", runs=(SimpleNamespace(directory=Path("r")),))
    datasets = {"a": SimpleNamespace(widths={"text": 3, "audio": 2})}
    beside = ["plain=p", "only=o_{pattern}"]
    places = protocols.directories_of([contender], beside, datasets, protocol="patterns")
    assert {*map(str, places)} == {"r", "p", "o_text", "o_audio", "o_text+audio"}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("HAEMSA=/a", "HAEMSA is a row already"),
        ("plain=", "expected NAME=RUN_DIR"),
        ("only={pattern}", "needs --protocol=patterns"),
    ],
)
def test_what_cannot_stand_beside_is_refused(monkeypatch, entry, message):
    monkeypatch.setattr(protocols, "evaluator", lambda run, datasets, **options: None)
    runs = [SimpleNamespace(label=tables.model_label("haemsa"), runs=())]
    datasets = {"a": SimpleNamespace(widths={"text": 3, "audio": 2})}
    with pytest.raises(InputError, match=message):
        protocols.models_of(runs, [entry], datasets, protocol="utterance")


def test_other_models_have_rows_of_their_own_name():
    assert tables.model_label("late_fusion") == "late fusion network"
