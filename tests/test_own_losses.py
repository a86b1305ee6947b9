"""What a model minimises beside the tasks' losses: it teaches, and sees only what counts."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import as_model
from test_train_step import STILL, attached, rows_of

from haemsa_jax import make_batch
from haemsa_jax.models.self_mm import generated
from haemsa_jax.training.objective.batch_losses import make_losses
from haemsa_jax.training.objective.views import make_views

# By model what only its own losses reach, without `auxiliary`.
TEACHES = {"misa": "decode_text", "emt": "recover_text", "self_mm": "head_talks-score_text"}
SIZES = {"emt": {"layers": 1, "heads": 2}}


@pytest.mark.parametrize("name", TEACHES)
def test_a_models_own_losses_teach_it(lone, solo, name):
    """A module moves that nothing else reaches."""
    config = dataclasses.replace(STILL, frame_dropout=0.5)
    network = as_model(name, lone, **SIZES.get(name, {}))
    state = jax.jit(functools.partial(attached, network, config, solo))(jax.random.key(0))
    samples, labels = rows_of(solo.splits["train"], 8)
    batch = make_batch(network, samples={"talks": samples}, labels=labels)
    losses = make_losses(network, config)
    views = make_views(network, config)
    key = jax.random.key(1)

    def learnt(module):
        sample, place = batch.samples["talks"], batch.place["talks"]
        ones = jnp.ones(len(network.modalities))
        seen = views("talks", sample, place, key, state.structure, state.settings, ones)
        params = {**state.params, TEACHES[name]: module}
        return losses(params, state, batch, {"talks": seen}, key).whole

    gradient = jax.jit(jax.grad(learnt))(state.params[TEACHES[name]])
    assert max(float(jnp.abs(x).max()) for x in jax.tree.leaves(gradient)) > 1e-4


def test_labels_of_single_modalities_by_hand():
    """One column: of all together means are 3 and -1, of the modality 2 and -2."""
    label = jnp.array([1.0, 1.0, -1.0, -1.0])
    fused = jnp.array([4.0, 2.0, -1.0, -1.0])[:, None, None]
    alone = jnp.array([3.0, 1.0, -1.0, -3.0])[:, None, None]
    there = jnp.ones((4, 1), bool)
    own = generated(label, alone, there, fused, there, -9.0, 9.0)
    # Of the first sample: a = (5 - 1) / 1 = 4, of the modality (5 - 1) / 1 = 4: its own label.
    # Of the second: a = (3 - 1) / 1 = 2, of the modality (3 - 1) / 1 = 2.
    np.testing.assert_allclose(own[:2, 0], 1.0, atol=1e-5)
    # Of the third: a = (0 - 4) / 4 = -1, of the modality (1 - 3) / 3 = -2/3.
    expected = 0.5 * (2 / 3) * -1.0 + 0.5 * (-1.0 - 2 / 3 + 1.0)
    np.testing.assert_allclose(own[2, 0], expected, atol=1e-5)
    positive = generated(jnp.abs(label), alone, there, fused, there, -9.0, 9.0)
    np.testing.assert_array_equal(positive[:, 0], 1.0)  # nobody is negative: the label of all
