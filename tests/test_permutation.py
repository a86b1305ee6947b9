"""A walk through permutations: each is one, and they are as different as if they had been drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from haemsa_jax.data.batches import POOL, shuffled_positions
from haemsa_jax.data.permutation import shuffled

walk = jax.jit(shuffled, static_argnums=2)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 16, 17, 1000, 16274])
def test_every_epoch_is_a_permutation(count):
    orders = np.asarray(walk(jax.random.key(0), jnp.arange(3 * count), count)).reshape(3, count)
    np.testing.assert_array_equal(np.sort(orders), np.tile(np.arange(count), (3, 1)))
    if count > 5:
        other = np.asarray(walk(jax.random.key(1), jnp.arange(count), count))
        kept = [np.mean(a == b) for a, b in ((orders[0], orders[1]), (orders[0], other))]
        assert max(kept) < 0.3
        assert np.mean(orders[0] == np.arange(count)) < 0.3


def test_a_place_is_what_it_is_in_the_whole_walk():
    key = jax.random.key(7)
    whole = np.asarray(walk(key, jnp.arange(300), 70))
    np.testing.assert_array_equal(
        walk(jax.random.key(7), jnp.array([250, 3, 69, 70]), 70), whole[[250, 3, 69, 70]]
    )


def test_orders_are_as_likely_as_each_other():
    """Chi-square of who comes where, and of who follows whom, over many epochs."""
    count, epochs = 7, 6000
    orders = np.asarray(walk(jax.random.key(2), jnp.arange(count * epochs), count))
    orders = orders.reshape(epochs, count)
    where = np.stack([np.bincount(column, minlength=count) for column in orders.T])
    assert ((where - epochs / count) ** 2 / (epochs / count)).sum() < 75  # .999 quantile at 36: 68
    pairs = np.bincount(orders[:, 0] * count + orders[:, 1], minlength=count**2)
    pairs = np.delete(pairs, np.arange(0, count**2, count + 1))  # nobody follows himself
    assert ((pairs - epochs / 42) ** 2 / (epochs / 42)).sum() < 85  # .999 quantile at 41: 74
    # Neighbours in the data set are no neighbours in a large epoch.
    large = np.asarray(walk(jax.random.key(3), jnp.arange(5000), 5000))
    assert abs(np.corrcoef(large, np.arange(5000))[0, 1]) < 0.06
    assert abs(np.corrcoef(large[:-1], large[1:])[0, 1]) < 0.06


@pytest.mark.parametrize(("count", "size"), [(130, 4), (64, 4), (67, 4), (195, 4), (3, 5), (1, 2)])
def test_pools_are_cut_of_the_walk_and_sorted(count, size):
    """Batches laid end to end are the walk, its pools sorted, also where batches cross borders."""
    lengths = jnp.asarray(np.random.default_rng(0).permutation(count))
    take = jax.jit(lambda step: shuffled_positions(jax.random.key(5), step, size, count, lengths))
    steps = -(-3 * count // size)
    found = np.concatenate([take(step) for step in range(steps)])[: 3 * count]
    order = np.asarray(walk(jax.random.key(5), jnp.arange(3 * count), count)).reshape(3, count)
    expected = [
        sorted(pool, key=lambda place: (-1) ** number * int(lengths[place]))
        for epoch in order
        for number, pool in enumerate(np.split(epoch, range(POOL * size, count, POOL * size)))
    ]
    np.testing.assert_array_equal(found, np.concatenate(expected))
