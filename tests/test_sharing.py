"""Shared and specific parts, guessing, teaching, balance: by hand, and where gradients flow."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import params_of

from haemsa_jax.config import OPTIONS, SHARING_LOSSES, TaskSpec, TrainConfig, check_together
from haemsa_jax.data.batches import device_split, gather
from haemsa_jax.data.presence import restrict
from haemsa_jax.errors import InputError
from haemsa_jax.evolution.genome import decode, default_genome, gene_table
from haemsa_jax.models import Rates, build, default_structure, init_variables
from haemsa_jax.structure.parts import shut
from haemsa_jax.tasks import kind_of
from haemsa_jax.training.measurement.normalization import make_constants
from haemsa_jax.training.objective.modality_balance import (
    discrepancy,
    hiding_rates,
    paces,
    slowed,
)
from haemsa_jax.training.objective.representation_losses import (
    contrast,
    lack_of_correlation,
    moment_discrepancy,
    overlap,
    relative_error,
)

SCORE = TaskSpec("score", "regression", ("mae",), range=(-3.0, 3.0))
MOOD = TaskSpec("mood", "classification", ("accuracy",), ("sad", "glad"))
TAGS = TaskSpec("tags", "multilabel", ("f1_mean",), ("a", "b"))
HEAD = {"scale": jnp.array([2.0])}


def parts(*modalities):
    """One array a modality [B, D] as float[B, M, D], all present."""
    stacked = jnp.stack([jnp.asarray(x, jnp.float32) for x in modalities], axis=1)
    return stacked, jnp.ones(stacked.shape[:2], bool)


# --- shared and specific -------------------------------------------------------------------------


def test_moments_by_hand():
    half = float(np.arctanh(0.5))
    apart = moment_discrepancy(*parts([[half], [half]], [[-half], [-half]]))
    assert apart == pytest.approx(0.5, abs=1e-5)  # means .5 and -.5, over a width of 2
    wide = moment_discrepancy(*parts([[half], [-half]], [[0.0], [0.0]]))
    assert wide == pytest.approx(0.25 / 4 + 0.0625 / 16, abs=1e-5)
    same = parts([[1.0], [2.0]], [[2.0], [1.0]])
    assert moment_discrepancy(*same) == pytest.approx(0.0, abs=1e-5)


def test_contrast_by_hand():
    first, second = [3.0, 0.0], [0.0, 0.5]  # lengths do not matter
    matched = contrast(*parts([first, second], [first, second]))
    assert matched == pytest.approx(np.log1p(np.exp(-10)), abs=1e-6)
    swapped = contrast(*parts([first, second], [second, first]))
    assert swapped == pytest.approx(10 + np.log1p(np.exp(-10)), rel=1e-5)


def test_correlation_sees_what_no_pair_shows():
    """Of three signs with x = y z, any two are independent and each is a function of the others."""
    y, z = jnp.array(list(itertools.product([-1.0, 1.0], [-1.0, 1.0]))).T
    x = y * z
    own, there = parts(*(s[:, None] for s in (x, y, z)))
    product = parts(*(s[:, None] for s in (y * z, x * z, x * y)))[0]
    assert lack_of_correlation(own, product, there) == pytest.approx(0.0, abs=5e-3)
    other = parts(*(s[:, None] for s in (y, z, x)))[0]
    assert lack_of_correlation(own, other, there) == pytest.approx(1.0, abs=5e-3)


def test_overlap_by_hand():
    first, there = parts([[1.0, 2.0], [-1.0, 2.0], [1.0, 2.0], [-1.0, 2.0]])  # 2 is the mean
    second, _ = parts([[5.0, 0.0], [5.0, 0.0], [-5.0, 0.0], [-5.0, 0.0]])
    assert overlap(first, 3 * first, there) == pytest.approx(1.0, abs=1e-4)
    assert overlap(first, second, there) == pytest.approx(0.0, abs=1e-6)


def test_relative_error_by_hand():
    target, there = parts([[3.0, 4.0]], [[0.0, 5.0]])
    said = target.at[0, 0, 0].set(5.0)
    assert relative_error(said, target, there) == pytest.approx(4 / 50)
    only = there.at[0, 1].set(False)
    assert relative_error(said, target, only) == pytest.approx(4 / 25)
    grads = jax.grad(relative_error, (0, 1))(said, target, there)
    assert np.abs(grads[0]).max() > 0
    np.testing.assert_array_equal(grads[1], 0.0)


FUNCTIONS = {
    "moments": lambda x, y, there: moment_discrepancy(x, there),
    "contrast": lambda x, y, there: contrast(x, there),
    "correlation": lack_of_correlation,
    "orthogonality": overlap,
    "reconstruction": relative_error,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_absent_modalities_take_no_part(name):
    """Nor does a batch in which nothing is left cost anything."""
    of, keys = FUNCTIONS[name], jax.random.split(jax.random.key(0), 2)
    x, y = (jax.random.normal(key, (6, 3, 4)) for key in keys)
    there = jnp.array([[1, 1, 0], [1, 0, 1], [0, 1, 1], [1, 1, 1], [1, 0, 0], [1, 1, 1]], bool)
    junk = [jnp.where(there[..., None], part, 9.0) for part in (x, y)]
    np.testing.assert_allclose(of(x, y, there), of(*junk, there), rtol=1e-5)
    grads = jax.grad(of, (0, 1))(x, y, there)
    for grad in grads:
        assert np.isfinite(grad).all()
        np.testing.assert_array_equal(grad[~there], 0.0)
    nobody = jnp.zeros_like(there)
    assert of(0 * x, 0 * y, nobody) == 0.0
    assert all(np.isfinite(g).all() for g in jax.grad(of, (0, 1))(0 * x, 0 * y, nobody))


# --- in the network ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def network(small):
    return dataclasses.replace(small, sharing="imputed")


@pytest.fixture(scope="module")
def setting(network, talks):
    module = build(network)
    params = params_of(network)
    variables = {"params": params, "constants": make_constants(network, {"talks": talks})}
    data = jax.device_put(device_split(talks.splits["train"]))
    row = int(np.flatnonzero(np.all(list(talks.splits["train"].presence.values()), axis=0))[0])
    sample = gather(data, jnp.int32(row), jnp.int32(0), 0, 0)

    @jax.jit
    def forward(variables, sample, structure):
        return module.apply(variables, sample, structure, Rates(), "talks")

    return forward, variables, sample


def test_an_absent_modality_is_guessed_where_that_is_open(network, setting):
    forward, variables, sample = setting
    everything = default_structure(network)
    closed = shut(network, everything, ["imputed/vision"])
    score = lambda s, a: forward(variables, s, a).predictions["talks:score"][0]  # noqa: E731
    assert score(sample, everything) == score(sample, closed)  # it is there
    blind = restrict(sample, {"text": True, "audio": True, "vision": False})
    assert score(blind, everything) != score(blind, closed)
    # Nor is guessed what the task may not read.
    narrow = {**everything, "modalities/talks:score": np.float32([1, 1, 0])}
    both = {**narrow, "imputed": closed["imputed"]}
    assert score(sample, narrow) == score(sample, both)


def test_a_guess_does_not_see_its_own_modality(network, setting):
    forward, variables, sample = setting
    everything = default_structure(network)
    full = forward(variables, sample, everything)
    closed = {**everything, "links": 0.0 * everything["links"]}
    guesses = [
        forward(variables, s, closed).representations["imputed"][2]
        for s in (
            sample,
            sample.replace(features={**sample.features, "vision": sample.features["vision"] + 3}),
        )
    ]
    np.testing.assert_array_equal(*guesses)
    assert np.abs(full.representations["imputed"]).min(axis=-1).max() > 0


def test_what_a_guess_reads_learns_nothing_from_it(network, setting):
    """Otherwise modalities that say nothing of each other are bent towards each other, and fail."""
    forward, variables, sample = setting

    def guessed(params):
        said = forward({**variables, "params": params}, sample, default_structure(network))
        return (said.representations["imputed"] ** 2).sum()

    grads = jax.grad(guessed)(variables["params"])
    moved = {name for name, tree in grads.items()
             if any(np.abs(g).max() > 0 for g in jax.tree.leaves(tree))}  # fmt: skip
    assert moved == {"imputer"}


def test_specific_parts_are_heard_past_the_global_experts(network, setting):
    forward, variables, sample = setting
    everything = default_structure(network)
    out = forward(variables, sample, everything)
    assert out.gates["specific"].sum() == pytest.approx(1.0)
    deaf = forward(variables, sample, everything | {"specific/talks:score": np.zeros(3)})
    assert deaf.gates["specific"].sum() == 0.0
    assert deaf.predictions["talks:score"] != out.predictions["talks:score"]
    np.testing.assert_array_equal(deaf.gates["fusion"], out.gates["fusion"])


# --- teaching and balance ------------------------------------------------------------------------


def distillation(task, *arguments):
    return kind_of(task.kind).distillation_loss(task, *arguments)


def test_teaching_by_hand():
    taught, said = jnp.array([1.0]), jnp.array([5.0])
    assert distillation(SCORE, HEAD, said, taught) == pytest.approx(0.5 * (4 / 2) ** 2)
    sure, even = jnp.array([np.log(3.0), 0.0]), jnp.zeros(2)  # 3/4 and 1/4; 1/2 and 1/2
    divergence = 0.75 * np.log(0.75 / 0.5) + 0.25 * np.log(0.25 / 0.5)
    assert distillation(MOOD, HEAD, even, sure) == pytest.approx(divergence, rel=1e-5)
    one = 0.75 * np.log(1.5) + 0.25 * np.log(0.5)
    assert distillation(TAGS, HEAD, even, sure) == pytest.approx(one / 2, rel=1e-4)


@pytest.mark.parametrize("task", [SCORE, MOOD, TAGS], ids=lambda task: task.kind)
def test_only_the_partial_view_learns_from_teaching(task):
    said, taught = jax.random.normal(jax.random.key(1), (2, task.outputs))
    assert distillation(task, HEAD, taught, taught) == pytest.approx(0.0, abs=1e-6)
    learner, teacher = jax.grad(lambda a, b: distillation(task, HEAD, a, b), (0, 1))(said, taught)
    assert np.abs(learner).max() > 0
    np.testing.assert_array_equal(teacher, 0.0)


def test_rightness_and_discrepancy_by_hand():
    def right(task, *arguments):
        return kind_of(task.kind).rightness(task, *arguments)

    assert right(SCORE, HEAD, jnp.array([3.0]), 1.0) == pytest.approx(np.exp(-1))
    assert right(MOOD, HEAD, jnp.array([np.log(3.0), 0.0]), 0) == pytest.approx(0.75)
    assert right(TAGS, HEAD, jnp.array([np.log(3.0), 0.0]), jnp.array([1.0, 1.0])) == (
        pytest.approx((0.75 + 0.5) / 2)
    )
    ratio = discrepancy(jnp.array([8.0, 2.0, 0.0]), jnp.array([10.0, 5.0, 0.0]))
    np.testing.assert_allclose(ratio, [2.0, 0.5, 1.0])
    # Of eight devices one has a sample with the second modality: means over devices, same ratio.
    sums, counts = jnp.array([57.6, 0.3]), jnp.array([64.0, 1.0])
    several = discrepancy(sums / 8, counts / 8)
    np.testing.assert_allclose(several, discrepancy(sums, counts), rtol=1e-6)
    np.testing.assert_array_equal(discrepancy(jnp.array([3.0]), jnp.array([4.0])), [1.0])


def test_who_is_ahead_learns_slower_and_is_hidden_more(small):
    ratio = jnp.array([2.0, 0.5, 1.0])
    np.testing.assert_allclose(paces(ratio, 0.3), [1 - np.tanh(0.6), 1, 1], rtol=1e-6)
    rates = hiding_rates(0.2, ratio, 1.0)
    np.testing.assert_allclose(rates, [0.2 * (1 + np.tanh(1.0)), 0.2, 0.2], rtol=1e-6)
    shapes = jax.eval_shape(lambda key: init_variables(build(small), key)[0], jax.random.key(0))
    grads = jax.tree.map(lambda x: jnp.ones(x.shape), shapes)
    paced = slowed(small, grads, jnp.array([0.5, 1.0, 1.0]))
    changed = {
        name for name in grads if all((x == 0.5).all() for x in jax.tree.leaves(paced[name]))
    }
    same = {name for name in grads if all((x == 1.0).all() for x in jax.tree.leaves(paced[name]))}
    assert changed == {"stem_talks_text", "local_text_0", "summary_text"}
    assert changed | same == {*grads}


# --- options -------------------------------------------------------------------------------------


def test_options_that_have_nothing_to_work_on_are_refused(small):
    for name in SHARING_LOSSES:
        with pytest.raises(InputError, match=f"{name}=0.5 .* sharing='split'"):
            check_together(small, TrainConfig(**{name: 0.5}))
    split = dataclasses.replace(small, sharing="split")
    check_together(split, TrainConfig(moments=0.5))
    with pytest.raises(InputError, match="needs a network that imputes"):
        check_together(split, TrainConfig(imputation=0.5))
    for name in ("distillation", "prediction_balance"):
        with pytest.raises(InputError, match="modality_dropout is 0"):
            check_together(small, TrainConfig(**{name: 1.0}, modality_dropout=0.0))


def test_every_option_is_a_gene_where_it_is_on(network, small):
    on = TrainConfig(**dict.fromkeys(OPTIONS, 0.5))
    table = gene_table(network, on)
    names = {gene.name for gene in table.genes}
    plain = {gene.name for gene in gene_table(small).genes}
    structure = {"imputed", *(f"specific/{task_id}" for task_id in network.tasks)}
    assert names - plain == {*OPTIONS} | structure
    _, hyper = decode(network, jnp.asarray(default_genome(network, on)), on)
    for name in OPTIONS:
        assert getattr(hyper, name) == pytest.approx(0.5, rel=1e-3)
    said = table.to_json(default_genome(network, on))
    said |= {"imputed": ["audio"], "specific/talks:mood": []}
    structure, _ = decode(network, jnp.asarray(table.from_json(said)), on)
    np.testing.assert_array_equal(structure["imputed"], [0, 1, 0])
    rows = [structure[f"specific/{task_id}"] for task_id in network.tasks]
    np.testing.assert_array_equal(rows, [[1, 1, 1], [0, 0, 0], [1, 1, 1]])


def test_an_utterance_drawn_twice_is_not_its_own_negative():
    first, second = [3.0, 0.0], [0.0, 0.5]
    shared, there = parts([first, second, first], [first, second, first])
    rows = jnp.array([4, 7, 4])
    # The one that was drawn once has two negatives, the other one each.
    expected = (2 * np.log1p(np.exp(-10)) + np.log1p(2 * np.exp(-10))) / 3
    assert contrast(shared, there, rows) == pytest.approx(expected, abs=1e-6)
    assert contrast(shared, there) > 0.4  # log(2) for two of three
