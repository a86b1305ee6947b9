"""Layout: whose each parameter is, and what the rows and columns of each array stand for.

Modules say it where they make their parameters: `Dense(rows=..., columns=...)` and any module's
`param_axes()`. An axis is a row of segments, each with the parts that it belongs to and its length.
What is read here of a network serves its size, its specialisation and its warm start.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import flatten_dict

from haemsa_jax.config import NetworkConfig
from haemsa_jax.errors import InputError
from haemsa_jax.structure.axes import Axis
from haemsa_jax.structure.checking import check_declared
from haemsa_jax.structure.parts import Part, declare

Path = tuple[str, ...]


@dataclass(frozen=True)
class Parameter:
    """One array.

    Attributes:
      owner: name of the part whose it is.
      axes: of every axis its segments, or () where it is one whole.
      shape: of the array.
    """

    owner: str
    axes: tuple[Axis, ...]
    shape: tuple[int, ...]


@functools.lru_cache(maxsize=256)
def layout(network: NetworkConfig) -> dict[str, dict[Path, Parameter]]:
    """Every array of a network, by collection (`params`, `constants`) and path.

    Raises:
      InputError: what the model declares is not what it builds.
    """
    from haemsa_jax.models.model import build, init_variables

    model, known, modules = build(network), {}, {}

    def intercept(call: Callable, arguments: tuple, keywords: dict, context: Any) -> Any:
        module = context.module
        if context.method_name == "__call__":
            modules[module.path] = module
            own = module.param_axes() if hasattr(module, "param_axes") else {}
            known.update({(*module.path, name): axes for name, axes in own.items()})
        return call(*arguments, **keywords)

    with nn.intercept_methods(intercept):
        params, constants = jax.eval_shape(
            functools.partial(init_variables, model), jax.random.key(0)
        )
    arrays = {"params": flatten_dict(params), "constants": flatten_dict(constants)}
    shapes = {path: leaf.shape for tree in arrays.values() for path, leaf in tree.items()}
    check_declared(network, shapes, known, modules)
    owner = owners(network)
    return {
        name: {
            path: Parameter(owner(path).name, _filled(known.get(path), leaf.ndim), leaf.shape)
            for path, leaf in tree.items()
        }
        for name, tree in arrays.items()
    }


def owners(network: NetworkConfig) -> Callable[[Path], Part]:
    """owner(path) -> the part with the longest module path that `path` begins with."""
    modules = {path: part for part in declare(network).parts for path in part.modules}

    def owner(path: Path) -> Part:
        for length in range(len(path), -1, -1):
            if path[:length] in modules:
                return modules[path[:length]]
        raise InputError(
            f"parameter {'/'.join(path)!r} belongs to no part; begin the declaration with "
            "interface(config), or name its module in a part"
        )

    return owner


def _filled(axes: tuple[Axis, ...] | None, count: int) -> tuple[Axis, ...]:
    return ((),) * count if axes is None else (*axes, *((),) * (count - len(axes)))


def places(source: Axis, target: Axis) -> np.ndarray | None:
    """Where the segments of one axis stand on another, int[length of target].

    Segments go by the parts they belong to, those of none by their order. None where one is missing
    or has another length.
    """
    starts, indices = {}, []
    start = 0
    for key, size in _numbered(source):
        starts[key] = start, size
        start += size
    for key, size in _numbered(target):
        if starts.get(key, (0, -1))[1] != size:
            return None
        indices.append(np.arange(size) + starts[key][0])
    return np.concatenate(indices) if indices else np.zeros(0, int)


def _numbered(axis: Axis):
    """((labels, how many of these labels came before), size) of every segment."""
    seen: dict[Any, int] = {}
    for segment in axis:
        yield (segment.parts, seen.get(segment.parts, 0)), segment.size
        seen[segment.parts] = seen.get(segment.parts, 0) + 1
