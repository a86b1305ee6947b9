"""The training step on a batch of one's own: weights, members, paces of modalities."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from haemsa_jax import (
    MEMBER_AXES,
    InputError,
    Sample,
    TrainConfig,
    default_structure,
    init_params,
    init_state,
    make_batch,
    make_constants,
    make_train_step,
    settings_from_config,
)
from haemsa_jax.data.batches import device_split
from haemsa_jax.training.engine import step as step_module
from haemsa_jax.training.engine.drawing import make_draw
from haemsa_jax.training.engine.state import stack
from haemsa_jax.training.random_streams import step_key

STILL = TrainConfig(
    batch_size=8, dropout=0.0, input_dropout=0.0, modality_dropout=0.0, auxiliary=0.0,
    learning_rate=1e-2, weight_decay=0.0, warmup=0.0,
)  # fmt: skip


def attached(network, config, dataset, key):
    """A fresh state of everything open."""
    params = init_params(network, config, key)
    constants = make_constants(network, {dataset.name: dataset})
    state = init_state(network, config, params)
    return state.attached(
        default_structure(network), settings_from_config(config, network), constants
    )


def rows_of(split, count):
    """Utterances without context, and their labels."""
    masks = {m: x[:count] for m, x in split.masks.items()}
    samples = Sample(
        features={m: x[:count] for m, x in split.features.items()},
        masks=masks,
        offsets={m: np.zeros(x.shape, np.int32) for m, x in masks.items()},
        task=None,
    )
    labels = {f"talks:{name}": split.labels[name][:count] for name in ("score", "mood")}
    return samples, labels


@pytest.fixture(scope="module")
def own(lone, solo):
    """A step, a state, and what a user has: utterances with labels of two tasks."""
    step = jax.jit(make_train_step(lone, STILL, total_steps=100))
    state = jax.jit(functools.partial(attached, lone, STILL, solo))(jax.random.key(0))
    return step, state, rows_of(solo.splits["train"], 8)


def test_a_batch_of_ones_own(own, lone):
    """Two tasks on the same rows; what weighs nothing changes nothing, whatever stands there."""
    step, state, (samples, labels) = own
    weights = {"talks:score": [1, 1, 1, 1, 3, 0, 0, 0], "talks:mood": [0, 0, 1, 2, 1, 1, 1, 0]}
    weights = {task_id: np.array(w, np.float32) for task_id, w in weights.items()}
    wrong = dict(labels)
    wrong["talks:score"] = np.where(weights["talks:score"] > 0, labels["talks:score"], np.nan)
    wrong["talks:mood"] = np.where(weights["talks:mood"] > 0, labels["talks:mood"], -1)
    results = []
    for given in (labels, wrong):
        batch = make_batch(lone, samples={"talks": samples}, labels=given, weights=weights)
        assert batch.samples["talks"].features["text"].shape[0] == 16
        after, metrics = step(state, batch, jax.random.key(1))
        assert after.step == 1
        moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), after.params, state.params)
        assert max(jax.tree.leaves(moved)) > 1e-3
        results.append((after.params, metrics))
    jax.tree.map(np.testing.assert_array_equal, *results)
    # A weighted mean is that of the rows alone: each weighs as often as it is repeated.
    repeated = [0, 1, 2, 3, 4, 4, 4, 7]
    again = jax.tree.map(lambda x: x[np.array(repeated)], (samples, labels))
    ones = np.array([1] * 7 + [0], np.float32)
    batch = make_batch(
        lone, samples={"talks": again[0]}, labels=again[1], weights=dict.fromkeys(labels, ones)
    )
    losses = step(state, batch, jax.random.key(1))[1]["loss"]
    expected = jax.tree.map(float, results[0][1]["loss"])
    losses = jax.tree.map(float, losses)
    assert losses["talks:score"] == pytest.approx(expected["talks:score"], rel=1e-5)
    assert losses["talks:mood"] != pytest.approx(expected["talks:mood"], rel=1e-3)
    assert losses["talks:tags"] == 0.0  # no row of it


def test_members_side_by_side(own, lone):
    """Members share batch and constants; each is what it is alone."""
    step, state, (samples, labels) = own
    batch = make_batch(lone, samples={"talks": samples}, labels=labels)
    slower = state.settings.replace(learning_rate=0.5 * state.settings.learning_rate)
    alone = [step(state.replace(settings=s), batch, jax.random.key(1))[0]
             for s in (state.settings, slower)]  # fmt: skip
    members = stack(state.detached(), 2)
    settings = jax.tree.map(lambda *x: jnp.stack(x), state.settings, slower)
    members = members.attached(stack(state.structure, 2), settings, state.constants)
    mapped = jax.vmap(
        make_train_step(lone, STILL, total_steps=100),
        in_axes=(MEMBER_AXES, None, None), out_axes=(MEMBER_AXES, 0),
    )  # fmt: skip
    together, metrics = jax.jit(mapped)(members, batch, jax.random.key(1))
    assert metrics["loss"]["talks:score"].shape == (2,)
    jax.tree.map(np.testing.assert_array_equal, together.constants, state.constants)
    for place, one in enumerate(alone):
        jax.tree.map(
            lambda a, b, k=place: np.testing.assert_allclose(a[k], b, rtol=1e-4, atol=1e-6),
            together.params, one.params,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": {"talks:anger": np.zeros(8)}}, "'talks:anger': expected a task of the net"),
        ({"labels": {}}, "samples of 'talks' without labels"),
        ({"labels": {"talks:score": np.zeros(5)}}, r"shape \(5,\), weights \(8,\); expected \(8"),
        ({"labels": {"talks:mood": np.full(8, 7)}}, "class numbers .integers. from 0 to 2"),
        ({"labels": {"talks:score": np.full(8, np.nan)}}, "finite numbers wherever their weight"),
        ({"labels": {"talks:score": ["1"] * 8}}, "'talks:score', row 0: labels is '1'; expected n"),
        ({"weights": {"talks:score": [None] * 8}}, "row 0: weights is None; expected numbers"),
        ({"weights": {"talks:score": np.full(8, -1.0)}}, "must be finite and not negative"),
        ({"samples": {"films": None}}, "'films': the network's data sets are talks"),
    ],
)  # fmt: skip
def test_batches_that_do_not_fit(lone, solo, change, words):
    samples, labels = rows_of(solo.splits["train"], 8)
    given = {"samples": {"talks": samples}, "labels": labels, **change}
    with pytest.raises(InputError, match=words):
        make_batch(lone, **given)


def test_features_of_another_width(lone, solo):
    samples, labels = rows_of(solo.splits["train"], 8)
    narrow = samples.replace(features={"text": samples.features["text"][..., :2]})
    with pytest.raises(InputError, match=r"text has features, mask .*expected \(B, T, 6\)"):
        make_batch(lone, samples={"talks": narrow}, labels=labels)


def test_masks_that_are_added_to_logits_are_no_masks(lone, solo):
    samples, labels = rows_of(solo.splits["train"], 8)
    added = samples.replace(masks={"text": np.where(samples.masks["text"], 0.0, -10000.0)})
    with pytest.raises(InputError, match="the mask of text has type float64; expected bool"):
        make_batch(lone, samples={"talks": added}, labels=labels)


def test_a_modality_of_a_tenth_of_the_pace_moves_a_tenth_as_far(slim, pair, monkeypatch):
    """Adam cancels a constant factor of gradients."""
    monkeypatch.setattr(
        step_module, "paces", lambda ratio, strength: jnp.stack([1.0 - strength, jnp.ones(())])
    )
    config = dataclasses.replace(STILL, gradient_balance=0.9, learning_rate=1e-4)
    step, draw = make_train_step(slim, config, total_steps=1000), make_draw(slim, config)
    data = {"talks": jax.device_put(device_split(pair.splits["train"]))}
    key = jax.random.key(3)

    @jax.jit
    def trained(state):
        def body(index, state):
            return step(state, draw(data, key, index), step_key(key, index))[0]

        return jax.lax.fori_loop(0, 10, body, state)

    begun = jax.jit(functools.partial(attached, slim, config, pair))(jax.random.key(0))
    distances = []
    for strength in (0.0, 0.9):
        state = begun.replace(settings=begun.settings.replace(gradient_balance=strength))
        away = jax.tree.map(lambda a, b: a - b, trained(state).params, begun.params)
        distances.append({
            name: float(jnp.sqrt(sum((x**2).sum() for x in jax.tree.leaves(away[name]))))
            for name in ("stem_talks_text", "summary_text", "stem_talks_audio")
        })  # fmt: skip
    full, slow = distances
    for name in ("stem_talks_text", "summary_text"):
        assert slow[name] == pytest.approx(0.1 * full[name], rel=0.1)
    assert slow["stem_talks_audio"] == pytest.approx(full["stem_talks_audio"], rel=0.1)
