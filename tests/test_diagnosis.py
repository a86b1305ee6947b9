"""Which part says how much, and what tells modalities apart."""

import collections
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import made, params_of

from haemsa_jax.data.batches import device_split, gather
from haemsa_jax.data.dataset import splits_of
from haemsa_jax.models import Rates, build, default_structure
from haemsa_jax.reporting import diagnosis
from haemsa_jax.structure.parts import shut
from haemsa_jax.training.measurement.normalization import make_constants


def test_every_part_is_shut_alone(small):
    network = dataclasses.replace(small, sharing="split")
    whole = default_structure(network)
    found = diagnosis.without(network, whole)
    counts = collections.Counter(kind for kind, _ in found)
    assert counts == {
        "modality": 3,
        "expert": 3 * (1 + 4),
        "link": 6,
        "operator": 4 + 1,
        "specific": 3,
    }
    for (_, part), closed in found.items():
        changed = {name.partition("/")[0] for name in whole if (whole[name] != closed[name]).any()}
        assert len(changed) == 1, part
    closed = found["modality", "audio"]
    assert all(closed[f"modalities/{task_id}"].tolist() == [1, 0, 1] for task_id in network.tasks)
    # What is shut already, and what is the last of its kind, is left alone.
    narrow = whole | {f"fusion/{t}": np.float32([0, 1, 0, 0]) for t in network.tasks}
    found = diagnosis.without(network, narrow | {"links": 0 * whole["links"]})
    assert [part for part in found if part[0] in ("link", "operator")] == [("operator", "all")]


def test_the_only_operator_and_the_only_expert_have_an_influence(lone, solo):
    """A mask counts where there is no gate, too."""
    shown = diagnosis.diagnose(made(lone, solo), splits_of({solo.name: solo}, "test"))
    for influence in shown.influence.values():
        assert min(influence["expert", "text/0: all"]) > 0.0
    network = lone.changed(sharing="split")
    structure = default_structure(network)
    closed = shut(network, structure, ["fusion/concat"])
    params, constants = params_of(network), make_constants(network, {solo.name: solo})
    data = jax.device_put(device_split(solo.splits["test"]))
    samples = jax.vmap(lambda row: gather(data, row, jnp.int32(0), 1, 1))(jnp.arange(5))
    variables = {"params": params, "constants": constants}
    whole, without = (
        build(network).apply(variables, samples, each, Rates(), solo.name)
        for each in (structure, closed)
    )
    assert (without.gates["fusion"] == 0).all() and (whole.gates["fusion"] == 1).all()
    assert (whole.predictions["talks:score"] != without.predictions["talks:score"]).any()


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
