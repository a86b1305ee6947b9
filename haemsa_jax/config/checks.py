"""The one way in which a configuration refuses a value."""

import dataclasses
import numbers
from collections.abc import Callable, Collection, Iterable
from typing import Any

from haemsa_jax.errors import InputError

WHOLE = 2**32  # below it lie all whole numbers that devices count by, seeds among them
MOST_PARTS = 64
_NUMBERS = {int: (numbers.Integral, "a whole number"), float: (numbers.Real, "a number")}


def require(holds: bool, message: str) -> None:
    """Raises an `InputError` with the message unless the condition holds."""
    if not holds:
        raise InputError(message)


def require_each(
    config: Any, what: str, names: Iterable[str], holds: Callable[[Any], bool], rule: str
) -> None:
    """Like `require` for several fields; the message names the field, its value and the rule."""
    for name in names:
        value = getattr(config, name)
        require(holds(value), f"{what}: {name}={value} {rule}")


def require_counts(config: Any, names: Iterable[str]) -> None:
    """Like `require_each` for parts of a network that are built one by one."""
    rule = f"must lie in 1 to {MOST_PARTS}, since each is compiled"
    require_each(config, "network", names, lambda x: 1 <= x <= MOST_PARTS, rule)


def require_numbers(config: Any, what: str) -> None:
    """Raises an `InputError` unless fields of numbers hold numbers of their type, not booleans."""
    for field in dataclasses.fields(config):
        if field.type in _NUMBERS:
            require_number(getattr(config, field.name), field.type, f"{what}: {field.name}")


def require_number(value: Any, kind: type, what: str) -> None:
    """Like `require_numbers` for one value, which `what` names."""
    numeric, rule = _NUMBERS[kind]
    require(
        isinstance(value, numeric) and not isinstance(value, bool),
        f"{what}={value!r} must be {rule}",
    )
    require(kind is float or abs(value) < WHOLE, f"{what}={value} must lie below {WHOLE}")


def require_known(names: Iterable[str], known: Collection[str], what: str) -> None:
    """Raises an `InputError` unless all names are known; `what` says what they name."""
    for name in names:
        require(
            name in known, f"{what} {name!r} is unknown; choose from {', '.join(known) or 'none'}"
        )
