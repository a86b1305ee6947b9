"""The one way in which a configuration refuses a value."""

from collections.abc import Callable, Iterable
from typing import Any

from haemsa_jax.errors import InputError


def require(holds: bool, message: str) -> None:
    """An `InputError` with the message unless it holds."""
    if not holds:
        raise InputError(message)


def require_each(
    config: Any, what: str, names: Iterable[str], holds: Callable[[Any], bool], rule: str
) -> None:
    """The same of several fields; the message names the field, its value and the rule."""
    for name in names:
        value = getattr(config, name)
        require(holds(value), f"{what}: {name}={value} {rule}")
