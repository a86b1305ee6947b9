"""Words in a network: frozen vectors or an encoder that is trained with it."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from networks import bare
from samples import BERT

from haemsa_jax.config import TrainConfig, network_from_json, to_json
from haemsa_jax.data.batches import (
    POOL,
    device_split,
    gather,
    shuffled_positions,
    window_tokens,
)
from haemsa_jax.encoders import specify
from haemsa_jax.encoders.text.module import (
    Bert,
    encode_prefix,
    fold_adapters,
    lengths,
    split_adapters,
)
from haemsa_jax.models import default_structure, overlaid
from haemsa_jax.structure.warm_start import take
from haemsa_jax.training.engine.loop import Start, make_train
from haemsa_jax.training.engine.optimizer import make_optimizer
from haemsa_jax.training.engine.state import (
    init_params,
)
from haemsa_jax.training.measurement.evaluation import evaluate
from haemsa_jax.training.persistence.trained import load_trained

CONFIG = TrainConfig(
    epochs=40, evaluate_every=40, batch_size=16, learning_rate=5e-3, encoder_rate=0.5,
    layer_decay=0.5, dropout=0.0, input_dropout=0.0, encoder_dropout=0.0, modality_dropout=0.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def network(slim, spoken, pretrained):
    text = specify(pretrained, BERT, max_tokens=24, mode="tuned", datasets=(spoken.name,))
    return bare(
        slim, widths={spoken.name: dict(spoken.widths)}, encoders={"text": text}, context={},
        tasks={f"{spoken.name}:score": spoken.tasks["score"]},
    )  # fmt: skip


@pytest.fixture(scope="module")
def start(network, pretrained):
    return Start(default_structure(network), {"encoder_text": pretrained.params}, {})


@pytest.fixture(scope="module")
def run(network, spoken, start, tmp_path_factory):
    directory = tmp_path_factory.mktemp("run")
    config = dataclasses.replace(CONFIG, seeds=2)
    train = make_train(network, config, {spoken.name: spoken}, jax.local_devices()[:1], start=start)
    rows = []
    train(directory, observe=rows.append)
    return directory, rows


def test_configuration_travels(network):
    assert network_from_json(to_json(network)) == network


def test_it_learns_from_words(run, network, spoken):
    directory, rows = run
    scores = [row["score"] for row in rows if row["kind"] == "validation"]
    assert np.all(np.array(scores[-1]) > 0.5)
    evaluated = evaluate(load_trained(directory), {spoken.name: spoken}, "test")
    assert np.all(np.array(evaluated["talks:score"].metrics["corr"]) > 0.8)


def test_seeds_and_devices_side_by_side(run, network, spoken, start, tmp_path):
    """A seed alone is the seed among others; each device cuts its own share of a batch."""
    train = make_train(network, CONFIG, {spoken.name: spoken}, jax.local_devices()[:2], start=start)
    rows = []
    train(tmp_path, seed=1, observe=rows.append)
    together = [row["loss"][1] for row in run[1] if row["kind"] == "train"]
    alone = [row["loss"][0] for row in rows if row["kind"] == "train"]
    np.testing.assert_allclose(alone[:10], together[:10], rtol=1e-4)


@pytest.fixture(scope="module")
def adapted(network):
    text = dataclasses.replace(network.encoders["text"], mode="adapted", rank=4)
    return dataclasses.replace(network, encoders={"text": text})


@pytest.fixture(scope="module")
def with_adapters(adapted, spoken, pretrained, tmp_path_factory):
    """Adapters trained."""
    directory = tmp_path_factory.mktemp("adapted")
    config = dataclasses.replace(CONFIG, encoder_rate=1.0, layer_decay=1.0)
    one = jax.local_devices()[:1]
    start = Start(default_structure(adapted), {"encoder_text": pretrained.params}, {})
    make_train(adapted, config, {spoken.name: spoken}, one, start=start)(directory)
    return load_trained(directory)


def test_adapters_alone_are_trained(with_adapters, spoken, pretrained):
    """The encoder's own weights are constants of the checkpoint, as they were."""
    trained = with_adapters
    mine = trained.params["encoder_text"]["layers"]
    assert set(trained.params["encoder_text"]) == {"layers"}
    assert set(mine) == {"query_down", "query_up", "value_down", "value_up"}
    assert np.abs(mine["value_up"]["kernel"]).max() > 1e-3
    jax.tree.map(np.testing.assert_array_equal, trained.constants["encoder_text"],
                 dict(pretrained.params))  # fmt: skip
    evaluated = evaluate(trained, {spoken.name: spoken}, "test", jax.local_devices()[:1])
    assert evaluated["talks:score"].metrics["corr"][0] > 0.8


