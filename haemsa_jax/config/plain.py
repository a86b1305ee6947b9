"""Configurations as plain JSON and back, which is how they travel beside a checkpoint."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

import cattrs
from cattrs.gen import make_dict_structure_fn

from haemsa_jax.config.encoder import EncoderSpec
from haemsa_jax.config.network import NetworkConfig
from haemsa_jax.errors import InputError

Config = TypeVar("Config")
MODEL = "model"
_CONVERTER = cattrs.Converter(forbid_extra_keys=True)
_PLAIN_SPEC = make_dict_structure_fn(EncoderSpec, _CONVERTER, _cattrs_forbid_extra_keys=True)


def to_json(config: Any) -> dict[str, Any]:
    """A configuration as plain JSON values; that of a network names its model."""
    values = dataclasses.asdict(config)
    return {MODEL: config.model, **values} if isinstance(config, NetworkConfig) else values


def from_json(config: type[Config], values: Mapping[str, Any]) -> Config:
    """Inverse of `to_json` for any configuration class.

    Raises:
      InputError: a field is missing, unknown or of another type, as where another version wrote it.
    """
    try:
        return _CONVERTER.structure(values, config)
    except InputError:
        raise
    except Exception as error:
        if isinstance(error, ExceptionGroup) and (own := error.subgroup(InputError)):
            raise _first(own) from None
        reasons = "; ".join(cattrs.transform_error(error, path="", format_exception=_reason))
        raise InputError(
            f"{config.__name__} cannot be read: {reasons}; another version of haemsa_jax wrote it, "
            "train again or use that version"
        ) from None


def network_from_json(values: Mapping[str, Any]) -> NetworkConfig:
    """Inverse of `to_json` for the configuration of any registered model.

    Raises:
      InputError: as `from_json`, or the model is unknown.
    """
    from haemsa_jax.models.model import config_class, model_named  # late: models need jax

    if MODEL not in values:
        raise InputError(
            "the network's configuration names no model: a version of haemsa_jax before 0.2 wrote "
            "it; train again or use that version"
        )
    rest = {name: value for name, value in values.items() if name != MODEL}
    return from_json(config_class(model_named(values[MODEL])), rest)


def _spec(values: Mapping[str, Any], _: Any) -> EncoderSpec:
    """Shapes are of the class of the encoder's family."""
    from haemsa_jax.encoders import encoder_named  # late: encoders need jax

    of_family: Any = encoder_named(values["family"]).shapes
    shapes = _CONVERTER.structure(values["shapes"], of_family)
    return _PLAIN_SPEC({**values, "shapes": shapes}, EncoderSpec)


_CONVERTER.register_structure_hook(EncoderSpec, _spec)


def _first(group: BaseException) -> BaseException:
    while isinstance(group, ExceptionGroup):
        group = group.exceptions[0]
    return group


def _reason(error: BaseException, _: Any) -> str:
    if isinstance(error, KeyError):
        return f"{error.args[0]} is missing"
    return str(error) or type(error).__name__
