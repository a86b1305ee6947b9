"""Checkpoints: Orbax writes arrays, configuration and progress together.

A run directory holds `latest/`, from which a run resumes, and `best/`, the selected networks; that
of a search holds `search/` in place of `latest/`. Either can be read without knowing anything else:
the configuration lies in the checkpoint's metadata.
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from haemsa_jax.config import (
    NetworkConfig,
    TrainConfig,
    network_from_json,
    to_json,
    train_from_json,
)
from haemsa_jax.errors import InputError
from haemsa_jax.models.architecture import Architecture, default_architecture
from haemsa_jax.models.haemsa import Haemsa, init_variables, variables_of
from haemsa_jax.training.state import TrainState, init_params, init_state, stack

LATEST, BEST = "latest", "best"


@dataclass(frozen=True)
class Experiment:
    """What is trained and how; all that must agree for a run to be resumed.

    Attributes:
      network, train: the configuration.
      origin: where architecture and first weights come from, or the search that made them, as JSON
        values; empty for everything open and random weights.
      data: what the data sets said of themselves, as `data.dataset.known_of` puts it.
    """

    network: NetworkConfig
    train: TrainConfig
    origin: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, as they come back from a checkpoint."""
        return {
            "network": to_json(self.network), "train": to_json(self.train),
            "origin": dict(self.origin), "data": dict(self.data),
        }  # fmt: skip


def experiment_from_json(values: Mapping[str, Any]) -> Experiment:
    """Inverse of `Experiment.to_json`.

    Raises:
      InputError: something is missing or unknown, as where another version wrote it.
    """
    try:
        network, train = network_from_json(values["network"]), train_from_json(values["train"])
        return Experiment(network, train, values["origin"], values["data"])
    except (KeyError, TypeError) as error:
        raise InputError(
            f"its configuration lacks or garbles {error}: another version of haemsa_jax wrote it; "
            "train again, or use that version"
        ) from error


@dataclass(frozen=True)
class Trained:
    """Trained networks with everything that is needed to use them.

    Attributes:
      experiment: what was trained, and how.
      params, architectures: with a leading axis S, the seeds of a training or the members of a
        search.
      constants: the same for all of them.
      progress: where training ended and which step of each seed was selected; of a search, how many
        members there are.
    """

    experiment: Experiment
    params: dict
    constants: dict
    architectures: Architecture
    progress: dict[str, Any]

    @property
    def ranked(self) -> bool:
        """Members of one search, the best first, rather than seeds that are all alike."""
        return "search" in self.experiment.origin

    def network(self, seed: int = 0) -> tuple[dict, Architecture]:
        """Variables and architecture of one of them, as `Haemsa.apply` takes them.

        Args:
          seed: its place, 0 to S - 1.
        """
        params, architecture = jax.tree.map(lambda x: x[seed], (self.params, self.architectures))
        return variables_of(params, self.constants), architecture


class Checkpoints:
    """The checkpoints of one kind in one run directory; a context manager.

    Several processes open, save and load together: all hold the same arrays, the first writes them.
    Who only reads clears nothing away: a training may be writing.
    """

    def __init__(self, directory: str | os.PathLike, kind: str, reads: bool = False):
        self.path = Path(directory).absolute() / kind
        policies = ocp.training.preservation_policies
        try:
            self._checkpointer = ocp.training.Checkpointer(
                self.path,
                preservation_policy=policies.LatestN(1),
                cleanup_tmp_directories=not reads,
            )
        except OSError as error:
            raise InputError(f"cannot write checkpoints to {self.path}: {error}") from error

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            self._checkpointer.close()
        except Exception:
            # A write that failed fails again here; what broke first is what the user should read.
            if kind is None:
                raise

    def save(self, step: int, tree: Any, experiment: Experiment, progress: dict) -> None:
        """Write one checkpoint and let the one before it go."""
        # Of arrays on devices Orbax would compile a slice for every shape, and, where there are
        # several processes, take them for this one's part of larger ones.
        tree = jax.device_get(tree)
        metadata = {"experiment": experiment.to_json(), "progress": progress}
        try:
            self._checkpointer.save(step, tree, custom_metadata=metadata, overwrite=True)
        except jax.errors.JaxRuntimeError:  # another process is gone
            raise
        except (OSError, ValueError, RuntimeError) as error:
            # Orbax reports a full disk through whichever of these its storage layer raised.
            free = shutil.disk_usage(self.path).free
            raise InputError(
                f"cannot write the checkpoint of step {step} to {self.path} ({free:,} bytes free "
                f"there): {error}; the checkpoint before it is kept, make room and start again"
            ) from error

    def metadata(self) -> dict[str, Any] | None:
        """Configuration and progress of the newest checkpoint, None where there is none."""
        if self._checkpointer.latest is None:
            return None
        return self._checkpointer.metadata(self._checkpointer.latest.step).custom_metadata

    def load(self, abstract: Any) -> Any:
        """The newest checkpoint as NumPy arrays in the tree of `abstract`."""
        # Whatever devices wrote it, one of those here reads it; `replicate` spreads it later.
        here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        wanted = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), abstract
        )
        restored = self._checkpointer.load(self._checkpointer.latest.step, wanted)
        return jax.tree.map(np.asarray, restored)


