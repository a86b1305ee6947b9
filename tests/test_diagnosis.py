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
    rng = np.random.default_rng(0)
    same = rng.normal(size=(400, 3, 5))
    assert diagnosis.told_apart(same) == pytest.approx(1 / 3, abs=0.08)
    assert diagnosis.told_apart(same + 9 * np.eye(3, 5)) == 1.0
    half = same + 9 * np.eye(3, 5)[[0, 1, 1]]  # the second and the third are alike
    assert diagnosis.told_apart(half) == pytest.approx(2 / 3, abs=0.08)
    some = half.copy()
    some[::3, 0] = 0.0  # absent
    assert diagnosis.told_apart(some) == pytest.approx(2 / 3, abs=0.08)


def test_picture(tmp_path):
    parts = {("modality", "text"): [0.5, 0.4], ("local", "text: all"): [0.1, 0.1]}
    found = diagnosis.Diagnosis({"talks:score": parts, "talks:mood": parts}, {})
    diagnosis.figure(found, tmp_path / "parts.png")
    assert (tmp_path / "parts.png").read_bytes().startswith(b"\x89PNG")
