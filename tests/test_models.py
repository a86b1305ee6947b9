"""The network: presence is honoured bit for bit, and every part can be masked."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import params_of

from haemsa_jax.config import TrainConfig
from haemsa_jax.data.batches import device_split, gather
from haemsa_jax.models import Haemsa, Rates, build, default_structure, init_variables
from haemsa_jax.models.haemsa import FUSION_OPERATORS, LOCAL_EXPERTS, experts
from haemsa_jax.models.layers import masked_mean, masked_softmax
from haemsa_jax.structure.parts import shut
from haemsa_jax.training.measurement.normalization import make_constants
from haemsa_jax.training.persistence.experiment import Experiment
from haemsa_jax.training.persistence.trained import abstract_trees


@pytest.fixture(scope="module")
def setting(talks, small):
    """A network with gates and heads away from their neutral start, and a batch of samples."""
    small = dataclasses.replace(small, sharing="imputed")
    module = build(small)
    params = params_of(small)
    constants = make_constants(small, {talks.name: talks})
    data = jax.device_put(device_split(talks.splits["train"]))
    tasks = jnp.arange(12) % 3
    samples = jax.vmap(lambda row, task: gather(data, row, task, 1, 1))(jnp.arange(12) * 5, tasks)
    return module, params, constants, samples


@pytest.fixture(scope="module")
def run(setting):
    """run(params, samples, structure=default) -> Outputs, compiled once."""
    module, _, constants, _ = setting

    @jax.jit
    def forward(params, samples, structure):
        variables = {"params": params, "constants": constants}
        return module.apply(variables, samples, structure, Rates(), "talks")

    everything = default_structure(module.config)
    return lambda params, samples, structure=everything: forward(params, samples, structure)


def assert_same(left, right):
    jax.tree.map(np.testing.assert_array_equal, left, right)


def test_padding_may_lie_in_front_or_behind(setting, run):
    _, params, _, samples = setting
    # In a window padding also lies between two utterances, so that one utterance is looked at.
    masks = {m: mask & (samples.offsets[m] == 0) for m, mask in samples.masks.items()}
    order = {m: jnp.argsort(mask, axis=-1, stable=True) for m, mask in masks.items()}

    def real_tokens_last(arrays):
        return {m: jax.vmap(lambda x, i: x[i])(x, order[m]) for m, x in arrays.items()}

    moved = samples.replace(
        features=real_tokens_last(samples.features),
        masks=real_tokens_last(masks),
        offsets=real_tokens_last(samples.offsets),
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5),
        run(params, samples.replace(masks=masks)),
        run(params, moved),
    )


def test_leading_axes_are_free(setting):
    module, params, constants, samples = setting
    variables = {"params": params, "constants": constants}
    # NumPy's, as a loaded network's are.
    variables, structure = jax.device_get((variables, default_structure(module.config)))
    apply = jax.jit(lambda s: module.apply(variables, s, structure, Rates(), "talks"))
    batch = apply(samples)
    single = apply(jax.tree.map(lambda x: x[3], samples))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a[3], b, rtol=1e-4, atol=1e-5), batch, single
    )
    names = module.config.modalities
    local = [f"local/{m}/0" for m in names]
    assert {*batch.gates} == {*local, "links", "specific", "fusion"}
    assert all(batch.gates[name].shape == (12, len(LOCAL_EXPERTS)) for name in local)
    assert batch.gates["links"].shape == (12, len(names) * (len(names) - 1))
    assert batch.gates["fusion"].shape == (12, len(FUSION_OPERATORS))
    assert batch.predictions["talks:mood"].shape == (12, 3)
    assert batch.auxiliary["talks:tags"].shape == (12, 3, 2)


def test_gates_are_weights(setting, run):
    module, params, _, samples = setting
    out, network = run(params, samples), module.config
    for place, m in enumerate(network.modalities):
        local = out.gates[f"local/{m}/0"].sum(-1)
        np.testing.assert_allclose(local, out.presence[:, place].astype(float), atol=1e-6)
    np.testing.assert_allclose(out.gates["fusion"].sum(-1), 1.0, rtol=1e-6)
    links = np.asarray(out.gates["links"])
    ends = np.array([[network.modalities.index(m) for m in pair] for pair in network.links])
    both_present = np.asarray(out.presence)[:, ends].all(axis=-1)
    assert (links[~both_present] == 0).all()
    assert (links[both_present] > 0).all() and both_present.any() and not both_present.all()


def joined(out):
    return np.asarray(out.representations["joined"])


def changed(params, part, by=1.0):
    """Parameters with every leaf below a path that contains `part` moved."""
    return jax.tree_util.tree_map_with_path(
        lambda path, x: x + by if part in jax.tree_util.keystr(path) else x, params
    )


@pytest.mark.parametrize("name", LOCAL_EXPERTS)
def test_a_masked_local_expert_says_nothing(setting, run, name):
    module, params, _, samples = setting
    network = module.config
    experts_shut = [f"local/{m}/0/{name}" for m in network.modalities]
    without = shut(network, default_structure(network), experts_shut)
    moved = changed(params, f"['{name}']")
    other = {k: moved[k] if k.startswith("local_") else params[k] for k in params}
    assert_same(run(params, samples, without), run(other, samples, without))
    assert (joined(run(params, samples)) != joined(run(other, samples))).any()
    gates = run(params, samples, without).gates
    for m in network.modalities:
        assert (np.asarray(gates[f"local/{m}/0"])[..., LOCAL_EXPERTS.index(name)] == 0).all()


@pytest.mark.parametrize("name", FUSION_OPERATORS)
def test_a_masked_global_expert_says_nothing(setting, run, name):
    module, params, _, samples = setting
    without = shut(module.config, default_structure(module.config), [f"fusion/{name}"])
    fusion = {**params["fusion"], name: jax.tree.map(lambda x: x + 1, params["fusion"][name])}
    other = {**params, "fusion": fusion}
    assert_same(run(params, samples, without), run(other, samples, without))
    assert (joined(run(params, samples)) != joined(run(other, samples))).any()


@pytest.mark.parametrize(("target", "source"), [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)])
def test_a_shut_link_says_nothing(setting, run, target, source):
    module, params, _, samples = setting
    names = module.config.modalities
    link = f"links/{names[source]}>{names[target]}"
    without = shut(module.config, default_structure(module.config), [link])
    other = changed(params, f"{names[source]}_to_{names[target]}']")
    assert_same(run(params, samples, without), run(other, samples, without))
    assert (joined(run(params, samples)) != joined(run(other, samples))).any()


def test_a_block_that_is_not_in_use_says_nothing(lone, solo, setting):
    kept = {**lone.kept, "depth/text": ("1", "2"), "local/text/1": ("pointwise",)}
    network = lone.changed(depth=2, kept=kept)
    params, constants = params_of(network), make_constants(network, {"talks": solo})
    *_, samples = setting
    whole = default_structure(network)
    shallow = {**whole, "depth/text": 0 * whole["depth/text"]}
    other = changed(params, "local_text_1")

    @jax.jit
    def forward(params, structure):
        variables = {"params": params, "constants": constants}
        return build(network).apply(variables, samples, structure, Rates(), "talks")

    assert_same(forward(params, shallow), forward(other, shallow))
    assert (joined(forward(params, whole)) != joined(forward(other, whole))).any()


def test_a_modality_that_a_task_may_not_read_is_absent_for_it(setting, run):
    module, params, _, samples = setting
    everything = default_structure(module.config)
    # What may not be read is not imputed either, as what is absent is.
    structure = {**everything, "imputed": 0 * everything["imputed"]}
    without_text = {**structure, "modalities/talks:mood": jnp.array([0.0, 1.0, 1.0])}
    hidden = samples.replace(
        masks={
            **samples.masks,
            "text": samples.masks["text"] & (samples.task != 1)[:, None],
        }
    )
    assert_same(run(params, samples, without_text), run(params, hidden, structure))


def test_what_is_built_alone_can_be_shut(lone, solo, setting):
    """One expert in a bank, or one operator, has no gate; its mask counts all the same."""
    params, constants = params_of(lone), make_constants(lone, {"talks": solo})
    *_, samples = setting
    forward = jax.jit(
        lambda structure: build(lone).apply(
            {"params": params, "constants": constants}, samples, structure, Rates(), "talks"
        )
    )
    whole = forward(default_structure(lone))
    for part, gate in (("local/text/0/pointwise", "local/text/0"), ("fusion/concat", "fusion")):
        without = forward(shut(lone, default_structure(lone), [part]))
        assert (whole.gates[gate] > 0).any() and (without.gates[gate] == 0).all()
        assert (joined(whole) != joined(without)).any()


def test_a_data_set_without_a_modality(small):
    tasks = {**small.tasks, "words:score": small.tasks["talks:score"]}
    widths = {**small.widths, "words": {"text": 7}}
    config = dataclasses.replace(small, widths=widths, tasks=tasks, context={})
    module = build(config)
    params, constants = jax.eval_shape(lambda key: init_variables(module, key), jax.random.key(0))
    assert "stem_words_audio" not in params
    assert "stem_words_text" in params
    assert "head_words-score_text" in params and "head_words-score_audio" not in params
    assert params["stem_words_text"]["project"]["kernel"].shape == (7, 8)
    assert constants["stem_words_text"]["mean"].shape == (7,)


def test_one_trace_says_what_a_training_keeps(lone):
    network, calls = dataclasses.replace(lone, expansion=3), []

    def count(call, arguments, keywords, context):
        calls.append((type(context.module), context.method_name))
        return call(*arguments, **keywords)

    with nn.intercept_methods(count):
        abstract_trees(Experiment(network, TrainConfig(), {}, {}))
    assert calls.count((Haemsa, "__call__")) == 1


def test_masked_softmax_by_hand():
    logits = jnp.log(jnp.array([[1.0, 2.0, 5.0], [1.0, 1.0, 1.0]]))
    mask = jnp.array([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    np.testing.assert_allclose(masked_softmax(logits, mask), [[1 / 3, 2 / 3, 0], [0, 0, 0]], 1e-6)
    grads = jax.grad(lambda x: masked_softmax(x, mask).sum())(logits)
    assert np.isfinite(grads).all()
    big = masked_softmax(jnp.array([1e30, 0.0]), jnp.ones(2))
    np.testing.assert_array_equal(big, [1.0, 0.0])


def test_masked_softmax_has_the_gradient_of_its_steps():
    rng = np.random.default_rng(0)
    logits, weight = rng.normal(size=(2, 6, 5)).astype(np.float32)
    mask = rng.random((6, 5)) < 0.6
    mask[0] = False

    def by_hand(logits):
        raised = jnp.where(mask, jnp.exp(logits), 0.0)
        total = raised.sum(axis=-1, keepdims=True)
        return (weight * raised / jnp.where(total > 0, total, 1.0)).sum()

    def ours(logits):
        return (weight * masked_softmax(logits, mask)).sum()

    np.testing.assert_allclose(jax.grad(ours)(logits), jax.grad(by_hand)(logits), atol=1e-6)
    np.testing.assert_allclose(jax.hessian(ours)(logits), jax.hessian(by_hand)(logits), atol=1e-6)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("form", [experts._in_turn, experts._in_log_steps])
def test_both_forms_of_the_recurrence_by_hand(form, reverse):
    rng = np.random.default_rng(0)
    decay, value = rng.random((2, 3, 7, 4)).astype(np.float32)
    state, told = np.zeros((3, 4)), np.zeros((3, 7, 4))
    for token in reversed(range(7)) if reverse else range(7):
        state = decay[:, token] * state + value[:, token]
        told[:, token] = state
    np.testing.assert_allclose(form(decay, value, reverse), told, rtol=1e-5)


@pytest.mark.parametrize("reverse", [False, True])
def test_the_recurrence_has_the_gradient_of_its_steps(reverse):
    rng = np.random.default_rng(0)
    decay, value, weight = rng.random((3, 2, 9, 4)).astype(np.float32)

    def slopes(recurrence):
        return jax.grad(lambda *of: (weight * jnp.sin(recurrence(*of, reverse))).sum(), (0, 1))

    ours = jax.vmap(slopes(lambda *of: experts._linear_recurrence(*of)))(decay[None], value[None])
    steps = slopes(experts._in_log_steps)(decay, value)
    for mine, theirs in zip(ours, steps, strict=True):
        np.testing.assert_allclose(mine[0], theirs, rtol=1e-4, atol=1e-6)


def test_masked_mean_by_hand():
    x = jnp.array([[1.0, 2.0], [3.0, 4.0], [9.0, 9.0]])
    np.testing.assert_array_equal(masked_mean(x, jnp.array([True, True, False])), [2.0, 3.0])
    np.testing.assert_array_equal(masked_mean(x, jnp.zeros(3, bool)), [0.0, 0.0])
