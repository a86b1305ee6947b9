"""Export: a trained network as StableHLO that runs without this library, and its weights.

The program takes the weights as arguments, so that they exist once, as safetensors. Batch size is
symbolic; how many tokens an utterance may have is fixed.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save

from haemsa_jax.config import NetworkConfig, TaskSpec
from haemsa_jax.data.batches import DeviceSplit
from haemsa_jax.errors import InputError
from haemsa_jax.inference import standalone
from haemsa_jax.inference.forward import (
    chosen_dataset,
    chosen_networks,
    make_forward,
    read_by_task,
)
from haemsa_jax.tasks import kind_of
from haemsa_jax.training.persistence.trained import Trained
from haemsa_jax.writing import write_bytes, write_text

PLATFORMS = ("cpu", "cuda", "tpu")
KNOWN = (*PLATFORMS, "rocm")
LOADER = "standalone.py"


def export(
    trained: Trained,
    directory: str | os.PathLike,
    dataset: str | None = None,
    networks: int | None = None,
    tokens: Mapping[str, int] | None = None,
    platforms: Sequence[str] = PLATFORMS,
) -> dict[str, Any]:
    """Writes `model.stablehlo`, `weights.safetensors`, `config.json` and the loader.

    Args:
      trained: the networks of a run.
      directory: where; made if it is not there.
      dataset: as which data set samples are read, where there are several.
      networks: whose predictions are averaged; by default all seeds, or a search's best.
      tokens: by modality the tokens that an utterance may have; by default as many as in training.
      platforms: on which it is to run.

    Returns:
      What `config.json` says.

    Raises:
      InputError: something that was asked for is not there.
    """
    for name in platforms or [""]:
        if name not in KNOWN:
            raise InputError(f"platforms: {name!r} is unknown; choose from {', '.join(KNOWN)}")
    network, directory = trained.experiment.network, Path(directory)
    dataset = chosen_dataset(network, dataset)
    trained = chosen_networks(trained, networks)
    lengths = _lengths(trained, dataset, tokens or {})
    past, future = network.context_of(dataset)
    tasks = [network.tasks[task_id] for task_id in network.tasks_of(dataset)]
    weights = _flat([trained.params, trained.constants, trained.structures])
    shape = jax.tree.structure([trained.params, trained.constants, trained.structures])
    forward = make_exportable(network, dataset, shape, list(weights))
    (batch,) = jax.export.symbolic_shape("batch")
    widths, span = network.widths[dataset], past + 1 + future
    reads_speakers = network.reads_speakers(dataset)
    features = {
        m: jax.ShapeDtypeStruct((batch, span, lengths[m], widths[m]), jnp.float32) for m in widths
    }
    masks = {m: jax.ShapeDtypeStruct((batch, span, lengths[m]), jnp.bool_) for m in widths}
    exported = jax.export.export(jax.jit(forward), platforms=tuple(platforms))(
        jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), weights),
        features,
        masks,
        *([jax.ShapeDtypeStruct((batch, span), jnp.int32)] if reads_speakers else []),
    )
    config = {
        "interface": {
            "dataset": dataset,
            "widths": dict(widths),
            "tokens": lengths,
            "context": [past, future],
            "speakers": reads_speakers,
            "tasks": {task.name: _task_json(task) for task in tasks},
            "networks": trained.count,
            "reads": {name: list(read) for name, read in read_by_task(trained, dataset).items()},
        },
        "jax": {
            "version": jax.__version__,
            "platforms": list(exported.platforms),
            "calling_convention": exported.calling_convention_version,
        },
        "experiment": trained.experiment.to_json(),
    }
    try:
        directory.mkdir(parents=True, exist_ok=True)
        write_bytes(directory / standalone.MODEL, exported.serialize())
        write_bytes(directory / standalone.WEIGHTS, save(weights))
        write_text(directory / standalone.CONFIG, json.dumps(config, indent=1))
        write_bytes(directory / LOADER, Path(standalone.__file__).read_bytes())
    except OSError as error:
        place = error.filename or directory
        raise InputError(f"cannot write {place}: {error.strerror}; name another") from error
    return config


def make_exportable(network: NetworkConfig, dataset: str, shape, names: Sequence[str]):
    """forward(weights, features, masks, speakers): all tasks of some windows, mean over networks.

    Args:
      network, dataset: what is exported.
      shape: tree of the weights, whose leaves have these names.
      names: in the tree's order.

    Returns:
      A function of the weights by name and, by modality, float[B, U, T_m, d_m] and bool[B, U, T_m],
      U the utterances of a window, and where tokens say who speaks int32[B, U], equal of the same
      speaker, negative where that is not known. By task it returns `mean` and `spread` (sample
      standard deviation over networks, None of one): float[B] of a regression, in label units,
      probabilities float[B, C] otherwise.
    """
    past, future = network.context_of(dataset)
    span, predict = past + 1 + future, make_forward(network, dataset)

    def forward(weights, features, masks, speakers=None):
        trees = jax.tree.unflatten(shape, [weights[name] for name in names])
        windows = jnp.arange(next(iter(masks.values())).shape[0])
        # Every window is a dialogue of its own.
        group = (windows[:, None] + jnp.zeros(span, jnp.int32)).reshape(-1)
        features, masks = (
            {m: x.reshape(-1, *x.shape[2:]) for m, x in of.items()} for of in (features, masks)
        )
        split = DeviceSplit(features, masks, group, {}, {}, {})
        if speakers is not None:
            split = split.replace(speaker=speakers.reshape(-1))
        raw = predict(*trees, split, windows * span + past)["predictions"]
        tasks = {}
        for task_id in network.tasks_of(dataset):
            task = network.tasks[task_id]
            each = kind_of(task.kind).readable(task, raw[task.name])
            spread = jnp.std(each, axis=0, ddof=1) if each.shape[0] > 1 else None
            tasks[task.name] = {"mean": each.mean(axis=0), "spread": spread}
        return tasks

    return forward


def _task_json(task: TaskSpec) -> dict[str, Any]:
    return {"kind": task.kind, "classes": list(task.classes), "range": task.range}


def _lengths(trained: Trained, dataset: str, wanted: Mapping[str, int]) -> dict[str, int]:
    """Tokens of an utterance by modality."""
    network = trained.experiment.network
    known = trained.experiment.data[dataset]["tokens"]
    lengths = {m: known[m] for m in network.widths[dataset]}
    for m, count in wanted.items():
        if m not in lengths or count < 1:
            raise InputError(
                f"tokens {m}={count}: expected a positive number for one of {', '.join(lengths)}"
            )
        if any(network.context_of(dataset)) and count != lengths[m]:
            raise InputError(
                f"tokens {m}={count}: with context it is {lengths[m]} as in training, since how "
                "far apart utterances lie is seen by convolutions"
            )
        lengths[m] = count
    return lengths


def _flat(tree: Any) -> dict[str, np.ndarray]:
    """Leaves by their path, in the tree's order."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    roots = ("params", "constants", "structures")
    named = {}
    for path, leaf in leaves:
        name = "/".join([roots[path[0].idx], *(_name(part) for part in path[1:])])
        named[name] = np.ascontiguousarray(leaf)
    return named


def _name(part: Any) -> str:
    return str(getattr(part, "key", getattr(part, "name", part)))