def check_directory(directory: Path, needed: int) -> None:
    """A run directory must be writable and have room for `needed` bytes of checkpoints."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        probe = directory / f".writable-{jax.process_index()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise InputError(
            f"cannot write to the run directory {directory}: {error.strerror}; choose another "
            "--run_dir"
        ) from error
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise InputError(
            f"the run directory {directory} has {free:,} bytes free, its checkpoints need "
            f"{needed:,}; make room or choose another --run_dir"
        )


def bytes_of(abstract: Any) -> int:
    """Bytes of all arrays of a tree."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(abstract))


def check_kept(directory: Path, experiment: Experiment, *kinds: str) -> None:
    """Whatever checkpoints a run directory holds must be those of this experiment."""
    for kind in kinds:
        if (directory / kind).is_dir():
            with Checkpoints(directory, kind, reads=True) as checkpoints:
                metadata = checkpoints.metadata()
            if metadata is not None:
                check_same(directory, metadata["experiment"], experiment)


def check_same(directory: Path, saved: dict[str, Any], wanted: Experiment) -> None:
    """A run resumes only what it began."""
    wanted = wanted.to_json()
    differences = list(_differences(saved, wanted))
    # Rows of masks and queries are numbered by task.
    orders = [list(config["network"]["tasks"]) for config in (saved, wanted)]
    if sorted(orders[0]) == sorted(orders[1]) and orders[0] != orders[1]:
        differences.append(
            f"network.tasks: {', '.join(orders[0])} there, {', '.join(orders[1])} asked"
        )
    if differences:
        raise InputError(
            f"{directory} holds a checkpoint of another configuration: {'; '.join(differences)}. "
            "Give the same flags to resume, another --run_dir, or --overwrite to begin anew"
        )


def _differences(saved: Any, wanted: Any, path: str = ""):
    """`name: saved -> wanted` of every leaf that differs."""
    if isinstance(saved, dict) and isinstance(wanted, dict):
        for name in sorted({*saved, *wanted}):
            inner = f"{path}.{name}" if path else name
            yield from _differences(saved.get(name), wanted.get(name), inner)
    elif _plain(saved) != _plain(wanted):
        yield f"{path}: {saved} there, {wanted} asked"


def _plain(value: Any) -> Any:
    """JSON has no tuples."""
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def abstract_trees(
    experiment: Experiment, count: int | None = None
) -> tuple[TrainState, dict[str, Any]]:
    """Shapes of a training's `latest/` and of `best/`, from the configuration alone.

    Args:
      experiment: what is trained.
      count: networks, where they are not the seeds.
    """
    network, count = experiment.network, count or experiment.train.seeds

    def make(key):
        _, constants = init_variables(Haemsa(network), key)
        params = init_params(network, experiment.train, key)
        state, architecture = (
            init_state(params, len(network.modalities)),
            default_architecture(network),
        )
        state, params, architecture = stack((state, params, architecture), count)
        return state, trained_tree(params, constants, architecture)

    return jax.eval_shape(make, jax.random.key(0))


def trained_tree(params: dict, constants: dict, architectures: Architecture) -> dict[str, Any]:
    """What selected networks are made of, as `best/` keeps them."""
    return {"params": params, "constants": constants, "architectures": architectures}


def load_experiment(directory: str | os.PathLike) -> Experiment:
    """What a run trained, without its weights.

    Raises:
      InputError: there is no such run, or it has not reached its first validation.
    """
    path = _best_of(directory)
    with Checkpoints(path, BEST, reads=True) as checkpoints:
        return _described(checkpoints, path)[0]


def load_trained(directory: str | os.PathLike) -> Trained:
    """The selected networks of a run, from its directory alone.

    Raises:
      InputError: there is no such run, or it has not reached its first validation.
    """
    path = _best_of(directory)
    with Checkpoints(path, BEST, reads=True) as checkpoints:
        experiment, metadata = _described(checkpoints, path)
        # A search keeps its members, a training one network a seed.
        count = metadata["progress"].get("members")
        tree = checkpoints.load(abstract_trees(experiment, count)[1])
    return Trained(experiment=experiment, progress=metadata["progress"], **tree)


def _best_of(directory: str | os.PathLike) -> Path:
    path = Path(directory)
    if not (path / BEST).is_dir():
        raise InputError(
            f"{path} holds no trained network: there is no {path / BEST}; name the run directory "
            "of launch.train, after its first validation"
        )
    return path


def _described(checkpoints: Checkpoints, path: Path) -> tuple[Experiment, dict[str, Any]]:
    """The experiment and all that stands beside it."""
    metadata = checkpoints.metadata()
    if metadata is None:
        raise InputError(f"{path / BEST} holds no complete checkpoint; train again")
    try:
        return experiment_from_json(metadata["experiment"]), metadata
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
