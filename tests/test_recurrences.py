"""Windows as steps, and recurrences over steps of which some are missing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from haemsa_jax.config import TaskSpec
from haemsa_jax.models import RecurrentConfig
from haemsa_jax.models.inputs import Tokens, utterances
from haemsa_jax.models.recurrences import Gru, Lstm


def test_utterances_are_cut_into_steps():
    task = {"talks:score": TaskSpec("score", "regression", ("mae",), range=(-3.0, 3.0))}
    widths = {"talks": {"text": 1, "audio": 1}}
    config = RecurrentConfig(widths, task, width=1, context={"talks": (1, 0)})
    inputs = Tokens(
        tokens={"text": jnp.array([1.0, 3.0, 7.0, 5.0, 0.0])[:, None]},
        masks={"text": jnp.array([True, True, True, True, False])},
        offsets={"text": jnp.array([-1, -1, -1, 0, 0])},
        presence=jnp.array([True, False]),
        readable=jnp.array([True, True]),
    )
    for steps, means in ((2, [2.0, 7.0, 5.0, 0.0]), (1, [11 / 3, 0.0, 5.0, 0.0])):
        vectors, known = utterances(inputs, config, "talks", jnp.int32(steps), 2)
        np.testing.assert_allclose(vectors["text"][:, 0], means, rtol=1e-6)
        np.testing.assert_array_equal(known["text"], np.array(means) > 0)
        assert not known["audio"].any() and not vectors["audio"].any()


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", [Gru, Lstm])
def test_a_missing_step_leaves_the_state_as_it_is(cell, reverse):
    x = jax.random.normal(jax.random.key(0), (4, 3))
    present = jnp.array([True, True, False, True])
    variables = cell(2).init(jax.random.key(1), x, present, reverse)
    whole = cell(2).apply(variables, x.at[2].set(1e3), present, reverse)
    rest = cell(2).apply(variables, x[present], jnp.ones(3, bool), reverse)
    np.testing.assert_allclose(whole[present], rest, atol=1e-6)
    np.testing.assert_array_equal(whole[2], whole[3 if reverse else 1])
