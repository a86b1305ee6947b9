"""Annotated shapes and types of arrays are the real ones, in every module of every model.

Networks are traced, not compiled: a shape is known before any number is.
"""

import collections.abc
import dataclasses
import inspect
import types
import typing

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from jaxtyping import AbstractArray, jaxtyped
from networks import MODELS, as_model
from samples import BERT, LENGTHS

from haemsa_jax.encoders import specify
from haemsa_jax.models import Rates, build, default_structure, init_variables, variables_of
from haemsa_jax.models.haemsa.experts import PointwiseExpert, Shapes
from haemsa_jax.models.inputs import Tokens
from haemsa_jax.models.model import Outputs, model_named
from haemsa_jax.sample import Sample

FIELDS = (Sample, Outputs, Tokens)  # whose annotations are looked at as well


def fits(value, annotation) -> bool:
    """Whether a value is what an annotation says, as far as it is about arrays."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, kind) for kind in inner)
    if origin in (dict, collections.abc.Mapping):
        known = isinstance(value, collections.abc.Mapping)
        return known and all(fits(item, inner[1]) for item in value.values())
    if origin is tuple:
        return all(map(fits, value, inner))
    if annotation in FIELDS:
        hints = typing.get_type_hints(annotation)
        return all(fits(getattr(value, name), hint) for name, hint in hints.items())
    if annotation is float:
        return isinstance(value, float | int)
    if annotation is types.NoneType:
        return value is None
    if inspect.isclass(annotation) and issubclass(annotation, AbstractArray):
        return isinstance(value, annotation)
    return True


def make_checked(seen: set[str]):
    """An interceptor that holds every call of this library's modules to its annotations."""

    def checked(call, arguments, keywords, context):
        result, module = call(*arguments, **keywords), type(context.module)
        if context.method_name == "__call__" and module.__module__.startswith("haemsa_jax"):
            signature = inspect.signature(module.__call__)
            given = signature.bind(context.module, *arguments, **keywords).arguments
            hints = {name: p.annotation for name, p in signature.parameters.items()}
            with jaxtyped("context"):
                wrong = [name for name, value in given.items() if not fits(value, hints[name])]
                assert not wrong, f"{module.__name__}: {wrong}"
                assert fits(result, signature.return_annotation), f"{module.__name__} returns"
            seen.add(module.__name__)
        return result

    return checked


def trace(network, dataset: str, lengths) -> set[str]:
    """Names of the modules that a network's pass through 2 x 3 samples called, all checked."""
    model, seen = build(network), set()
    widths, leading = network.widths[dataset], (2, 3)
    rates = Rates(*jnp.full(3, 0.1))

    def run(key):
        of_params, of_dropout = jax.random.split(key)
        variables = variables_of(*init_variables(model, of_params))
        sample = Sample(
            features={m: jnp.zeros((*leading, lengths[m], width)) for m, width in widths.items()},
            masks={m: jnp.ones((*leading, lengths[m]), bool) for m in widths},
            offsets={m: jnp.zeros((*leading, lengths[m]), jnp.int32) for m in widths},
            task=jnp.zeros(leading, jnp.int32),
        )
        longest = {m: jnp.int32(lengths[m]) for m in network.encoded(dataset)}
        return model.apply(
            variables,
            sample,
            default_structure(network),
            rates,
            dataset,
            longest,
            rngs={"dropout": of_dropout},
        )

    with nn.intercept_methods(make_checked(seen)):
        jax.eval_shape(run, jax.random.key(0))
    return seen


@pytest.mark.parametrize("name", MODELS)
def test_arrays_are_as_annotated(small, name):
    own = {"sharing": "imputed"} if name == "haemsa" else {}
    seen = trace(as_model(name, small, **own), "talks", LENGTHS)
    own = {
        "haemsa": {"AttentionLink", "Fusion", "Imputer", "LocalBank", "RecurrenceExpert"},
        "recurrent": {"Gru"},
        "tfn": {"Perceptron", "Tensor"},
        "lmf": {"LowRank", "Perceptron"},
        "mfn": {"Lstm", "Memory"},
        "bc_lstm": {"Bidirectional", "Lstm"},
        "gated_attention": {"Bidirectional", "GatedLink", "Gru"},
        "mult": {"Attention", "Layer", "Transformer"},
        "misa": {"Encoder", "PartsLayer"},
        "dialogue_rnn": {"Direction", "Matching"},
        "self_mm": {"Classifier", "Lstm"},
        "emt": {"Pool", "Projection", "Promotion"},
    }.get(name, set())
    assert {"Inputs", "Stem", "Dropout", "Readout", "Head", model_named(name).__name__} <= seen
    assert own <= seen


def test_those_of_an_encoder_within(small, spoken, pretrained):
    text = specify(pretrained, BERT, max_tokens=24, mode="adapted", rank=2, datasets=("talks",))
    network = dataclasses.replace(
        small,
        widths={spoken.name: dict(spoken.widths)},
        tasks={f"{spoken.name}:score": spoken.tasks["score"]},
        encoders={"text": text},
    )
    assert {"Bert", "Summary"} <= trace(network, spoken.name, {"text": 24})


def test_what_is_not_as_annotated_is_noticed():
    expert = PointwiseExpert(Shapes(width=4))
    with (
        nn.intercept_methods(make_checked(set())),
        pytest.raises(AssertionError, match=r"PointwiseExpert: \['mask'\]"),
    ):
        expert.init(jax.random.key(0), jnp.zeros((3, 4)), jnp.ones(3))