def test_adapters_say_nothing_at_first_and_can_be_folded(pretrained):
    tokens = pretrained.tokenise(["the plot was good", "bad"], 24)
    encoder, with_them = Bert(pretrained.config), Bert(pretrained.config, rank=4)
    fresh = jax.jit(with_them.init)(jax.random.key(0), tokens.ids, tokens.mask)["params"]
    adapters, _ = split_adapters(fresh)
    whole = overlaid(pretrained.params, adapters)

    def said(module, params):
        return jax.jit(module.apply)({"params": params}, tokens.ids, tokens.mask)

    expected = said(encoder, dict(pretrained.params))
    np.testing.assert_allclose(said(with_them, whole), expected, atol=1e-6)
    noisy = jax.tree.map(lambda x: x + 0.1, adapters)
    whole = overlaid(pretrained.params, noisy)
    other = said(with_them, whole)
    assert np.abs(other - expected).max() > 1e-2
    folded = fold_adapters(whole)
    assert jax.tree.structure(folded) == jax.tree.structure(dict(pretrained.params))
    np.testing.assert_allclose(said(encoder, folded), other, rtol=1e-4, atol=1e-5)
    # A genome that leaves the encoder as published hears nothing of them.
    unheard = fold_adapters(whole, 0.0)
    jax.tree.map(np.testing.assert_array_equal, unheard, dict(pretrained.params))


def test_what_adapters_learnt_is_taken_over(network, adapted, with_adapters, pretrained):
    """By an encoder that is trained whole, folded into its matrices."""
    trained = with_adapters
    kernel = take(network, CONFIG, trained).params["encoder_text"]["layers"]["value"]["kernel"]
    thin, wide = (trained.params["encoder_text"]["layers"][f"value_{x}"]["kernel"][0]
                  for x in ("down", "up"))  # fmt: skip
    expected = pretrained.params["layers"]["value"]["kernel"] + thin @ wide
    np.testing.assert_allclose(kernel, expected, atol=1e-6)
    again = take(adapted, CONFIG, trained)
    assert "value_up" in again.params["encoder_text"]["layers"]
    assert not again.new


def test_context_is_read_with_the_target_marked(network, pretrained, spoken):
    """An utterance before changes what is said of the target; which of both is meant, too."""
    wide = dataclasses.replace(network, context={"talks": (1, 0)})
    assert wide.marks("text") and not network.marks("text")
    ids, mask = jnp.array([[2, 15, 3, 2, 16, 3]]), jnp.ones((1, 6), bool)
    encoder = Bert(pretrained.config, marks=True)
    mark = jax.random.normal(jax.random.key(0), (pretrained.config.width,))
    params = {**pretrained.params, "mark": mark}
    target = jnp.array([[False, False, False, True, True, True]])

    @jax.jit
    def said(marked, longest):
        run = lambda module, *args: encode_prefix(module, *args)  # noqa: E731
        return encoder.apply({"params": params}, ids, mask, 0.0, longest, marked, method=run)

    one, other = said(target, jnp.int32(6)), said(~target, jnp.int32(6))
    assert np.abs(one - other).max() > 1e-2
    none = jax.jit(Bert(pretrained.config).apply)({"params": dict(pretrained.params)}, ids, mask)
    np.testing.assert_allclose(said(mask & False, jnp.int32(6)), none, atol=1e-6)
    shapes = jax.eval_shape(
        lambda key: init_params(wide, CONFIG, key)["encoder_text"], jax.random.key(0)
    )  # fmt: skip
    assert shapes["mark"].shape == (pretrained.config.width,)


def test_half_precision_says_nearly_the_same(pretrained):
    tokens = pretrained.tokenise(["the plot was good", "bad"], 24)

    def run(precision):
        encoder = Bert(pretrained.config, rank=2, precision=precision)
        params = jax.jit(encoder.init)(jax.random.key(0), tokens.ids, tokens.mask)["params"]
        params = unflatten_dict(flatten_dict(params) | flatten_dict(pretrained.params))

        def loss(params):
            said = encoder.apply({"params": params}, tokens.ids, tokens.mask)
            return jnp.sum(said[..., ::3] ** 2), said

        (_, said), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
        return said, flatten_dict(grads)

    (exact, changes), (rough, rough_changes) = run("float32"), run("bfloat16")
    assert rough.dtype == jnp.float32
    assert 1e-5 < np.abs(exact - rough).max() < 0.1
    for name, change in changes.items():
        assert rough_changes[name].dtype == jnp.float32
        far = np.linalg.norm(rough_changes[name] - change)
        # Keys' biases have no gradient but rounding; adapters' first factors none at first.
        assert far <= 0.1 * np.linalg.norm(change) + 1e-3, name


