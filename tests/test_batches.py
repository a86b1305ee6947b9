"""Batches are functions of (key, step), every sample once an epoch; context stays in its talk."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from haemsa_jax.data.batches import device_split, gather, shuffled_positions
from haemsa_jax.data.presence import drop_frames, drop_modalities, drop_utterances


@pytest.mark.parametrize(("count", "batch"), [(12, 4), (10, 4), (7, 16), (1, 3), (5, 5)])
def test_every_sample_once_an_epoch(count, batch):
    steps = 3 * count  # some whole epochs, batch * 3
    take = jax.jit(lambda step: shuffled_positions(jax.random.key(0), step, batch, count))
    drawn = np.concatenate([take(step) for step in range(steps)])
    epochs = drawn.reshape(-1, count)
    assert (np.sort(epochs, axis=1) == np.arange(count)).all()
    if count > 4:
        assert len({tuple(epoch) for epoch in epochs}) > 1  # epochs differ


def test_the_same_step_draws_the_same_batch():
    key = jax.random.key(3)
    np.testing.assert_array_equal(
        shuffled_positions(key, 5, 8, 50), jax.jit(shuffled_positions, static_argnums=(2, 3))(
            jax.random.key(3), 5, 8, 50
        )
    )  # fmt: skip
    assert (shuffled_positions(key, 5, 8, 50) != shuffled_positions(key, 6, 8, 50)).any()


def test_context_window(talks):
    split = talks.splits["train"]  # groups of five rows
    data = jax.device_put(device_split(split))
    row, task = 6, jnp.int32(1)  # the second utterance of the second group
    sample = gather(data, row, task, past=2, future=1)
    for modality, values in split.features.items():
        length = values.shape[1]
        np.testing.assert_array_equal(sample.offsets[modality], np.repeat([-2, -1, 0, 1], length))
        expected = np.concatenate([np.zeros(length, bool), *split.masks[modality][5:8]])
        np.testing.assert_array_equal(sample.masks[modality], expected)
        got = np.asarray(sample.features[modality]).reshape(4, length, -1)
        np.testing.assert_array_equal(got[1:], values[5:8])
    assert sample.task == 1


def test_context_ends_at_the_array_ends(talks):
    data = jax.device_put(device_split(talks.splits["train"]))
    first = gather(data, 0, jnp.int32(0), past=3, future=0)
    last = gather(data, len(data.group) - 1, jnp.int32(0), past=0, future=3)
    for modality in first.masks:
        assert not first.masks[modality][first.offsets[modality] < 0].any()
        assert not last.masks[modality][last.offsets[modality] > 0].any()


def test_dropping_modalities_keeps_one_and_never_adds_one(talks):
    data = jax.device_put(device_split(talks.splits["train"]))
    samples = jax.vmap(lambda row: gather(data, row, jnp.int32(0), 0, 0))(jnp.arange(70))
    keys = jax.random.split(jax.random.key(0), 70)
    before = np.stack([m.any(-1) for m in samples.masks.values()])
    for rate, kept in ((0.0, 1.0), (0.5, None), (1.0, None)):
        drop = jax.vmap(lambda key, sample, rate=rate: drop_modalities(key, sample, rate))
        after = np.stack([m.any(-1) for m in drop(jax.random.clone(keys), samples).masks.values()])
        assert not (after & ~before).any()
        assert (after.sum(0) >= 1).all()
        if kept:
            assert (after == before).all()
    assert (after.sum(0) == 1).all()  # at rate 1 only the one that must stay


def test_dropping_utterances_keeps_one_modality_of_each(talks):
    data = jax.device_put(device_split(talks.splits["train"]))
    samples = jax.vmap(lambda row: gather(data, row, jnp.int32(0), 1, 1))(jnp.arange(70))
    keys = jax.random.split(jax.random.key(0), 70)
    before = {m: np.asarray(mask).reshape(70, 3, -1) for m, mask in samples.masks.items()}
    there = np.stack([mask.any(-1) for mask in before.values()])
    shares = {}
    for rate in (0.0, 0.25, 0.5):
        drop = jax.vmap(lambda key, one, rate=rate: drop_utterances(key, one, rate, (1, 1)))
        after = drop(jax.random.clone(keys), samples).masks
        after = {m: np.asarray(mask).reshape(70, 3, -1) for m, mask in after.items()}
        kept = np.stack([mask.any(-1) for mask in after.values()])
        for m, mask in after.items():  # an utterance's modality goes as a whole
            np.testing.assert_array_equal(mask, before[m] & mask.any(-1, keepdims=True))
        np.testing.assert_array_equal(kept.any(axis=0), there.any(axis=0))
        shares[rate] = kept.sum() / there.sum()
        by_sample = kept.sum(axis=(0, 2)) / there.sum(axis=(0, 2))
        assert rate == 0 or len({*by_sample.round(2)}) > 5  # some lose much, some little
    assert shares[0.0] == 1.0 > shares[0.25] > shares[0.5]


def test_dropping_frames_hides_tokens_or_columns(talks):
    data = jax.device_put(device_split(talks.splits["train"]))
    samples = jax.vmap(lambda row: gather(data, row, jnp.int32(0), 1, 1))(jnp.arange(70))
    # Audio as one vector an utterance.
    first = {"features": samples.features["audio"][:, ::5], "masks": samples.masks["audio"][:, ::5]}
    samples = samples.replace(
        features={**samples.features, "audio": first["features"]},
        masks={**samples.masks, "audio": first["masks"]},
    )
    keys, shares = jax.random.split(jax.random.key(0), 70), {}
    for rate in (0.0, 0.25, 0.5):
        drop = jax.vmap(lambda key, one, rate=rate: drop_frames(key, one, rate, (1, 1)))
        after = drop(jax.random.clone(keys), samples)
        np.testing.assert_array_equal(after.masks["audio"], samples.masks["audio"])
        lost = np.isnan(after.features["audio"])
        for m in ("text", "vision"):
            assert not (after.masks[m] & ~samples.masks[m]).any()
            np.testing.assert_array_equal(after.features[m], samples.features[m])
        kept = sum(after.masks[m].sum() for m in ("text", "vision"))
        before = sum(samples.masks[m].sum() for m in ("text", "vision"))
        shares[rate] = float(kept / before), 1.0 - lost.mean()
        there = np.any([after.masks[m].any(-1) for m in ("text", "vision")], axis=0)
        assert there[np.any([samples.masks[m].any(-1) for m in ("text", "vision")], axis=0)].all()
    assert shares[0.0] == (1.0, 1.0)
    for place in (0, 1):
        assert 0.65 < shares[0.25][place] < 0.85 and 0.4 < shares[0.5][place] < 0.6
