"""The one way in which a configuration refuses a value."""

import dataclasses
import numbers
from collections.abc import Callable, Collection, Iterable
from typing import Any

from haemsa_jax.errors import InputError

WHOLE = 2**32  # below it lie all whole numbers that devices count by, seeds among them
_NUMBERS = {int: (numbers.Integral, "a whole number"), float: (numbers.Real, "a number")}


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


def require_numbers(config: Any, what: str) -> None:
    """Fields that are numbers hold numbers of their kind; True and False are none."""
    for field in dataclasses.fields(config):
        if field.type in _NUMBERS:
            require_number(getattr(config, field.name), field.type, f"{what}: {field.name}")


def require_number(value: Any, kind: type, what: str) -> None:
    """The same of one value; `what` names it."""
    numeric, rule = _NUMBERS[kind]
    require(
        isinstance(value, numeric) and not isinstance(value, bool),
        f"{what}={value!r} must be {rule}",
    )
    require(kind is float or abs(value) < WHOLE, f"{what}={value} must lie below {WHOLE}")


def require_known(names: Iterable[str], known: Collection[str], what: str) -> None:
    """Names must be among those that are known; `what` says of what they are names."""
    for name in names:
        require(
            name in known, f"{what} {name!r} is unknown; choose from {', '.join(known) or 'none'}"
        )
