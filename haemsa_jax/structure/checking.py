"""Whether what a model declares is what it builds: parts, paths of modules, segments of axes."""

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from haemsa_jax.config import NetworkConfig, is_encoder
from haemsa_jax.errors import InputError
from haemsa_jax.structure.axes import Axis, length
from haemsa_jax.structure.parts import declare, default_structure
from haemsa_jax.structure.usage import usage

Path = tuple[str, ...]


def check_declared(
    network: NetworkConfig,
    shapes: Mapping[Path, tuple[int, ...]],
    axes: Mapping[Path, tuple[Axis, ...]],
    modules: Mapping[Path, Any],
) -> None:
    """Refuses a declaration that does not fit the modules.

    Args:
      network: the configuration.
      shapes: of every array, by path.
      axes: segments by path, as modules give them.
      modules: every module that was called, by path.

    Raises:
      InputError: a part owns a path that nothing stands at, a segment is of no part, segments do
        not make up an axis, or a module with parameters has no name.
    """
    _check_paths(network, {*shapes, *modules})
    for path, module in modules.items():
        _check_name(path, module, shapes)
        _check_parts(network, path, "over", getattr(module, "over", ()))
    for path, segments in axes.items():
        if path in shapes:
            _check_axes(network, path, segments, shapes[path])


def _check_paths(network: NetworkConfig, built: Collection[Path]) -> None:
    """Of parts that can be used: a gate over a single part, for one, is not built."""
    known = {path[:size] for path in built for size in range(len(path) + 1)}
    used = usage(network, default_structure(network))
    for part in declare(network).parts:
        for path in part.modules:
            if path not in known and used[part.name] > 0:
                near = _near("/".join(path), ("/".join(of) for of in known if of))
                raise InputError(
                    f"model={network.model}: part {part.name!r} owns the module "
                    f"{'/'.join(path)!r}, which is not built{near}"
                )


def _check_name(path: Path, module: Any, shapes: Collection[Path]) -> None:
    """Flax counts modules without a name, and counts others once a network is specialised."""
    kind = type(module).__name__
    unnamed = bool(path) and re.fullmatch(rf"{kind}_\d+", path[-1]) is not None
    if unnamed and not is_encoder(path[0]) and any(of[: len(path)] == path for of in shapes):
        raise InputError(
            f"module {'/'.join(path)!r} has no name of its own, by which its parameters are found "
            f'again; write {kind}(..., name="...")'
        )


def _check_axes(
    network: NetworkConfig, path: Path, axes: tuple[Axis, ...], shape: tuple[int, ...]
) -> None:
    if len(axes) > len(shape):
        raise InputError(f"parameter {'/'.join(path)!r} has {len(shape)} axes, not {len(axes)}")
    for number, (axis, size) in enumerate(zip(axes, shape, strict=False)):
        _check_parts(network, path, f"axis {number}", axis)
        if axis and length(axis) != size:
            raise InputError(
                f"parameter {'/'.join(path)!r}: the segments of axis {number} ({_words(axis)}) "
                f"make up {length(axis)}, but its length is {size}"
            )


def _check_parts(network: NetworkConfig, path: Path, what: str, axis: Axis) -> None:
    parts = declare(network).part
    for segment in axis:
        for name in segment.parts:
            if name not in parts:
                raise InputError(
                    f"{'/'.join(path)!r}: a segment of {what} belongs to part {name!r}, which "
                    f"model={network.model} does not declare{_near(name, parts)}"
                )


def _words(axis: Axis) -> str:
    return ", ".join(f"{'+'.join(of.parts) or 'always'} {of.size}" for of in axis)


def _near(name: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, sorted(names), n=1, cutoff=0.4)
    return f"; the nearest is {close[0]!r}" if close else ""
