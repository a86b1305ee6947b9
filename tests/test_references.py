"""Published models say what their reference implementations say, with the same weights.

`fixtures/references` holds seeded weights, inputs and outputs; torch's are from torch 2.13, Keras's
from Keras 3.12 on it:

- `tfn`, `lmf`, `mfn`: the classes of thuiar/MMSA at a94e65d, in evaluation.
- `bc_lstm`, `gated_attention`: layers as put together in declare-lab/multimodal-deep-learning at
  111b401, `bc-LSTM/lstm.py` and `contextual-multimodal-fusion/trimodal_attention_models.py`.
"""

import itertools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from haemsa_jax.config import TaskSpec
from haemsa_jax.models import LmfConfig, TfnConfig
from haemsa_jax.models.gated_attention import GatedLink
from haemsa_jax.models.lmf import LowRank
from haemsa_jax.models.mfn import Memory
from haemsa_jax.models.recurrences import Bidirectional, Gru, Lstm
from haemsa_jax.models.subnets import Perceptron
from haemsa_jax.models.tfn import Tensor

FIXTURES = Path(__file__).parent / "fixtures" / "references"
MODALITIES = ("text", "audio", "vision")
THEIRS = {"text": "text", "audio": "audio", "vision": "video"}
LETTERS = {"text": "l", "audio": "a", "vision": "v"}
TORCH = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
TASK = {"talks:score": TaskSpec("score", "regression", ("mae",), range=(-3.0, 3.0))}
WIDTHS = {"talks": dict.fromkeys(MODALITIES, 4)}


@pytest.fixture
def stored(request):
    with np.load(FIXTURES / f"{request.param}.npz") as file:
        return dict(file)


def of(name):
    return pytest.mark.parametrize("stored", [name], indirect=True)


def close(ours, theirs):
    assert np.abs(theirs).max() > 0.1
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def linear(stored, name):
    """A layer of torch's as ours."""
    return {"kernel": stored[f"param/{name}.weight"].T, "bias": stored[f"param/{name}.bias"]}


def perceptrons(stored):
    """What perceptrons of both modalities say that have one there."""
    for m in ("audio", "vision"):
        layers = {
            f"layer_{n}": linear(stored, f"{THEIRS[m]}_subnet.linear_{n + 1}") for n in range(3)
        }
        yield m, Perceptron((4, 4, 4)).apply({"params": layers}, stored[m])[0]


@pytest.mark.parametrize("stored", ["tfn", "lmf"], indirect=True)
def test_perceptrons(stored):
    for m, said in perceptrons(stored):
        close(said, stored[f"z_{m}"])


@of("tfn")
def test_tensor_fusion(stored):
    config = TfnConfig(WIDTHS, TASK, width=6, factor=4)
    # Their tensor lies by audio, vision, text, each with the constant first.
    kernel = stored["param/post_fusion_layer_1.weight"].T.reshape(5, 5, 5, -1)
    kernel = kernel.transpose(2, 0, 1, 3)
    blocks = []
    for count in (1, 2, 3):
        for chosen in itertools.combinations(MODALITIES, count):
            place = tuple(slice(1, None) if m in chosen else 0 for m in MODALITIES)
            blocks.append(kernel[place].reshape(4**count, -1))
    bias = kernel[0, 0, 0] + stored["param/post_fusion_layer_1.bias"]
    params = {
        "layer_0": {"kernel": np.concatenate(blocks), "bias": bias},
        "layer_1": linear(stored, "post_fusion_layer_2"),
    }
    vectors = {m: stored[f"z_{m}"] for m in MODALITIES}
    close(Tensor(config).apply({"params": params}, vectors, jnp.ones(4)), stored["joined"])


@of("lmf")
def test_low_rank_fusion(stored):
    config = LmfConfig(WIDTHS, TASK, width=4, rank=3)
    weights, bias = stored["param/fusion_weights"][0], stored["param/fusion_bias"][0]
    params = {"weights": weights, "bias": bias}
    for m in MODALITIES:
        factor = stored[f"param/{THEIRS[m]}_factor"].transpose(1, 0, 2).reshape(5, -1)
        params[f"factor_{m}"] = {"kernel": factor[1:], "bias": factor[0]}
    vectors = {m: stored[f"z_{m}"] for m in MODALITIES}
    allowed, ranks = jnp.ones((len(vectors["text"]), 3)), jnp.ones(3)
    said = LowRank(config).apply({"params": params}, vectors, allowed, ranks)
    close(said, stored["joined"])


