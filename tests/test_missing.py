"""What gets lost under each protocol, and what is measured of it."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from haemsa_jax.data import missing
from haemsa_jax.errors import InputError
from haemsa_jax.reporting import protocols, robustness, tables


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


def test_area_by_hand():
    assert missing.area_under_rates([0.0, 0.1, 0.2], [1.0, 3.0, 5.0]) == pytest.approx(0.6)
    row = {"0.0": {"mae": [1.0, 0.0]}, "0.1": {"mae": [3.0, 1.0]}}
    assert robustness.summed_up("frame", row, "mae") == pytest.approx([0.2, 0.05])
    assert robustness.summed_up("patterns", row, "mae") == pytest.approx([2.0, 0.5])


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
    assert "| HAEMSA | 1.100 ± 0.141 | 2.100 ± 0.141 | 0.160 ± 0.014 |" in text
    robustness.figure("utterance", found, tmp_path / "curve.png")
    robustness.figure("patterns", found, tmp_path / "points.png")
    for name in ("curve.png", "points.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_rows_by_condition():
    def row(*values):
        return {name: {"mae": [v]} for name, v in zip(("0.0", "0.1"), values, strict=True)}

    measured = {"a:score": {"HAEMSA": row(1.0, 3.0), "plain": row(2.0, 4.0)}}
    rows = robustness.rows_of("utterance", measured)
    assert [*rows] == ["a:score 0.0", "a:score 0.1", "a:score AUILC"]
    assert rows["a:score 0.1"] == {"HAEMSA": {"mae": [3.0]}, "plain": {"mae": [4.0]}}
    assert rows["a:score AUILC"]["HAEMSA"]["mae"] == [pytest.approx(0.2)]


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
