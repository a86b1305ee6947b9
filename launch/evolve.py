"""Evolves architecture, modalities and training of a network, the population on all local devices.

  python -m launch.evolve --tasks=planted --run_dir=runs/evolved
  python -m launch.evolve --tasks=hazumi --past=8 --patterns=full,single --run_dir=runs/found

A genome is a choice of structure and training; each of its numbers is a gene. The whole search is
one program on the device; between blocks of generations it reports and saves, and the same command
again resumes. A random search of as many training steps runs afterwards, as a baseline. RUN_DIR
holds `best.json` (the best genome), `history.npz` (all genomes), `report.png` and the last
networks, the winner first, for launch.evaluate; launch.train --genome=RUN_DIR/best.json trains
anew.

Each of the --population members is a genome with a bag of --folds networks, which predict by their
mean; each is trained without one share (fold) of the groups (people, videos, dialogues) of the
splits train and validation, and judged by it; --folds=0 keeps the two splits. A child inherits its
parent's weights and trains on: such a lineage is trained as long as one network is. Fitness is
the mean cost (1 - score; the score is that of launch.train) times a price of size: lower is better.
Training genes keep the values of their flags, unless --fixed names others or none.
"""

import dataclasses
from pathlib import Path

import jax
from absl import flags

from haemsa_jax.config import NetworkConfig, TrainConfig, to_json
from haemsa_jax.data.description import describe_data
from haemsa_jax.data.folds import make_partition
from haemsa_jax.errors import InputError
from haemsa_jax.evolution import outcome
from haemsa_jax.evolution.budget import fitted, short_line
from haemsa_jax.evolution.crowning import place_of_default
from haemsa_jax.evolution.genome import describe
from haemsa_jax.evolution.problem import Problem, make_problem, search_data
from haemsa_jax.evolution.run import run_search
from haemsa_jax.evolution.search import make_search
from haemsa_jax.evolution.state import SearchConfig, SearchResult
from haemsa_jax.models import default_structure
from haemsa_jax.reporting.card import next_command
from haemsa_jax.reporting.progress import SearchBar
from haemsa_jax.structure.size import parameters
from haemsa_jax.training.engine import budget
from haemsa_jax.training.engine.drawing import batch_sizes, label_counts, steps_per_epoch
from haemsa_jax.training.measurement.doubts import doubts
from haemsa_jax.training.measurement.scoring import score_in_words
from haemsa_jax.training.persistence.experiment import Experiment
from haemsa_jax.writing import draft_of

from . import cli, program, tasks, words
from .interrupt import Interrupt
from .processes import define_process_flags

_PATTERNS = flags.DEFINE_list(
    "patterns", ["full"],
    "Presence patterns over which fitness is averaged: full, leave_one_out, single, or modalities "
    "joined by +; a comma list.",
)  # fmt: skip
_FIXED = flags.DEFINE_list(
    "fixed",
    ["training"],
    "Genes, or levels of genes such as training, that are not evolved; a comma list.",
)
_BLOCK = flags.DEFINE_integer("block", 1, "Generations between two reports and checkpoints.")
_STEPS_TOTAL = flags.DEFINE_integer(
    "steps_total", None,
    "A budget: training steps of all networks, over the search and its final round; a random "
    "search takes as many again.",
)  # fmt: skip
_STEPS = flags.DEFINE_integer(
    "steps", None,
    "Training steps of a generation. By default a lineage (a genome with the ancestors whose "
    "weights it inherited) is trained for 12 epochs, at least 900 steps and at most 1500.",
)  # fmt: skip
_HEAD_START = flags.DEFINE_integer(
    "head_start", None,
    "Training steps of the first generation beyond that; by default a fifth of a lineage's.",
)  # fmt: skip
_YARDSTICK = flags.DEFINE_bool(
    "yardstick", True, "Also search at random, for as many training steps, as a baseline."
)
tasks.define_flags()
cli.define_run_flags()
define_process_flags()
# A member is one seed, trained for so many steps.
UNUSED = "seeds", "epochs", "evaluate_every", "patience", "task_weighting"
cli.define_flags(TrainConfig, UNUSED, folds=4)
cli.define_flags(SearchConfig, ("steps", "head_start"))


