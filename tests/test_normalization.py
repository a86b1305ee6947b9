"""Normalization by chunks: the moments of all tokens without a copy of them."""

import tracemalloc

import numpy as np
import pytest

from haemsa_jax.data import Split
from haemsa_jax.training.measurement import normalization
from haemsa_jax.training.measurement.normalization import Moments, _feature_constants


def one_modality(features, masks):
    count = len(features)
    return Split({"audio": features}, {"audio": masks}, {}, {}, np.arange(count), [])


@pytest.mark.parametrize("chunk", [1, 100, 1 << 30])
def test_chunks_change_nothing(chunk, monkeypatch):
    monkeypatch.setattr(normalization, "CHUNK", chunk)
    rng = np.random.default_rng(0)
    features = (1e3 + rng.normal(size=(37, 4, 5)) * [1, 10, 0.1, 3, 0]).astype(np.float32)
    masks = rng.random((37, 4)) < 0.6
    masks[3:9] = False
    found = _feature_constants(one_modality(features, masks), "audio", np.ones(len(masks), bool))
    tokens = features[masks].astype(np.float64)
    np.testing.assert_allclose(found["mean"], tokens.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(found["std"], [*tokens.std(axis=0)[:4], 1.0], rtol=1e-6)


def test_a_modality_that_nobody_has():
    found = _feature_constants(
        one_modality(np.ones((3, 2, 4)), np.zeros((3, 2), bool)), "audio", np.ones(3, bool)
    )
    assert found["mean"].tolist() == [0.0] * 4 and found["std"].tolist() == [1.0] * 4


def test_no_copy_of_a_whole_split_is_made():
    features = np.zeros((4000, 10, 250), np.float32)  # 40 MB
    split = one_modality(features, np.ones((4000, 10), bool))
    tracemalloc.start()
    _feature_constants(split, "audio", np.ones(len(split), bool))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < features.nbytes


def test_moments_join_by_hand():
    whole = Moments.of_nothing(1).joined(np.array([[1.0], [3.0]])).joined(np.array([[-5.0]]))
    assert whole.count == 3
    assert whole.mean == pytest.approx(-1 / 3)
    assert whole.squares == pytest.approx((4 / 3) ** 2 + (10 / 3) ** 2 + (14 / 3) ** 2)
    assert whole.largest == 5.0
