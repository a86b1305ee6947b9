"""Models held against their reference implementations: their weights carried over, equal outputs.

Fixtures hold weights under our names, samples, and what the reference computed of them, on a small
configuration with seeded weights. No line of the references is here.
"""

from pathlib import Path

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from haemsa_jax.config import TaskSpec
from haemsa_jax.models import Rates, build, default_structure, init_variables
from haemsa_jax.models.model import Truth, config_class, model_named, model_of
from haemsa_jax.sample import Sample

FIXTURES = Path(__file__).parent / "fixtures" / "references"
# By model the repository and commit whose outputs the fixture holds, and its sizes there.
REFERENCES = {
    "mult": ("yaohungt/Multimodal-Transformer a670936", {"heads": 2, "layers": 2, "memory": 3}),
    "misa": ("declare-lab/MISA ec42fad, 16 hidden units in its transformer", {}),
    "self_mm": ("thuiar/Self-MM 1786283, its LSTM in place of BERT", {}),
    "emt": ("sunlicai/EMT-DLFR e9f0960, its LSTM in place of BERT", {"heads": 2}),
    "dialogue_rnn": ("declare-lab/conv-emotion 6128ca2", {"context": {"talk": (2, 2)}}),
}


def outputs_of(name, sizes):
    """Our outputs with the reference's weights, on its samples, and what it said of them.

    Returns:
      The network, its outputs, what they are to be, and the reference's.
    """
    with np.load(FIXTURES / f"{name}.npz") as arrays:
        kept = unflatten_dict(dict(arrays), sep="/")
    features, expected = kept["features"], kept["expected"]
    joined = expected["representations"]["joined"]
    network = config_class(model_named(name))(
        {"talk": {m: x.shape[-1] for m, x in features.items()}},
        {"talk:mood": TaskSpec("mood", "regression", ("mae",), range=(-3.0, 3.0))},
        width=joined.shape[-1], clip=1e6, **sizes,
    )  # fmt: skip
    shapes = jax.eval_shape(lambda key: init_variables(build(network), key), jax.random.key(0))
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    params, constants = (flatten_dict(tree, sep="/") for tree in zeros)
    sizes = [params[path].size for path in kept["names"]]
    values = np.split(kept["values"], np.cumsum(sizes)[:-1])
    for path, value in zip(kept["names"], values, strict=True):
        params[path] = value.reshape(params[path].shape)
    constants = {path: x + path.endswith(("std", "scale")) for path, x in constants.items()}
    trees = {"params": params, "constants": constants}
    variables = {name: unflatten_dict(tree, sep="/") for name, tree in trees.items()}
    sample = Sample(
        features=features,
        masks={m: np.ones(x.shape[:-1], bool) for m, x in features.items()},
        offsets={m: offsets_of(network, x) for m, x in features.items()},
        task=np.zeros(len(joined), np.int32),
    )
    structure = default_structure(network)
    apply = jax.jit(lambda *of: build(network).apply(*of, Rates(), "talk"))
    out = apply(variables, sample, structure)
    truth = Truth(
        labels={"talk:mood": kept.get("labels", np.zeros(len(joined)))},
        weights={"talk:mood": np.ones(len(joined))},
        heads={"talk:mood": variables["constants"]["head_talk-mood"]},
    )
    return network, out, truth, expected


def offsets_of(network, x):
    """Of one utterance, or of tokens that are one utterance each."""
    past, future = network.context_of("talk")
    return np.full(x.shape[:-1], np.arange(-past, future + 1), np.int32)


def close(left, right):
    np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", REFERENCES)
def test_outputs_and_losses_are_those_of_the_reference(name):
    network, out, truth, expected = outputs_of(name, REFERENCES[name][1])
    for key, value in expected["representations"].items():
        close(out.representations[key], value)
    for task_id, value in expected.get("auxiliary", {}).items():
        close(out.auxiliary[task_id], value)
    if "losses" in expected:
        losses = model_of(network).losses(network, [out], truth)
        assert {*losses} == {*expected["losses"]}
        for key, value in expected["losses"].items():
            close(losses[key], getattr(network, key) * value)
