"""Specialising: the small network says what the supernet says, and is as small as counted.

HAEMSA_GENOMES=300 tries as many random genomes, a second each.
"""

import dataclasses
import functools
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TASKS, params_of
from jax.extend.core import jaxprs_in_params

from haemsa_jax.config import NetworkConfig
from haemsa_jax.data.batches import device_split, gather
from haemsa_jax.data.presence import restrict
from haemsa_jax.errors import InputError
from haemsa_jax.evolution.genome import decode, gene_table
from haemsa_jax.evolution.size import size
from haemsa_jax.evolution.specialise import specialise
from haemsa_jax.models.architecture import default_architecture
from haemsa_jax.models.haemsa import Haemsa, Rates, init_variables
from haemsa_jax.training.constants import make_constants
from launch.tasks import restricted

GENOMES = int(os.environ.get("HAEMSA_GENOMES", "8"))
PATTERNS = [(t, a, v) for t in (0, 1) for a in (0, 1) for v in (0, 1) if t + a + v]


@pytest.fixture(scope="module")
def deep(deep):
    """With all that can be shut."""
    return dataclasses.replace(deep, sharing="imputed")


@pytest.fixture(scope="module")
def setting(talks, deep):
    params = params_of(deep)
    constants = make_constants(deep, {talks.name: talks})
    data = jax.device_put(device_split(talks.splits["train"]))
    samples = []
    for index, pattern in enumerate(PATTERNS):
        sample = gather(data, jnp.int32(5 * index), jnp.int32(index % 3), 1, 1)
        samples.append(restrict(sample, dict(zip(deep.modalities, pattern, strict=True))))
    return params, constants, jax.tree.map(lambda *x: jnp.stack(x), *samples)