@of("mfn")
def test_memory_fusion(stored):
    present = jnp.ones(stored["text"].shape[:-1], bool)
    both = {}
    for m in MODALITIES:
        weight = {x: stored[f"param/lstm_{LETTERS[m]}.{x}"] for x in TORCH}
        bias = weight["bias_ih"] + weight["bias_hh"]
        given = {"kernel": weight["weight_ih"].T, "bias": bias}
        params = {"input": given, "recurrent": weight["weight_hh"].T}
        both[m] = Lstm(4).apply({"params": params}, stored[m], present, False)
    first = [stored[f"param/gamma{n}_fc1.weight"].T for n in (1, 2)]
    second = [linear(stored, f"gamma{n}_fc2") for n in (1, 2)]
    bias = np.concatenate([stored[f"param/gamma{n}_fc1.bias"] for n in (1, 2)])
    params = {
        "attending": linear(stored, "att1_fc1"),
        "attention": linear(stored, "att1_fc2"),
        "proposing": linear(stored, "att2_fc1"),
        "candidate": linear(stored, "att2_fc2"),
        "gating": {"kernel": np.concatenate([x[:-4] for x in first], axis=1), "bias": bias},
        "recurrent": np.concatenate([x[-4:] for x in first], axis=1),
        "gates": np.stack([x["kernel"] for x in second]),
        "bias": np.stack([x["bias"] for x in second]),
    }
    cells = jnp.stack([both[m][..., 4:] for m in MODALITIES], axis=-2)
    known = jnp.ones(cells.shape[:-1], bool)
    parts = tuple(f"memory/{m}" for m in MODALITIES)
    memory = Memory(4, parts).apply({"params": params}, cells, known)
    last = np.concatenate([*(both[m][:, -1, :4] for m in MODALITIES), memory], axis=-1)
    close(last, stored["last"])
    joint = linear(stored, "out_fc1")
    close(np.maximum(last @ joint["kernel"] + joint["bias"], 0.0), stored["joined"])


def recurrence(stored, name, cell):
    """Parameters of a recurrence both ways and its dense layer, from Keras's."""
    params = {"out": {x: stored[f"param/{name}/out/{x}"] for x in ("kernel", "bias")}}
    for side in ("forward", "backward"):
        kernel, recurrent, bias = (
            stored[f"param/{name}/{side}/{x}"] for x in ("kernel", "recurrent", "bias")
        )
        params[side] = {"input": {"kernel": kernel, "bias": bias}, "recurrent": recurrent}
        if cell is Gru:  # of the second bias only what is reset stands apart
            of_input, of_state = bias
            outside = np.concatenate([of_state[:8], np.zeros(4, np.float32)])
            params[side]["input"]["bias"] = of_input + outside
            params[side]["bias"] = of_state[8:]
    return {"params": params}


@of("bc_lstm")
def test_both_levels_of_bc_lstm(stored):
    known, said = stored["known"], []
    for m in MODALITIES:
        level = Bidirectional(4, Lstm, jnp.tanh)
        said.append(level.apply(recurrence(stored, m, Lstm), stored[m], known))
        close(said[-1][known], stored[f"level/{m}"][known])
    fused = Bidirectional(4, Lstm, jax.nn.relu)
    together = fused.apply(recurrence(stored, "fused", Lstm), jnp.concatenate(said, axis=-1), known)
    close(together[known], stored["joined"][known])


@of("gated_attention")
def test_contextual_cross_attention(stored):
    known = jnp.ones(stored["text"].shape[:-1], bool)
    context = Bidirectional(4, Gru, jnp.tanh)
    heard = {}
    for m in ("text", "audio"):
        heard[m] = context.apply(recurrence(stored, m, Gru), stored[m], known)
        close(heard[m], stored[f"level/{m}"])
    # With an open gate a link says tanh of what `fused` picks: what the source says.
    picked = np.zeros((16, 4), np.float32)
    picked[4:8] = np.eye(4)
    params = {
        "query": {"kernel": np.eye(4)},
        "gate": {"kernel": np.zeros((16, 4)), "bias": np.full(4, 100.0)},
        "fused": {"kernel": picked, "bias": np.zeros(4)},
    }
    for place in range(5):
        link = GatedLink(4).apply(
            {"params": params}, heard["text"][:, place], heard["audio"], known
        )
        close(jnp.arctanh(link[0]), stored["said"][:, place])


def test_the_gate_by_hand():
    rng = np.random.default_rng(0)
    target, source = rng.normal(size=3), rng.normal(size=(2, 3))
    params = {
        "query": {"kernel": rng.normal(size=(3, 3))},
        "gate": {"kernel": rng.normal(size=(12, 3)), "bias": rng.normal(size=3)},
        "fused": {"kernel": rng.normal(size=(12, 3)), "bias": rng.normal(size=3)},
    }
    weights = np.exp(source @ (target @ params["query"]["kernel"]))
    said = weights / weights.sum() @ source
    view = np.concatenate([target, said, target - said, target * said])
    gate, fused = (view @ params[x]["kernel"] + params[x]["bias"] for x in ("gate", "fused"))
    gate = 1 / (1 + np.exp(-gate))
    expected = gate * np.tanh(fused) + (1 - gate) * target, gate
    ours = GatedLink(3).apply(
        {"params": jax.tree.map(jnp.float32, params)},
        jnp.float32(target), jnp.float32(source), jnp.ones(2, bool),
    )  # fmt: skip
    for left, right in zip(ours, expected, strict=True):
        close(left, right)
