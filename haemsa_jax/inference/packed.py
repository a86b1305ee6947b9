"""A trained network as a small folder: what was trained, in half precision, and nothing beside it.

The weights of an encoder that stayed as it was published are not in it: they are read from where
the encoder lies.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from haemsa_jax.config import encoder_name, is_encoder
from haemsa_jax.encoders import EncoderFolders, read_like, relocated
from haemsa_jax.encoders.interface import parted
from haemsa_jax.errors import InputError
from haemsa_jax.inference.standalone import CONFIG, WEIGHTS, read_safetensors
from haemsa_jax.training.persistence.experiment import experiment_from_json
from haemsa_jax.training.persistence.trained import Trained, abstract_trees
from haemsa_jax.writing import write_bytes, write_text

OWN = Path(__file__).parents[1] / "pretrained"
DIGEST = "sha256"  # of the weights, beside what is said of them
TREES = "params", "constants", "structures"


def pack(trained: Trained, directory: str | os.PathLike, about: Mapping[str, Any]) -> None:
    """Writes `config.json` and `weights.safetensors`.

    Args:
      trained: the networks.
      directory: is made where it is not there.
      about: kept beside them: `dataset`, as which samples are read, `language` and so on.
    """
    from safetensors.numpy import save

    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    weights = {}
    for tree in TREES:
        own = {
            n: x for n, x in getattr(trained, tree).items() if tree == "params" or not is_encoder(n)
        }
        for name, value in flatten_dict(own, sep="/").items():
            array = np.asarray(value)
            small = tree == "params" and array.dtype == np.float32
            weights[f"{tree}/{name}"] = array.astype(np.float16) if small else array
    content = save(weights)
    write_bytes(directory / WEIGHTS, content)
    config = {
        "about": dict(about),
        "experiment": trained.experiment.to_json(),
        DIGEST: hashlib.sha256(content).hexdigest(),
    }
    write_text(directory / CONFIG, json.dumps(config, indent=1) + "\n")


def unpack(
    name: str | os.PathLike, encoder: EncoderFolders = None
) -> tuple[Trained, dict[str, Any]]:
    """Networks and what `pack` was told about them.

    Args:
      name: of one that comes with the library, or a folder.
      encoder: where encoders lie now, as `Predictor` takes it.

    Raises:
      InputError: there is none, it is damaged, or an encoder is not there.
    """
    folder = Path(name) if Path(name).is_dir() else OWN / name
    if not (folder / CONFIG).is_file():
        known = ", ".join(sorted(path.parent.name for path in OWN.glob(f"*/{CONFIG}")))
        raise InputError(
            f"pretrained={os.fspath(name)!r} is no folder with {CONFIG}; choose from {known}, or "
            "name a folder of launch.export --packed"
        )
    try:
        config = json.loads((folder / CONFIG).read_text("utf-8"))
        experiment, about = experiment_from_json(config["experiment"]), dict(config["about"])
        if not all(isinstance(x, str | None) for x in about.values()):
            raise ValueError(f"{CONFIG} says {about}, which are no words")
        if hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest() != config[DIGEST]:
            raise ValueError(f"{WEIGHTS} is not what was written")
        flat = read_safetensors(str(folder / WEIGHTS))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{folder} is damaged ({error}); export it again") from error
    network = experiment.network
    trees: dict[str, Any] = {tree: {} for tree in TREES}
    for tree, part in trees.items():
        own = {n.removeprefix(f"{tree}/"): x for n, x in flat.items() if n.startswith(f"{tree}/")}
        part |= unflatten_dict(
            {tuple(n.split("/")) if tree != "structures" else (n,): x for n, x in own.items()}
        )
    for modality, spec in relocated(network.encoders, encoder).items():
        if network.adapts(modality):
            module = encoder_name(modality)
            _, fixed = parted(network, {module: read_like(spec).params})
            trees["constants"] |= fixed
    wanted = abstract_trees(experiment)[1]
    try:
        trees = jax.tree.map(lambda shape, x: _as(shape, x), wanted, trees)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder} does not hold what its {CONFIG} says: {error}") from error
    return Trained(experiment=experiment, progress={}, **trees), about


def _as(shape: jax.ShapeDtypeStruct, value: Any) -> np.ndarray:
    array = np.asarray(value, shape.dtype)
    if array.shape != shape.shape:
        raise ValueError(f"an array is {array.shape}, not {shape.shape}")
    return array
