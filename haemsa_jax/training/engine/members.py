"""Members of a stack: the seeds of one experiment, or the networks of a search."""

from collections.abc import Callable
from typing import Any

import jax

from haemsa_jax.config import NetworkConfig


def side_by_side(network: NetworkConfig, function: Callable, axes: tuple) -> Callable[..., Any]:
    """`function` of S members at once; one after the other where each fills the device alone."""
    return in_turns(function, axes, 1) if network.encoded() else jax.vmap(function, axes)


def in_turns(function: Callable[..., Any], axes: tuple, together: int) -> Callable[..., Any]:
    """What `jax.vmap` of axes 0 and None computes, so many members together and then the next."""

    def mapped(*arguments):
        def each(member):
            rest = iter(member)
            pairs = zip(arguments, axes, strict=True)
            return function(*[next(rest) if axis == 0 else x for x, axis in pairs])

        members = [x for x, axis in zip(arguments, axes, strict=True) if axis == 0]
        # A batch of one would be mapped too, and of a choice of branches all be computed.
        return jax.lax.map(each, members, batch_size=together if together > 1 else None)

    return mapped
