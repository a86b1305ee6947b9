"""Members of a stack: the seeds and folds of one experiment, or the networks of a search."""

from collections.abc import Callable
from typing import Any

import jax

from haemsa_jax.config import NetworkConfig


def side_by_side(network: NetworkConfig, function: Callable, axes: tuple) -> Callable[..., Any]:
    """`function` of S members at once; one after the other where each fills the device alone."""
    return in_turns(function, axes, 1) if network.encoded() else jax.vmap(function, axes)


def in_turns(function: Callable[..., Any], axes: tuple, together: int) -> Callable[..., Any]:
    """What `jax.vmap` of axes 0 and None computes, so many members together and then the next.

    Args:
      function: of one member.
      axes: of its arguments, each 0, None or a dict of these by the argument's keys.
      together: members side by side.
    """

    def mapped(*arguments):
        leaves, shape = jax.tree.flatten(arguments)
        pairs = zip(axes, arguments, strict=True)
        flags = [flag for axis, argument in pairs for flag in _mapped_leaves(axis, argument)]

        def each(own):
            rest = iter(own)
            pairs = zip(leaves, flags, strict=True)
            return function(*jax.tree.unflatten(shape, [next(rest) if f else x for x, f in pairs]))

        members = [leaf for leaf, mapped in zip(leaves, flags, strict=True) if mapped]
        # A batch of one would be mapped too, and of a choice of branches all be computed.
        return jax.lax.map(each, members, batch_size=together if together > 1 else None)

    return mapped


def _mapped_leaves(axis: Any, argument: Any) -> list[bool]:
    """By leaf of an argument whether it is of each member."""
    if isinstance(axis, dict):
        # Leaves of a dict stand in the order of its keys.
        return [flag for key in sorted(axis) for flag in _mapped_leaves(axis[key], argument[key])]
    return [axis == 0] * len(jax.tree.leaves(argument))
