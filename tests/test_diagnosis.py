"""Which part says how much, and what tells modalities apart."""

import dataclasses

import jax
import numpy as np
import pytest

from haemsa_jax.models.architecture import default_architecture
from haemsa_jax.reporting import diagnosis


def test_every_part_is_shut_alone(small):
    network = dataclasses.replace(small, sharing="split")
    whole = default_architecture(network)
    found = diagnosis.without(network, whole)
    counts = {level: sum(of == level for of, _ in found) for level in diagnosis.LEVELS}
    assert counts == {
        "modality": 3,
        "local": 3 * (1 + 4),
        "link": 6,
        "global": 4 + 1,
        "specific": 3,
    }
    for shut in found.values():
        changed = [
            name for name, a, b in zip(
                vars(whole), jax.tree.leaves(whole), jax.tree.leaves(shut), strict=True
            ) if (a != b).any()
        ]  # fmt: skip
        assert len(changed) == 1
    (row,) = np.flatnonzero((found["modality", "audio"].modalities == 0).all(axis=0))
    assert network.modalities[row] == "audio"
    # What is shut already, and what is the last of its kind, is left alone.
    narrow = whole.replace(fusion=whole.fusion * np.eye(4)[1], links=0 * whole.links)
    found = diagnosis.without(network, narrow)
    assert [part for part in found if part[0] in ("link", "global")] == [("global", "all")]


def test_modalities_are_told_apart_by_what_is_theirs():
    rng, rows = np.random.default_rng(0), np.arange(400)
    same = rng.normal(size=(400, 3, 5))
    assert diagnosis.told_apart(same, rows) == pytest.approx(1 / 3, abs=0.08)
    assert diagnosis.told_apart(same + 9 * np.eye(3, 5), rows) == 1.0
    half = same + 9 * np.eye(3, 5)[[0, 1, 1]]  # the second and the third are alike
    assert diagnosis.told_apart(half, rows) == pytest.approx(2 / 3, abs=0.08)
    some = half.copy()
    some[::3, 0] = 0.0  # absent
    assert diagnosis.told_apart(some, rows) == pytest.approx(2 / 3, abs=0.08)


def test_a_classifier_never_reads_what_it_was_fitted_on():
    """Vectors that say nothing, each twice as of two tasks, which a classifier could remember."""
    rng, rows = np.random.default_rng(0), np.arange(31)
    once = rng.normal(size=(31, 3, 100))
    twice = diagnosis.told_apart(np.concatenate([once, once]), np.concatenate([rows, rows]))
    assert twice < 0.6


def test_with_one_modality_there_is_nothing_to_tell():
    vectors = np.zeros((40, 3, 5))
    assert diagnosis.told_apart(vectors, np.arange(40)) is None
    vectors[:, 1] = 1.0
    assert diagnosis.told_apart(vectors, np.arange(40)) is None


def test_picture(tmp_path):
    parts = {("modality", "text"): [0.5, 0.4], ("local", "text: all"): [0.1, 0.1]}
    found = diagnosis.Diagnosis({"talks:score": parts, "talks:mood": parts}, {})
    diagnosis.figure(found, tmp_path / "parts.png")
    assert (tmp_path / "parts.png").read_bytes().startswith(b"\x89PNG")
