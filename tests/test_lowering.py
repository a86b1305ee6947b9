"""What accelerators run is lowered for each kind of them, on a machine that has none.

Lowering is all of JAX's part: what the compiler of CUDA, ROCm or TPU is given. Programs are taken
where `parallel.spread` maps them over devices, here over four of an abstract mesh.
"""

import functools
import re

import jax
import numpy as np
import pytest
from jax.sharding import AbstractMesh, PartitionSpec
from networks import bare, made

from haemsa_jax.config import TrainConfig
from haemsa_jax.evolution import SearchConfig, make_problem, make_search, search_data
from haemsa_jax.training.engine import parallel
from haemsa_jax.training.engine.loop import make_train
from haemsa_jax.training.measurement.evaluation import evaluate

PLATFORMS = "cuda", "rocm", "tpu"
DEVICES = 4
OPTIONS = {
    "class_balance": 0.5, "focal": 1.0, "logit_adjustment": 0.5, "utterance_dropout": 0.1,
    "frame_dropout": 0.1, "distillation": 0.5, "gradient_balance": 0.5, "prediction_balance": 0.5,
}  # fmt: skip


class LoweredError(Exception):
    """Carries what was lowered out of who wanted to run it."""


def _specs(axes):
    if isinstance(axes, tuple):
        return tuple(map(_specs, axes))
    return PartitionSpec() if axes is None else PartitionSpec(parallel.AXIS)


def _each(change, values, axes):
    """Values whose axis is mapped, changed; the others as they are."""
    axes = axes if isinstance(axes, tuple) else (axes,) * len(values)
    return tuple(
        value if axis is None else jax.tree.map(change, value)
        for value, axis in zip(values, axes, strict=True)
    )


def texts(monkeypatch, run) -> dict[str, str]:
    """StableHLO by platform of the first program that `run()` maps over devices."""

    def spread(function, devices, in_axes=0, out_axes=0):
        mesh = AbstractMesh((len(devices),), (parallel.AXIS,))

        def local(*arguments):
            """As `pmap` calls it: without the axis that is mapped."""
            result = function(*_each(lambda x: x[0], arguments, in_axes))
            if isinstance(out_axes, tuple):
                return _each(lambda x: x[None], result, out_axes)
            return _each(lambda x: x[None], (result,), out_axes)[0]

        mapped = jax.shard_map(
            local, mesh=mesh, in_specs=_specs(in_axes), out_specs=_specs(out_axes), check_vma=False
        )

        def lower(*arguments):
            traced = jax.jit(mapped).trace(*arguments)
            raise LoweredError(
                {p: traced.lower(lowering_platforms=(p,)).as_text() for p in PLATFORMS}
            )

        return lower

    monkeypatch.setattr(parallel, "spread", spread)
    with pytest.raises(LoweredError) as raised:
        run()
    return raised.value.args[0]


def check(lowered: dict[str, str]) -> None:
    for platform, text in lowered.items():
        assert "stablehlo.while" in text, platform  # steps or generations in a loop
        for word in ("callback", "infeed", "outfeed"):
            assert word not in text, f"{platform}: a way to the host"
        assert not re.search(r"xf64|<f64>", text), f"{platform}: float64"


def test_a_block_of_training_steps(slim, pair, monkeypatch):
    devices = jax.local_devices()[:DEVICES]
    config = TrainConfig(epochs=1, batch_size=16, seeds=2, **OPTIONS)
    network = slim.changed(tasks={"talks:score": pair.tasks["score"]})
    lowered = texts(monkeypatch, lambda: make_train(network, config, {"talks": pair}, devices)())
    check(lowered)
    assert all("all_reduce" in text for text in lowered.values())


def test_predictions(slim, pair, monkeypatch):
    trained = made(slim.changed(tasks={"talks:score": pair.tasks["score"]}), pair)
    devices = jax.local_devices()[:DEVICES]
    run = functools.partial(evaluate, trained, {"talks": pair}, devices=devices)
    check(texts(monkeypatch, run))


def test_generations_of_a_search(slim, pair, monkeypatch):
    devices = jax.local_devices()[:DEVICES]
    train = TrainConfig(batch_size=16, folds=2)
    # Parts are lowered above; here it is what surrounds them.
    network = bare(slim, tasks={"talks:score": pair.tasks["score"]})
    config = SearchConfig(population=8, generations=2, steps=4, head_start=4)
    data = search_data(network, train, {"talks": pair})

    def run():
        search = make_search(make_problem(network, train, config), config, devices)
        state = search.abstract(data)
        state = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), state)
        search.advance(state, jax.random.key(0), data, 2)

    lowered = texts(monkeypatch, run)
    check(lowered)
    assert all("all_gather" in text for text in lowered.values())
