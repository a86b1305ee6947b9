"""A mapping that can be a key: what makes configurations static arguments of JAX."""

from collections.abc import Mapping
from typing import Any, NoReturn


class FrozenMapping(dict):
    """A dict that cannot change, hashable, whose order counts.

    The order of tasks and data sets is that of axes: two configurations that differ in it must not
    share a compiled program.
    """

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        """Raises a TypeError."""
        raise TypeError("a configuration cannot be changed; make another by dataclasses.replace")

    __setitem__ = __delitem__ = clear = pop = popitem = setdefault = update = _refuse
    __ior__ = _refuse

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(self.items()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mapping) and tuple(self.items()) == tuple(other.items())

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __reduce__(self):
        return FrozenMapping, (dict(self),)


def frozen(value: Any) -> Any:
    """`value` with every mapping frozen and every list a tuple, at any depth."""
    if isinstance(value, Mapping):
        return FrozenMapping({key: frozen(inner) for key, inner in value.items()})
    if isinstance(value, list | tuple):
        return tuple(frozen(inner) for inner in value)
    return value