def main() -> None:
    devices = cli.devices()
    if _BLOCK.value < 1:
        raise InputError(f"--block={_BLOCK.value} must be at least 1")
    config = cli.from_flags(
        SearchConfig, fixed=tuple(_FIXED.value), steps=1, head_start=0
    )  # see `fitted`
    datasets, network = tasks.from_flags(("train", "validation"))
    if any(spec.mode == "tuned" for spec in network.encoders.values()):
        raise InputError(
            "--text_mode=tuned: a population has no encoder each; use frozen, pooled, or adapted, "
            "which leaves it to evolution whether there are adapters"
        )
    patterns = tasks.patterns(_PATTERNS.value, network.modalities)
    train = cli.from_flags(TrainConfig)
    data = search_data(network, train, datasets, words.weights(network))
    counts = label_counts(network, data["train"])
    train = budget.fitted(train, counts)
    per_epoch = steps_per_epoch(counts, batch_sizes(counts, train))
    config = fitted(
        config, networks=train.networks, steps_per_epoch=per_epoch,
        steps_total=_STEPS_TOTAL.value, steps=_STEPS.value, head_start=_HEAD_START.value,
    )  # fmt: skip
    # How long a genome is to be trained anew: as long as the search has trained its line.
    epochs = max(1, round(config.schedule / per_epoch))
    train = dataclasses.replace(train, epochs=epochs, evaluate_every=0)
    problem = make_problem(network, train, config, patterns)
    search = make_search(problem, config, devices)
    # How many members go abreast is a matter of memory, and may change where a search goes on.
    agreed = {name: value for name, value in to_json(config).items() if name != "abreast"}
    origin = {"search": agreed, "patterns": [list(pattern) for pattern in patterns]}
    experiment = Experiment(network, train, origin, describe_data(datasets))
    key = jax.random.key(train.seed)
    directory = cli.run_directory()
    if cli.leads():
        partition = make_partition(datasets, train.folds, train.train_missing)
        lines = _plan(network, problem, config, len(devices)), *doubts(network, partition)
        lines = *lines, *short_line(config, train.networks)
        print("\n".join(lines), flush=True)

    def run(random_search: bool) -> SearchResult:
        name = "random search" if random_search else config.algorithm
        with SearchBar(name, config.rounds) as bar:
            return run_search(
                search, key, data, directory, experiment, random_search, _BLOCK.value,
                _YARDSTICK.value and not random_search, bar, interrupt,
            )  # fmt: skip

    with Interrupt() as interrupt:
        result, beside = run(random_search=False), None
        _save(directory, result, experiment, problem, data)
        ended = _after(result, config)
        if _YARDSTICK.value and not interrupt():
            beside = run(random_search=True)
            if interrupt():  # half a baseline measures nothing
                ended = f"in the random search, {_after(beside, config)}"
                beside = None
        stopped = interrupt()
    if cli.leads():
        _show(directory, result, beside, problem, experiment, config)
    if stopped:
        interrupt.end(ended)


def _plan(network: NetworkConfig, problem: Problem, config: SearchConfig, devices: int) -> str:
    """What is about to be searched, before anything compiles."""
    free = [gene for gene in problem.table.genes if not {gene.name, gene.level} & {*config.fixed}]
    size = int(parameters(network, default_structure(network)))
    steps = config.population * problem.folds * config.total_steps
    bags = f", each trained as {problem.folds} networks (one a fold)," if problem.folds > 1 else ""
    final = ""
    if config.repeats:
        finalists = config.finalists.max() + 1
        final = (
            f"; then a final round, in which {finalists} genome"
            f"{'s are' if finalists > 1 else ' is'} trained anew for {config.schedule} steps, from "
            f"{config.population // finalists} seeds each"
        )
    return (
        f"searching {len(free)} genes (choices) of a {network.model} network of {size:,} "
        "parameters: "
        f"{config.population} genomes{bags} in {config.generations} generations, the first of "
        f"{config.head_start + config.steps} training steps, the others of {config.steps}{final}; "
        f"{steps:,} training steps of all networks together, on {devices} "
        f"device{'s' if devices > 1 else ''}"
    )


def _show(
    directory: Path, result: SearchResult, beside, problem: Problem, experiment: Experiment,
    config: SearchConfig,
) -> None:  # fmt: skip
    """Everything for people, once."""
    # Here, since what draws takes as long to import as all else.
    from haemsa_jax.reporting.evolution import evolution_figure

    network = experiment.network
    if beside:
        genes, objectives = problem.table.names, problem.objectives
        outcome.save_history(directory / "random.npz", beside.history, genes, objectives)
        outcome.note_random(directory, beside.fitness)
    cli.note_command(directory)
    with draft_of(directory / "report.png") as draft:
        evolution_figure(result, beside, problem, network, draft)
    print(describe(network, experiment.train, result.genome))
    _tell(result, beside, problem, config, network)
    genome = f"--genome={directory / 'best.json'}"
    print(
        f"written: {directory}: best.json, history.npz, report.png, best\n"
        f"next, the test split: {next_command(directory, 'evaluate', f'--run_dir={directory}')}\n"
        f"training it anew: {next_command(directory, 'train', genome)} --run_dir=...",
        flush=True,
    )


def _after(result: SearchResult, config: SearchConfig) -> str:
    return f"after {len(result.history.best)} of {config.rounds} rounds"


def _save(directory: Path, result: SearchResult, experiment, problem: Problem, data) -> None:
    trained = outcome.population(result, experiment, data["constants"])
    outcome.save(directory, result, trained, problem.objectives, cli.leads())


def _tell(
    evolved: SearchResult,
    beside: SearchResult | None,
    problem: Problem,
    config: SearchConfig,
    network: NetworkConfig,
) -> None:
    from haemsa_jax.reporting import tables
    from haemsa_jax.reporting.winners import DEFAULT, winners

    where = "the folds a network was not trained on" if problem.folds > 1 else "validation"
    print(f"\ncost: 1 - score, on {where}; score: {score_in_words(network)}")
    print("fitness: mean cost times (share of parameters in use) ^ --price, which selects")
    rounds = len(evolved.history.best)
    if rounds < config.rounds:
        print(f"\nso far, after {rounds} of {config.rounds} rounds:", end="")
    shown = {"evolved": (evolved, evolved.place)}
    shown |= {"random": (beside, beside.place)} if beside else {}
    default = place_of_default(evolved, problem, config)
    shown |= {DEFAULT: (evolved, default)} if default else {}
    print(f"\n{tables.as_text(winners(shown, problem, config))}", end="")
    diverged = evolved.history.diverged
    print(f"diverged (cost not finite, left out): {diverged.sum()} of {diverged.size} members")


def run() -> None:
    """The program as a command."""
    program.run(main)


if __name__ == "__main__":
    run()
