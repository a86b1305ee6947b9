"""Hashed keys: as random as noise has to be, and without a loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from haemsa_jax.noise import HASHED, hashed


def a_key():
    return hashed(jax.random.key(3))


def chi_square(numbers, cells):
    """Per degree of freedom, of numbers in [0, 1)."""
    counts = np.histogramdd(numbers, [cells] * numbers.shape[1], [(0, 1)] * numbers.shape[1])[0]
    return ((counts - counts.mean()) ** 2 / counts.mean()).sum() / (counts.size - 1)


def test_numbers_of_a_key_are_uniform_and_apart():
    numbers = np.asarray(jax.random.uniform(a_key(), (2**20,)))
    assert 0.8 < chi_square(numbers[:, None], 1024) < 1.2
    assert 0.8 < chi_square(numbers.reshape(-1, 2), 32) < 1.2  # neighbours
    assert 0.8 < chi_square(numbers.reshape(2, -1).T, 32) < 1.2


@pytest.mark.parametrize("twice", [False, True])
def test_so_are_those_of_keys_that_are_folded_or_split(twice):
    def root():
        return jax.random.fold_in(a_key(), 5) if twice else a_key()

    folded = jax.vmap(jax.random.fold_in, (None, 0))(root(), jnp.arange(2**15))
    for keys in folded, jax.random.split(root(), 2**15):
        assert len(np.unique(jax.random.key_data(keys), axis=0)) == 2**15
        numbers = np.asarray(jax.vmap(lambda key: jax.random.uniform(key, (8,)))(keys))
        for left, right in (0, 1), (0, 7), (3, 4):
            assert 0.8 < chi_square(numbers[:, [left, right]], 16) < 1.2
        assert 0.8 < chi_square(np.stack([numbers[:-1, 0], numbers[1:, 0]], 1), 16) < 1.2
        assert 0.8 < chi_square(np.stack([numbers[:-1, 1], numbers[1:, 0]], 1), 16) < 1.2


def test_other_keys_other_numbers():
    """Of seeds in a row, of both ways to make a key, of numbers folded in."""
    keys = [
        *(hashed(jax.random.key(seed)) for seed in range(20)),
        *(jax.random.key(seed, impl=HASHED) for seed in range(20)),
        *(jax.random.fold_in(a_key(), number) for number in range(20)),
        *(jax.random.fold_in(jax.random.fold_in(a_key(), number), 1) for number in range(20)),
    ]
    numbers = np.stack([jax.random.uniform(key, (1000,)) for key in keys])
    between = np.corrcoef(numbers) - np.eye(len(keys))
    assert np.abs(between).max() < 0.16  # five standard deviations


def test_every_kind_of_number():
    assert abs(float(jax.random.normal(a_key(), (10_000,)).std()) - 1) < 0.03
    assert sorted(np.asarray(jax.random.permutation(a_key(), 50))) == list(range(50))
    for width in (8, 16, 32):
        bits = jax.random.bits(a_key(), (10_000,), f"uint{width}")
        assert abs(float(np.mean(np.asarray(bits) / 2**width)) - 0.5) < 0.02


def test_no_loop():
    def draw(key):
        return jax.random.uniform(jax.random.fold_in(key, 1), (3,))

    assert "while" in jax.jit(draw).lower(jax.random.key(0)).compile().as_text()
    assert "while" not in jax.jit(draw).lower(a_key()).compile().as_text()