def architectures(network, count, whole=()):
    """Random ones; some genes, by level, may be held at all there is."""
    table = gene_table(network)
    genomes = np.random.default_rng(2).normal(size=(count, table.size))
    genomes[: count // 2] -= 0.7  # half of them small
    genomes[:, table.places(whole)] = 3.0
    return [
        jax.tree.map(lambda x, i=i: x[i], many)
        for many in [jax.jit(jax.vmap(lambda g: decode(network, g)[0]))(genomes)]
        for i in range(count)
    ]


def forward(network, params, constants, samples, architecture):
    variables = {"params": params, "constants": constants}
    return Haemsa(network).apply(variables, samples, architecture, Rates(), "talks")


@jax.debug_key_reuse(False)  # which doubles the time of every single operation
def test_the_small_network_says_the_same(deep, setting):
    """All presence patterns, many genomes."""
    params, constants, samples = setting
    masked = jax.jit(lambda a: forward(deep, params, constants, samples, a))
    sizes = []
    for architecture in architectures(deep, GENOMES, ["context"]):
        small, cut, constants_cut = specialise(deep, params, constants, architecture)
        said = jax.jit(functools.partial(forward, small))(cut, constants_cut, samples, architecture)
        expected = masked(architecture)
        for index, task_id in enumerate(deep.tasks):
            mine = samples.task == index
            close(said.predictions[task_id][mine], expected.predictions[task_id][mine])
            there = expected.presence[mine][..., None]
            close(
                jnp.where(there, said.auxiliary[task_id][mine], 0),
                jnp.where(there, expected.auxiliary[task_id][mine], 0),
            )
        for name in (
            "presence", "local_gates", "link_weights", "fusion_gates", "specific_gates",
            "summaries",
        ):  # fmt: skip
            close(getattr(said, name), getattr(expected, name))
        sizes.append(count_parameters(cut))
    assert min(sizes) < 0.3 * count_parameters(params)


@pytest.mark.parametrize(
    "reach", [[[0, 0], [0, 0], [0, 0]], [[1, 0], [0, 1], [0, 0]], [[2, 0]] * 3]
)
def test_the_small_network_has_the_window_that_its_tasks_read(small, solo, reach):
    network = dataclasses.replace(
        small, widths={"talks": dict(solo.widths)}, context={"talks": (2, 1)}
    )
    params, constants = params_of(network), make_constants(network, {"talks": solo})
    architecture = default_architecture(network).replace(context=jnp.array(reach, jnp.float32))
    cut, *variables = specialise(network, params, constants, architecture)
    assert cut.context_of("talks") == tuple(np.max(reach, axis=0))

    data = jax.device_put(device_split(solo.splits["train"]))
    rows, tasks = jnp.arange(12), jnp.arange(12) % 3

    def said(network, params, constants, architecture):
        window = network.context_of("talks")
        samples = jax.vmap(lambda row, task: gather(data, row, task, *window))(rows, tasks)
        return forward(network, params, constants, samples, architecture).predictions

    everything = default_architecture(network)
    whole = jax.jit(lambda a: said(network, params, constants, a))
    expected = whole(architecture)
    found = jax.jit(lambda a: said(cut, *variables, a))(architecture)
    for index, (task_id, mine) in enumerate(found.items()):
        close(mine[index::3], expected[task_id][index::3])
    assert not np.allclose(whole(everything)["talks:score"], expected["talks:score"], atol=1e-3)


def close(left, right):
    scale = max(1.0, float(jnp.abs(right).max(initial=0)))
    np.testing.assert_allclose(left / scale, right / scale, atol=1e-5)


def count_parameters(tree):
    return sum(np.size(leaf) for leaf in jax.tree.leaves(tree))


def count_flops(jaxpr):
    """Operations of all matrix products in a traced function."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("dot_general", "product"):
            left, out = equation.invars[0].aval, equation.outvars[0].aval
            if equation.primitive.name == "product":  # ours, of the last two axes
                contracted = [left.ndim - 2 + equation.params["over"][0]]
            else:
                (contracted, _), _ = equation.params["dimension_numbers"]
            total += 2 * out.size * np.prod([left.shape[axis] for axis in contracted])
        for inner in jaxprs_in_params(equation.params):
            total += count_flops(inner)
    return total


@pytest.mark.parametrize("sharing", ["whole", "imputed"])
def test_size_is_counted_exactly(talks, deep, sharing):
    """Two data sets, one of them without audio, so that every sum over data sets is exercised."""
    tasks = {**deep.tasks, "words:score": deep.tasks["talks:score"]}
    widths = {**deep.widths, "words": {"text": 7, "vision": 4}}
    network = NetworkConfig(
        widths, tasks, width=8, depth=2, heads=2, link_width=4, fusion_rank=2, sharing=sharing,
        context={"talks": (3, 1)},
    )  # fmt: skip
    params, constants = jax.eval_shape(
        lambda key: init_variables(Haemsa(network), key), jax.random.key(0)
    )
    zeros = lambda tree: jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), tree)  # noqa: E731
    params, constants = zeros(params), zeros(constants)
    tokens = {"talks": {"text": 3, "audio": 5, "vision": 2}, "words": {"text": 4, "vision": 6}}
    predict = jax.jit(lambda a: size(network, a, tokens))
    for architecture in architectures(network, 6):
        small, cut, constants_cut = specialise(network, params, constants, architecture)
        expected, _ = jax.eval_shape(
            lambda key, small=small: init_variables(Haemsa(small), key), jax.random.key(0)
        )
        assert jax.tree.map(np.shape, cut) == jax.tree.map(lambda x: x.shape, expected)
        predicted = predict(architecture)
        assert predicted.parameters == count_parameters(cut)
        operations = 0
        for dataset, lengths in tokens.items():
            window = 1 + sum(small.context_of(dataset))
            lengths = {m: n * window for m, n in lengths.items()}
            sample = sample_of(network, dataset, lengths)
            jaxpr = jax.make_jaxpr(
                lambda s, p, c, d=dataset, n=small, a=architecture: Haemsa(n).apply(
                    {"params": p, "constants": c}, s, a, Rates(), d
                )
            )(sample, cut, constants_cut)
            operations += count_flops(jaxpr.jaxpr)
        assert predicted.flops == operations


def sample_of(network, dataset, lengths):
    from haemsa_jax.sample import Sample

    widths = network.widths[dataset]
    return Sample(
        features={m: np.zeros((n, widths[m]), np.float32) for m, n in lengths.items()},
        masks={m: np.ones(n, bool) for m, n in lengths.items()},
        offsets={m: np.zeros(n, np.int32) for m, n in lengths.items()},
        task=np.int32(network.task_index(network.tasks_of(dataset)[0])),
    )


def test_a_network_for_some_modalities_builds_nothing_for_others(small):
    some = restricted(small, "text+audio")
    assert some.built_modalities == ("text", "audio")
    assert set(some.built.links) == {("text", "audio"), ("audio", "text")}
    assert set(some.built.local) == {"text", "audio"}
    seen = dataclasses.replace(
        small, widths={"talks": {"text": 6, "audio": 4}}, tasks={"talks:score": TASKS["score"]}
    )
    with pytest.raises(InputError, match="'vision' is none of text, audio"):
        restricted(seen, "vision")
