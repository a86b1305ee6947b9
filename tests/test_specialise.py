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
from jax.extend.core import jaxprs_in_params
from networks import MODELS, OTHERS, as_model, params_of
from samples import TASKS

from haemsa_jax.data.batches import device_split, gather
from haemsa_jax.errors import InputError
from haemsa_jax.evolution.genome import decode, gene_table
from haemsa_jax.models import Rates, build, default_structure, init_variables
from haemsa_jax.structure.interface import SIDES
from haemsa_jax.structure.parts import declare
from haemsa_jax.structure.size import parameters, size
from haemsa_jax.structure.specialise import specialise
from haemsa_jax.testing import check_model
from haemsa_jax.training.measurement.normalization import make_constants
from launch.tasks import restricted

GENOMES = int(os.environ.get("HAEMSA_GENOMES", "8"))
# Sizes of its own that a model has in these tests, and how small one of a few genomes is, at most.
SIZES = {"haemsa": {"depth": 1, "heads": 2, "link_width": 4, "fusion_rank": 2}}
SIZES |= {name: {} for name in OTHERS} | {"tfn": {"factor": 3}, "mfn": {"utterance_steps": 2}}
SIZES |= {"mult": {"heads": 2, "layers": 2, "memory": 1}, "emt": {"heads": 2, "layers": 2}}
SMALLEST = {"haemsa": 0.3} | dict.fromkeys(OTHERS, 0.6) | {"misa": 0.75}


@pytest.fixture(scope="module", params=MODELS)
def network(request, deep):
    """Of every model, with all that can be shut."""
    if request.param == "haemsa":
        return dataclasses.replace(deep, sharing="imputed")
    return as_model(request.param, deep, **SIZES[request.param])


def structures(network, count):
    """Random ones."""
    table = gene_table(network)
    genomes = np.random.default_rng(2).normal(size=(count, table.size))
    genomes[: count // 2] -= 0.7  # half of them small
    return [
        jax.tree.map(lambda x, i=i: x[i], many)
        for many in [jax.jit(jax.vmap(lambda g: decode(network, g)[0]))(genomes)]
        for i in range(count)
    ]


def forward(network, params, constants, samples, structure):
    variables = {"params": params, "constants": constants}
    return build(network).apply(variables, samples, structure, Rates(), "talks")


def test_every_model_keeps_the_protocol(network):
    """Its small networks say the same; the other checks come along."""
    check_model(network, structures=GENOMES)
    count = jax.jit(functools.partial(parameters, network))
    sizes = [count(structure) for structure in structures(network, GENOMES)]
    whole = count(default_structure(network))
    assert min(sizes) < SMALLEST[network.model] * whole


@pytest.mark.parametrize(
    "reach", [[[0, 0], [0, 0], [0, 0]], [[1, 0], [0, 1], [0, 0]], [[2, 0]] * 3]
)
@pytest.mark.parametrize("model", MODELS)
def test_the_small_network_has_the_window_that_its_tasks_read(small, solo, model, reach):
    network = as_model(
        model, small, widths={"talks": dict(solo.widths)}, context={"talks": (2, 1)}, **SIZES[model]
    )
    params, constants = params_of(network), make_constants(network, {"talks": solo})
    everything = default_structure(network)
    structure = dict(everything)
    for task_id, counts in zip(network.tasks, reach, strict=True):
        for side, count in zip(SIDES, counts, strict=True):
            gene = declare(network).gene[f"{side}/{task_id}"]
            structure[gene.name] = np.int32(gene.labels.index(str(count)))
    cut = specialise(network, params, constants, structure)
    assert cut.network.context_of("talks") == tuple(np.max(reach, axis=0))

    data = jax.device_put(device_split(solo.splits["train"]))
    rows, tasks = jnp.arange(12), jnp.arange(12) % 3

    def predictions(network, params, constants, structure):
        window = network.context_of("talks")
        samples = jax.vmap(lambda row, task: gather(data, row, task, *window))(rows, tasks)
        return forward(network, params, constants, samples, structure).predictions

    whole = jax.jit(lambda structure: predictions(network, params, constants, structure))
    expected = whole(structure)
    specialised = jax.jit(functools.partial(predictions, cut.network))(
        cut.params, cut.constants, cut.structure
    )
    for index, (task_id, values) in enumerate(specialised.items()):
        close(values[index::3], expected[task_id][index::3])
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
        times = equation.params["length"] if equation.primitive.name == "scan" else 1
        for inner in jaxprs_in_params(equation.params):
            total += times * count_flops(inner)
    return total


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        ("haemsa", SIZES["haemsa"] | {"depth": 2, "sharing": "whole"}),
        ("haemsa", SIZES["haemsa"] | {"depth": 2, "sharing": "imputed"}),
        *((name, SIZES[name]) for name in OTHERS),
    ],
)
def test_size_is_counted_exactly(deep, model, changes):
    """Two data sets, one of them without audio, so that every sum over data sets is exercised."""
    tasks = {**deep.tasks, "words:score": deep.tasks["talks:score"]}
    widths = {**deep.widths, "words": {"text": 7, "vision": 4}}
    network = as_model(
        model, deep, widths=widths, tasks=tasks, context={"talks": (3, 1)}, **changes
    )
    params, constants = jax.eval_shape(
        lambda key: init_variables(build(network), key), jax.random.key(0)
    )
    zeros = lambda tree: jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), tree)  # noqa: E731
    params, constants = zeros(params), zeros(constants)
    tokens = {"talks": {"text": 3, "audio": 5, "vision": 2}, "words": {"text": 4, "vision": 6}}
    predict = jax.jit(lambda a: size(network, a, tokens))
    for structure in structures(network, 6):
        small = specialise(network, params, constants, structure)
        expected, _ = jax.eval_shape(
            lambda key, small=small: init_variables(build(small.network), key), jax.random.key(0)
        )
        assert jax.tree.map(np.shape, small.params) == jax.tree.map(lambda x: x.shape, expected)
        predicted = predict(structure)
        assert predicted.parameters == count_parameters(small.params)
        # Counted on the small network itself it is the same.
        assert parameters(small.network, small.structure) == predicted.parameters
        operations = 0
        for dataset, lengths in tokens.items():
            window = 1 + sum(small.network.context_of(dataset))
            lengths = {m: n * window for m, n in lengths.items()}
            sample = sample_of(network, dataset, lengths)
            jaxpr = jax.make_jaxpr(
                lambda s, p, c, d=dataset, small=small: build(small.network).apply(
                    {"params": p, "constants": c}, s, small.structure, Rates(), d
                )
            )(sample, small.params, small.constants)
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
    assert set(some.links) == {("text", "audio"), ("audio", "text")}
    blocks = {part.name for part in declare(some).of_kind("block")}
    assert blocks == {"local/text/0", "local/audio/0"}
    seen = dataclasses.replace(
        small, widths={"talks": {"text": 6, "audio": 4}}, tasks={"talks:score": TASKS["score"]}
    )
    with pytest.raises(InputError, match="'vision' is none of text, audio"):
        restricted(seen, "vision")
