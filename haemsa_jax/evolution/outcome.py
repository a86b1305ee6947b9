"""What a search leaves: the best genome as JSON, the history, the last population.

A genome file says everything that a network of it needs: tasks, supernet and training, so that it
can be trained, drawn and described from the file alone.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict

from haemsa_jax.config import NetworkConfig, TrainConfig
from haemsa_jax.data.fingerprint import fingerprint_of
from haemsa_jax.errors import InputError
from haemsa_jax.evolution.genome import (
    decode,
    describe,
    gene_table,
    structure_from_json,
    train_config,
)
from haemsa_jax.evolution.state import History, SearchResult
from haemsa_jax.models.model import constants_at, fields_of, variables_of
from haemsa_jax.regular import regular
from haemsa_jax.structure.parts import carried, declare
from haemsa_jax.structure.size import size
from haemsa_jax.structure.specialise import specialise, specialised_config
from haemsa_jax.training.engine.loop import Start
from haemsa_jax.training.persistence.checkpoint import BEST, Checkpoints
from haemsa_jax.training.persistence.experiment import Experiment, experiment_from_json
from haemsa_jax.training.persistence.trained import Trained, load_trained, trained_tree
from haemsa_jax.writing import draft_of, write_text

GENOME, HISTORY = "best.json", "history.npz"
FORMAT = 1


@dataclass(frozen=True)
class SavedGenome:
    """A genome as a file says it.

    Attributes:
      path: of the file.
      experiment: the search; its network is the supernet.
      values: what the genes say, as JSON values.
    """

    path: Path
    experiment: Experiment
    values: Mapping[str, Any]

    @property
    def structure(self) -> dict[str, np.ndarray]:
        """As the supernet has it."""
        return structure_from_json(self.experiment.network, self.values)

    @property
    def train(self) -> TrainConfig:
        """The training that the genome asks for."""
        return train_config(self.experiment.network, self.experiment.train, self.values)


def population(result: SearchResult, experiment: Experiment, constants: dict) -> Trained:
    """All members that are kept as bags of K networks, the winner first, without the diverged.

    Args:
      result: of the search.
      experiment: what was searched.
      constants: those of the search's data, of all folds.

    Returns:
      The members; `progress["ensemble"]` are the places of those that are the ensemble, with
      repetitions.

    Raises:
      InputError: all of them diverged.
    """
    if not np.isfinite(result.fitness):
        raise InputError(
            "no member of the search had a finite cost on validation; lower --learning_rate, or "
            "look at the data"
        )
    network, config = experiment.network, experiment.train
    good = np.flatnonzero(np.isfinite(result.fitnesses))
    places = {int(place): number for number, place in enumerate(good)}
    genomes, members = jax.tree.map(lambda x: x[good], (result.genomes, result.members))
    decoded = jax.jit(jax.vmap(lambda genome: decode(network, genome, config)[0]))(genomes)
    structures = jax.tree.map(
        lambda x: np.repeat(x, config.networks, axis=0), jax.device_get(decoded)
    )
    params = jax.tree.map(lambda x: np.asarray(x).reshape(-1, *x.shape[2:]), members.averaged)
    own = constants_at(constants, np.tile(np.arange(config.networks), len(good)))
    ensemble = [places[place] for place in result.ensemble]
    progress = {"members": len(good), "ensemble": ensemble}
    return Trained(experiment, params, own, structures, progress)


def save(
    directory: Path, result: SearchResult, trained: Trained, objectives: Sequence[str],
    writes: bool = True,
) -> None:  # fmt: skip
    """Writes `best.json`, `history.npz` and `best/`, over those of an earlier look.

    Of several processes all call this, and one `writes` the two files.
    """
    experiment, network = trained.experiment, trained.experiment.network
    tree = trained_tree(trained.params, trained.constants, trained.structures)
    with Checkpoints(directory, BEST) as best:
        best.save(len(result.history.best), tree, experiment, trained.progress)
    if not writes:
        return
    config = experiment.train
    table = gene_table(network, config)
    values = table.to_json(result.genome)
    history = result.history
    place = result.place
    count = jax.jit(lambda genome: size(network, decode(network, genome, config)[0]))
    counted = count(result.genome)
    saved = {
        "format": FORMAT,
        "genome": values,
        "described": describe(network, config, result.genome).splitlines(),
        "fitness": result.fitness,
        "ensemble": {
            "members": len(result.ensemble),
            "costs": dict(zip(objectives, result.ensemble_costs.tolist(), strict=True)),
        },
        "costs": dict(zip(objectives, history.costs[place].tolist(), strict=True)),
        "round": int(place[0]) + 1,
        "parameters": int(counted.parameters),
        "active_share": float(history.sizes[place]),
        "diverged": int(history.diverged.sum()),
        "experiment": experiment.to_json(),
    }
    write_text(directory / GENOME, json.dumps(saved, indent=1))
    save_history(directory / HISTORY, history, table.names, objectives)


def save_history(path: Path, history: History, genes: Sequence[str], objectives: Sequence[str]):
    """All fields of `History` as arrays, with the names of their last axes."""
    arrays: dict[str, Any] = {name: np.asarray(rows) for name, rows in vars(history).items()}
    with draft_of(path) as draft:
        np.savez_compressed(draft, **arrays, genes=np.array(genes), objectives=np.array(objectives))


def note_random(directory: Path, fitness: float) -> None:
    """Adds to `best.json` the fitness of the best genome of a random search beside it."""
    saved = json.loads((directory / GENOME).read_text("utf-8"))
    write_text(directory / GENOME, json.dumps({**saved, "random_fitness": fitness}, indent=1))


def read_genome(path: str | Path) -> SavedGenome:
    """A genome file, such as a search's `best.json`.

    Raises:
      InputError: there is no such file, or it says what no genome of its network can.
    """
    path = Path(path)
    path = path / GENOME if path.is_dir() else path
    try:
        saved = json.loads(regular(path).read_text("utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the genome {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"the genome {path} is not JSON: {error}") from error
    if not isinstance(saved, dict) or saved.get("format") != FORMAT:
        raise InputError(f"{path} is not a genome file of format {FORMAT}, as launch.evolve writes")
    try:
        source = SavedGenome(path, experiment_from_json(saved["experiment"]), saved["genome"])
    except (KeyError, TypeError) as error:
        raise InputError(f"the genome {path} lacks or garbles {error}") from error
    try:
        gene_table(source.experiment.network, source.experiment.train).from_json(source.values)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return source


def check_fits(source: SavedGenome, network: NetworkConfig) -> None:
    """Refuses a supernet that has other parts to open and shut than the genome's own.

    Raises:
      InputError: it has.
    """
    of = source.experiment.network
    if list(network.tasks) != list(of.tasks):
        raise InputError(
            f"the genome {source.path} is for the tasks {', '.join(of.tasks)} in this order, not "
            f"for {', '.join(network.tasks)}"
        )
    if network.model != of.model:
        raise InputError(
            f"model={network.model}, but the genome {source.path} is for model={of.model}; leave "
            "the flag away, or search with it"
        )
    genes = [{gene.name: gene.labels for gene in declare(config).genes} for config in (network, of)]
    for field in fields_of(of.model):
        wanted, kept = getattr(network, field.name), getattr(of, field.name)
        if wanted != kept and genes[0] != genes[1]:
            raise InputError(
                f"{field.name}={wanted}, but the genome {source.path} is for {field.name}={kept}; "
                "leave the flag away, or search with it"
            )


def _check_whole(source: SavedGenome) -> None:
    """Refuses to train a genome anew whose training nobody has seen from its beginning.

    Raises:
      InputError: the search evolved genes of the training on inherited weights, and held no final.
    """
    search = source.experiment.origin.get("search", {})
    if search.get("repeats") or search.get("inherit") == "none" or not search:
        return
    if "training" not in search.get("fixed", ()):
        raise InputError(
            f"the genome {source.path} was evolved with its training on inherited weights and "
            "without a final, so that nobody knows how it learns from random ones; search with "
            "--repeats=2, or --fixed=training, or use --weights=inherited"
        )


def begin(
    source: SavedGenome, network: NetworkConfig, inherit: bool
) -> tuple[NetworkConfig, Start]:
    """The specialised network of a genome and where its training starts.

    Args:
      source: the genome.
      network: the supernet that it is cut from; not the search's own where shapes are changed.
      inherit: start from the weights that the search left beside the genome file, rather than from
        random ones.

    Raises:
      InputError: the genome is for another supernet; there are no such weights, or they are of
        another shape.
    """
    check_fits(source, network)
    if not inherit:
        _check_whole(source)
    structure = source.structure
    origin = {"genome": dict(source.values), "weights": "random"}
    if not inherit:
        config = specialised_config(network, structure)
        return config, Start(carried(network, structure, config), {}, origin)
    trained = load_trained(source.path.parent)
    if trained.experiment.network != network:
        raise InputError(
            f"the weights in {source.path.parent} are those of another network than the flags ask "
            "for; leave the network's flags away, or train from random weights"
        )
    params, best = jax.tree.map(lambda x: x[0], (trained.params, trained.structures))
    constants = constants_at(trained.constants, 0)
    # The file's numbers are rounded to what people read.
    same = jax.tree.map(lambda a, b: np.allclose(a, b, rtol=1e-5), best, structure)
    if not jax.tree.all(same):
        raise InputError(f"{source.path} is not the best genome of the weights beside it")
    small = specialise(network, params, constants, best)
    first = variables_of(small.params, small.constants)["params"]  # an encoder is there whole
    taken = fingerprint_of(flatten_dict(first, sep="/"))
    origin = {**origin, "weights": str(source.path.parent), "fingerprint": taken}
    return small.network, Start(small.structure, first, origin)