def test_the_lower_a_layer_the_slower(network, pretrained):
    """Adam's first step is the rate, whatever the gradient: here times 0.5, 0.25, 0.125."""
    head = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    params = {"encoder_text": jax.device_put(pretrained.params), "head": head}
    config = dataclasses.replace(CONFIG, clip_norm=1e9)
    grads = jax.tree.map(lambda p: jnp.full(p.shape, 3.0), params)
    optimizer = make_optimizer(network, config)
    updates, _ = optimizer.update(
        grads, optimizer.init(params), params, learning_rate=0.1, weight_decay=2.0, paces=None
    )
    moved = jax.tree.map(lambda u: -np.asarray(u), updates)
    for name, expected in (("wide", [0.025, 0.05]), ("query", [0.025, 0.05])):
        kernel = moved["encoder_text"]["layers"][name]["kernel"]
        for layer in (0, 1):
            np.testing.assert_allclose(kernel[layer], expected[layer], atol=1e-6)
    np.testing.assert_allclose(moved["encoder_text"]["words"], 0.0125, atol=1e-6)
    np.testing.assert_allclose(moved["head"]["bias"], 0.1, atol=1e-6)
    np.testing.assert_allclose(moved["head"]["kernel"], 0.1 * (1 + 2.0), atol=1e-6)


def test_a_prefix_says_the_same(pretrained):
    """Cut to the longest text or not, tokens in front, behind or with gaps."""
    rng = np.random.default_rng(0)
    mask = rng.random((5, 3, 40)) < 0.3
    ids = np.where(mask, rng.integers(4, 20, mask.shape), 0)

    @jax.jit
    def said(longest):
        encoder = Bert(pretrained.config)
        run = lambda module, *args: encode_prefix(module, *args)  # noqa: E731
        return encoder.apply({"params": pretrained.params}, ids, mask, 0.0, longest, method=run)

    longest = mask.sum(-1).max()
    short, whole = said(jnp.int32(longest)), said(jnp.int32(40))
    assert lengths(40) == (16, 24, 32, 40)
    np.testing.assert_allclose(short, whole, rtol=1e-5, atol=1e-5)
    assert not np.any(np.asarray(short)[~mask])
    row, place = 2, mask[2, 1]
    dense = jax.jit(Bert(pretrained.config).apply)(
        {"params": pretrained.params}, ids[row, 1][place][None], np.ones((1, place.sum()), bool)
    )
    np.testing.assert_allclose(whole[row, 1][place], dense[0], rtol=1e-4, atol=1e-5)


def test_a_prefix_has_the_gradient_of_the_whole(pretrained):
    rng = np.random.default_rng(0)
    mask = rng.random((5, 40)) < 0.3
    ids = np.where(mask, rng.integers(4, 20, mask.shape), 0)
    encoder = Bert(pretrained.config, rank=2)
    params = jax.jit(encoder.init)(jax.random.key(0), ids, mask)["params"]

    def loss(params, longest):
        run = lambda module, *args: encode_prefix(module, *args)  # noqa: E731
        rngs = {"dropout": jax.random.key(1)}
        said = encoder.apply({"params": params}, ids, mask, 0.0, longest, method=run, rngs=rngs)
        return jnp.sin(said).sum()

    slope = jax.jit(jax.grad(loss))
    cut, whole = slope(params, jnp.int32(mask.sum(-1).max())), jax.jit(jax.grad(loss))(params, None)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-4)
    jax.tree.map(close, cut, whole)


def test_batches_of_like_length():
    """Every place once an epoch, and short with short."""
    count, size = 1000, 10
    tokens = jnp.asarray(np.random.default_rng(0).integers(1, 60, count))
    draw = jax.jit(lambda step: shuffled_positions(jax.random.key(0), step, size, count, tokens))
    batches = np.array([draw(step) for step in range(2 * count // size)])
    for epoch in np.split(batches, 2):
        assert sorted(epoch.ravel()) == list(range(count))
    spread = np.ptp(np.asarray(tokens)[batches], axis=1)
    assert np.median(spread) < 59 / POOL * 2
    assert not np.array_equal(batches[:100], batches[100:])


@pytest.mark.parametrize(("past", "future"), [(0, 0), (2, 1)])
def test_tokens_of_a_window(talks, past, future):
    found = window_tokens(talks.splits["test"], "text", past, future)
    split = jax.device_put(device_split(talks.splits["test"], (past, future), ["text"]))
    np.testing.assert_array_equal(split.lengths["tags"], found[split.rows["tags"]])
    rows = jnp.arange(len(found))
    samples = jax.vmap(lambda row: gather(split, row, jnp.int32(0), past, future))(rows)
    np.testing.assert_array_equal(found, samples.masks["text"].sum(-1))
