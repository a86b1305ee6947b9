"""What a model is: a Linen module with a configuration and a declaration, registered by name.

Training, evaluation, search, prediction, export and reports know what stands here and no model.
A model is a Linen module class `M` with one attribute `config`, of a subclass of `NetworkConfig`:

- `M.declare(config) -> Declaration` (static): its genes, parts and gates;
- `M(config)(sample, structure, rates, dataset, longest=None) -> Outputs`, a pure function of
  arrays, on one sample or any leading axes of them;
- `M.fold(network, small, params) -> params` (static, optional): what a specialised network needs of
  parameters that it does not have;
- `M.losses(config, views, truth) -> {name: float[]}` (static, optional): what training minimises
  beside the tasks' losses, weighed, of a whole batch of one data set. `views` are the `Outputs` of
  its samples as training hides them and, where the configuration says `compares_views`, of them as
  they are, last; rows that do not count have no presence.
"""

import dataclasses
import functools
import typing
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Bool, Float, Int

from haemsa_jax.config import NetworkConfig, is_encoder
from haemsa_jax.encoders.interface import parted
from haemsa_jax.errors import IF_OWN, InputError
from haemsa_jax.models.layers import Scalar
from haemsa_jax.sample import Sample
from haemsa_jax.structure.parts import Declaration, Structure, default_structure, task_masks

Array = jax.Array


@struct.dataclass
class Rates:
    """Dropout rates, float[] each; without a `dropout` random stream they do nothing."""

    inner: Scalar = 0.0
    inputs: Scalar = 0.0
    encoder: Scalar = 0.0


class Outputs(struct.PyTreeNode):
    """What a model returns.

    Attributes:
      predictions: per task id of the data set float[..., C]: label units for a regression, logits
        otherwise. It is meant for the samples whose `task` it is.
      auxiliary: per task id float[..., M, C], the same from each modality alone; empty where a
        model has no such heads.
      presence: bool[..., M], modalities that were there and that the task may read.
      gates: by name of its declared gates, float[..., parts]; zeros for what is absent.
      representations: by name; known to the losses on representations are `summaries`, `shared`,
        `specific` and `imputed`, float[..., M, D], zeros for an absent modality; `joined` is
        float[..., D], what the heads read.
    """

    predictions: dict[str, Float[Array, "*batch _outputs"]]
    auxiliary: dict[str, Float[Array, "*batch modalities _outputs"]]
    presence: Bool[Array, "*batch modalities"]
    gates: dict[str, Float[Array, "*batch _parts"]]
    representations: dict[str, Float[Array, "... width"]]


class Truth(NamedTuple):
    """What a batch of one data set is to be, by task id.

    Attributes:
      labels: [B] or [B, C]; zeros where a row does not count.
      weights: float[B], 0 where a row does not count for the task.
      heads: the constants of the task's head, as `TaskKind.head_statistics` gives them.
    """

    labels: dict[str, Array]
    weights: dict[str, Array]
    heads: dict[str, Mapping[str, Array]]


class Model(Protocol):
    """What the class of a model provides, as the text of this module says."""

    config: Any

    def __init__(self, config: Any) -> None: ...

    @staticmethod
    def declare(config: Any) -> Declaration:
        """Genes, parts and gates of a configuration."""

    def __call__(
        self,
        sample: Sample,
        structure: Structure,
        rates: Rates,
        dataset: str,
        longest: Mapping[str, Int[Array, ""]] | None = None,
    ) -> Outputs:
        """Outputs on samples of one data set."""


MODELS: dict[str, type[Model]] = {}


def register(module: type) -> type:
    """Makes a model known by the `model` name of its configuration class; a decorator.

    Raises:
      InputError: the name is taken, or the module's configuration has none.
    """
    config = config_class(module)
    if not config.model:
        raise InputError(f"{config.__name__} has no name; set its class variable `model`")
    if MODELS.get(config.model, module) is not module:
        raise InputError(f"a model {config.model!r} is registered already; choose another name")
    MODELS[config.model] = module
    return module


