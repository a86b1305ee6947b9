"""Small networks on those data sets, and random parameters for them."""

import dataclasses

import jax
import numpy as np
import pytest

from haemsa_jax.config import NetworkConfig, TrainConfig
from haemsa_jax.data.description import describe_data
from haemsa_jax.models import build, default_structure, init_variables, model
from haemsa_jax.models.haemsa import HaemsaConfig
from haemsa_jax.training.engine.state import stack
from haemsa_jax.training.measurement.normalization import make_constants
from haemsa_jax.training.persistence.experiment import Experiment
from haemsa_jax.training.persistence.trained import Trained


@pytest.fixture(scope="session")
def small(talks) -> NetworkConfig:
    """A network on all its tasks, small enough to compile in seconds."""
    return HaemsaConfig(
        widths={talks.name: dict(talks.widths)},
        tasks={f"{talks.name}:{name}": task for name, task in talks.tasks.items()},
        context={talks.name: (1, 1)},
        width=8, depth=1, heads=2, link_width=4, fusion_rank=2,
    )  # fmt: skip


@pytest.fixture(scope="session")
def deep(small) -> NetworkConfig:
    """The same with two blocks a modality."""
    return dataclasses.replace(small, depth=2)


@pytest.fixture(scope="session")
def slim(small, pair) -> NetworkConfig:
    """The small network on them."""
    return dataclasses.replace(small, widths={pair.name: dict(pair.widths)})


@pytest.fixture(scope="session")
def lone(small, solo) -> NetworkConfig:
    """Hardly a network, on it: for what does not depend on what there is of a network."""
    return bare(small, widths={solo.name: dict(solo.widths)})


def bare(network, **changes) -> NetworkConfig:
    """With one expert for text, one to fuse, and nothing else: it compiles in a quarter of the
    time."""
    kept = {"local/text/0": ("pointwise",), "depth/text": ("1",), "links": ()}
    for task_id in network.tasks:
        kept |= {f"modalities/{task_id}": ("text",), f"fusion/{task_id}": ("concat",)}
    return network.changed(**changes, kept=kept)


MODELS = tuple(sorted(model.MODELS))  # those of the library: tests register theirs later
OTHERS = tuple(name for name in MODELS if name != "haemsa")


def as_model(name, network, **changes) -> NetworkConfig:
    """Another model on the same data sets and tasks, everything built."""
    shared = {f.name: getattr(network, f.name) for f in dataclasses.fields(NetworkConfig)}
    return model.config_class(model.model_named(name))(**{**shared, "kept": {}, **changes})


def drawn(make, stack=()):
    """Random numbers, of the shapes that `make(key)` returns and without compiling it: gates and
    heads away from their neutral start. `stack` goes before each shape."""
    rng = np.random.default_rng(1)

    def draw(path, shape):
        scale = path[-1].key == "scale"
        return (scale + 0.3 * rng.normal(size=(*stack, *shape.shape))).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, jax.eval_shape(make, jax.random.key(0)))


def params_of(network, stack=()):
    """Such parameters of a network."""
    return drawn(lambda key: init_variables(build(network), key)[0], stack)


def made(network, dataset, seeds=2, params=None) -> Trained:
    """Networks with random weights, but for those that are given."""
    data = {dataset.name: dataset}
    params = {**params_of(network, (seeds,)), **stack(params or {}, seeds)}
    experiment = Experiment(network, TrainConfig(seeds=seeds), {}, describe_data(data))
    structures = stack(default_structure(network), seeds)
    constants = stack(make_constants(network, data), seeds)
    return Trained(experiment, params, constants, structures, {})
