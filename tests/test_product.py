"""The product of rounded factors: what `@` does, however it is mapped and differentiated."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from haemsa_jax.models.product import product

SIZES = {"x": (2, 3, 4), "kernel": (4, 5)}


def drawn(*sizes):
    rng = np.random.default_rng(0)
    return [rng.normal(size=size).astype(np.float32) for size in sizes]


def check(function, ours, *factors):
    """Values, both gradients and their directional derivatives are those of `function`."""
    moved = drawn(*(x.shape for x in factors))

    def everything(multiply):
        said, pull = jax.vjp(multiply, *factors)
        twice = jax.jvp(lambda *f: jax.vjp(multiply, *f)[1](jnp.cos(said)), factors, tuple(moved))
        return said, pull(jnp.sin(said)), jax.jvp(multiply, factors, tuple(moved)), twice

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4),
        jax.jit(lambda: everything(ours))(), everything(function),
    )  # fmt: skip


def plain(x, kernel):
    return x @ kernel


def ours(x, kernel):
    return product("float32", x, kernel)


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0), (2, 1)])
def test_mapped_and_differentiated_as_a_product(axes):
    x, kernel = (
        size if axis is None else (*size[:axis], 6, *size[axis:])
        for size, axis in zip(SIZES.values(), axes, strict=True)
    )
    check(jax.vmap(plain, axes), jax.vmap(ours, axes), *drawn(x, kernel))


@pytest.mark.parametrize("outer", [(0, None), (None, 0), (0, 0)])
@pytest.mark.parametrize("inner", [(0, None), (None, 0), (0, 0)])
def test_mapped_twice(inner, outer):
    sizes = []
    for size, first, second in zip(SIZES.values(), outer, inner, strict=True):
        sizes.append((*([6] if first == 0 else []), *([7] if second == 0 else []), *size))

    def twice(multiply):
        return jax.vmap(jax.vmap(multiply, inner), outer)

    check(twice(plain), twice(ours), *drawn(*sizes))


def test_gradients_of_each_sample():
    """Mapping the gradient, rather than what is differentiated."""
    x, kernel = drawn((6, *SIZES["x"]), SIZES["kernel"])

    def each(multiply):
        slope = jax.grad(lambda kernel, x: jnp.sin(multiply(x, kernel)).sum())
        return jax.vmap(slope, (None, 0))(kernel, x)

    np.testing.assert_allclose(each(ours), each(plain), atol=1e-4)


def test_samples_have_no_gradients_of_their_own():
    """Of a weight that samples share, only the sum of their gradients is ever an array."""
    x, kernel = drawn((16, *SIZES["x"]), SIZES["kernel"])

    def loss(kernel, x):
        return jnp.sin(jax.vmap(ours, (0, None))(x, kernel)).sum()

    computed = str(jax.make_jaxpr(jax.grad(loss))(kernel, x))
    assert "f32[4,5]" in computed
    assert "f32[16,4,5]" not in computed


def test_factors_are_rounded_and_sums_are_not():
    """1 + 2^-9 rounds to 1 in bfloat16; 256 + 1 would round to 256."""
    x = np.array([[1 + 2**-9, 256.0]], np.float32)
    ones = np.ones((2, 1), np.float32)
    said, pull = jax.vjp(lambda x, kernel: product("bfloat16", x, kernel), x, ones)
    assert said.item() == 257.0
    to_x, to_kernel = pull(np.full((1, 1), 3 + 2**-8, np.float32))
    assert to_x.tolist() == [[3.0, 3.0]]
    assert to_kernel.tolist() == [[3.0], [768.0]]
    assert said.dtype == to_x.dtype == to_kernel.dtype == np.float32


def test_devices_add_to_the_gradient_of_a_shared_kernel():
    """As embedded in a user's `jax.shard_map`, which tells what is the same on every device."""
    x, kernel = drawn((8, 4), (4, 5))
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))

    def loss(kernel, x):
        return jax.lax.psum(jnp.sin(ours(x, kernel)).sum(), "batch")

    shared, split = PartitionSpec(), PartitionSpec("batch")
    sharded = jax.shard_map(
        jax.grad(loss), mesh=mesh, in_specs=(shared, split), out_specs=shared
    )  # fmt: skip
    expected = jax.grad(lambda kernel: jnp.sin(x @ kernel).sum())(kernel)
    np.testing.assert_allclose(jax.jit(sharded)(kernel, x), expected, atol=1e-4)


def test_devices_add_to_the_gradient_of_a_shared_input():
    """As an ensemble that is split over devices, and all read the same."""
    x, kernels = drawn((3, 4), (8, 4, 5))
    mesh = jax.make_mesh((8,), ("network",), axis_types=(jax.sharding.AxisType.Auto,))

    def loss(x, kernels):
        return jax.lax.psum(jnp.sin(ours(x, kernels[0])).sum(), "network")

    shared, split = PartitionSpec(), PartitionSpec("network")
    sharded = jax.shard_map(
        jax.grad(loss), mesh=mesh, in_specs=(shared, split), out_specs=shared
    )  # fmt: skip
    expected = jax.grad(lambda x: jnp.sin(x @ kernels).sum())(x)
    np.testing.assert_allclose(jax.jit(sharded)(x, kernels), expected, atol=1e-4)