def config_class(module: type) -> type[NetworkConfig]:
    """The class of a model's configuration: the type of its attribute `config`."""
    return typing.get_type_hints(module)["config"]


def model_named(name: str) -> type[Model]:
    """A registered model.

    Raises:
      InputError: there is none of that name.
    """
    import haemsa_jax.models  # noqa: F401  (registers those of the library)

    if name not in MODELS:
        choices = ", ".join(MODELS)
        raise InputError(f"model={name!r} is unknown; choose from {choices}{IF_OWN}")
    return MODELS[name]


def model_of(network: NetworkConfig) -> type[Model]:
    """The model that a configuration is for."""
    return model_named(network.model)


def build(network: NetworkConfig) -> nn.Module:
    """The module of a configuration."""
    return cast(nn.Module, model_of(network)(network))


def readable(
    network: NetworkConfig, structure: Structure, task_id: str
) -> dict[str, Bool[Array, ""]]:
    """By modality of the task's data set bool[], whether the task may read it."""
    row = task_masks(network, structure, "modalities", network.modalities)
    row = row[network.task_index(task_id)]
    dataset = task_id.rpartition(":")[0]
    return {m: row[network.modalities.index(m)] > 0 for m in network.widths[dataset]}


def init_variables(model: nn.Module, key: Array) -> tuple[dict, dict]:
    """Fresh parameters and the constants' placeholders, for all data sets of the network.

    Pure; under `jit` only the initialisers are compiled. `variables_of` puts both together for
    `apply`.
    """
    network: NetworkConfig = model.config

    def visit(module):
        for dataset, widths in network.widths.items():
            sample = Sample(
                features={m: jnp.zeros((1, width)) for m, width in widths.items()},
                masks={m: jnp.ones(1, bool) for m in widths},
                offsets={m: jnp.zeros(1, jnp.int32) for m in widths},
                task=jnp.zeros((), jnp.int32),
            )
            module(sample, default_structure(network), Rates(), dataset)

    variables = model.init({"params": key}, method=visit)
    params, fixed = parted(network, variables["params"])
    return params, {**variables.get("constants", {}), **fixed}


@functools.partial(jax.jit, static_argnums=0)
def fresh_variables(network: NetworkConfig, key: Array) -> tuple[dict, dict]:
    """`init_variables` of a configuration, of which a process keeps the trace."""
    return init_variables(build(network), key)


def constant_axes(constants: Mapping[str, Any]) -> dict[str, int | None]:
    """`in_axes` of the constants of a stack of networks: each has its own, save for encoders."""
    return {name: None if is_encoder(name) else 0 for name in constants}


def constants_at(constants: Mapping[str, Any], place: Any) -> dict[str, Any]:
    """The constants of one network, or of several, of a stack; indexes the leading axis."""
    return {
        name: value if is_encoder(name) else jax.tree.map(lambda x: x[place], value)
        for name, value in constants.items()
    }


def variables_of(params: Mapping[str, Any], constants: Mapping[str, Any]) -> dict[str, Any]:
    """What `apply` takes; an adapted encoder's own weights are constants until here."""
    fixed = {name: value for name, value in constants.items() if is_encoder(name)}
    rest = {name: value for name, value in constants.items() if name not in fixed}
    whole = {name: overlaid(value, params.get(name, {})) for name, value in fixed.items()}
    return {"params": {**params, **whole}, "constants": rest}


def overlaid(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """A tree of arrays in which those of another take their places, or are added."""
    merged = dict(below)
    for name, value in above.items():
        nested = isinstance(value, Mapping) and name in below
        merged[name] = overlaid(below[name], value) if nested else value
    return merged


def fields_of(name: str) -> tuple[dataclasses.Field, ...]:
    """The fields of a model's configuration that are its own, beside those that all models have."""
    shared = {field.name for field in dataclasses.fields(NetworkConfig)}
    own = dataclasses.fields(config_class(model_named(name)))
    return tuple(field for field in own if field.name not in shared)
