"""A matrix product of rounded factors, as a primitive of JAX.

Left to differentiation, a product of bfloat16 factors that is summed in float32 has a gradient that
mixes precisions, which no processor multiplies at full speed. A rule of its own for the gradient
(`jax.custom_vjp`) would be mapped over samples before it is summed over them: every sample would
have its own gradient of the weights. A primitive says both what its gradient is and how it is
mapped.

In float32 it is for the CPU: the gradient of a `dot_general` by its weights is made transposed, for
which XLA writes the activations out anew and multiplies at a fraction of the speed.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Float

Array = jax.Array


def product(
    precision: str, x: Float[Array, "*rows inputs"], kernel: Float[Array, "inputs outputs"]
) -> Float[Array, "*rows outputs"]:
    """`x @ kernel` of factors rounded to `precision`, summed in float32; its gradient likewise.

    Args:
      precision: of the factors.
      x, kernel: float32[..., D], float32[D, E].

    Returns:
      float32[..., E].
    """
    # Within `jax.shard_map`, devices that share a factor all add to its gradient.
    x_varies, kernel_varies = (jax.typeof(of).manual_axis_type.varying for of in (x, kernel))
    if apart := x_varies - kernel_varies:
        kernel = jax.lax.pcast(kernel, tuple(apart), to="varying")
    if apart := kernel_varies - x_varies:
        x = jax.lax.pcast(x, tuple(apart), to="varying")
    rows = _bind(x.reshape(-1, x.shape[-1]), kernel, (1, 0), precision)
    return rows.reshape(*x.shape[:-1], -1)


def dense_product(precision: str) -> Callable[..., Array]:
    """`product` as the `dot_general` of `flax.linen.Dense`."""

    def multiply(x, kernel, *_, **__):
        return product(precision, x, kernel)

    return multiply


def _bind(left: Array, right: Array, over: tuple[int, int], precision: str) -> Array:
    """float32[..., *, *] of two matrices, leading axes alike, summed over `over` (0 or 1) of each.

    The result has the other axis of the left one first, then that of the right one.
    """
    return _product.bind(left, right, over=over, precision=precision)


def _multiply(left: Array, right: Array, *, over: tuple[int, int], precision: str) -> Array:
    leading = tuple(range(left.ndim - 2))
    of_left, of_right = (axis + len(leading) for axis in over)
    return jax.lax.dot_general(
        left.astype(precision),
        right.astype(precision),
        (((of_left,), (of_right,)), (leading, leading)),
        preferred_element_type=jnp.float32,
    )


def _shape(left, right, *, over, precision):
    free = (x.shape[-1 - axis] for x, axis in zip((left, right), over, strict=True))
    return left.update(shape=(*left.shape[:-2], *free))


def _to_left(change, left, right, *, over, precision):
    own, other = over
    if own == 1:
        return _bind(change, right, (1, 1 - other), precision)
    return _bind(right, change, (1 - other, 1), precision)


def _to_right(change, left, right, *, over, precision):
    other, own = over
    if own == 0:
        return _bind(left, change, (1 - other, 0), precision)
    return _bind(change, left, (0, 1 - other), precision)


def _mapped(factors, axes, *, over, precision):
    """Who shares the other's factor is more rows, or more columns, of one product."""
    if None not in axes:
        left, right = (jnp.moveaxis(x, axis, 0) for x, axis in zip(factors, axes, strict=True))
        return _bind(left, right, over, precision), 0
    side = axes.index(None) ^ 1
    # Just before the axis that stays, of which it becomes a part.
    many = jnp.moveaxis(factors[side], axes[side], -2 - over[side])
    before = many.ndim - 2 - over[side]
    size, free = many.shape[before : before + 2]
    merged = many.reshape(*many.shape[:before], size * free, *many.shape[before + 2 :])
    left, right = (merged, factors[1]) if side == 0 else (factors[0], merged)
    product = _bind(left, right, over, precision)
    before = product.ndim - 2 + side
    return product.reshape(
        *product.shape[:before], size, free, *product.shape[before + 1 :]
    ), before


_product = Primitive("product")
_product.def_impl(jax.jit(_multiply, static_argnames=("over", "precision")))
_product.def_abstract_eval(_shape)
mlir.register_lowering(_product, mlir.lower_fun(_multiply, multiple_results=False))
ad.defbilinear(_product, _to_left, _to_right)
batching.primitive_batchers[_product] = _mapped
