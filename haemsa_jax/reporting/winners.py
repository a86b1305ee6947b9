"""What a search ends with, as a table: the evolved genome beside a random and the default one."""

from collections.abc import Callable, Mapping

import numpy as np

from haemsa_jax.evolution.state import Problem, SearchConfig, SearchResult
from haemsa_jax.reporting.tables import MISSING, Table, Tables

DEFAULT = "default"  # the column of the default network


def winners(
    shown: Mapping[str, tuple[SearchResult, tuple[int, int]]],
    problem: Problem,
    config: SearchConfig,
) -> Tables:
    """A column a genome: its fitness and costs, which are better where they are lower.

    A genome that the final round trained from several seeds has their mean, by which that round
    selects, and the best of them, which is kept.

    Args:
      shown: by the name of the column a search, and the round and member that is kept of a genome.
      problem: what was searched.
      config: settings of the search.
    """
    seeds = {name: _seeds(of, place, config) for name, (of, place) in shown.items()}
    several = any(len(members) > 1 for members in seeds.values())
    rows: list[list[str]] = []

    def add(label: str, measured: Callable) -> None:
        """Rows of what is measured of every member of a round."""
        rounds = {name: measured(of.history)[place[0]] for name, (of, place) in shown.items()}
        if several:
            means = [f"{rounds[name][seeds[name]].mean():.3f}" for name in shown]
            rows.append([f"{label}, mean over seeds", *means])
        kept = [f"{rounds[name][place[1]]:.3f}" for name, (_, place) in shown.items()]
        rows.append([label + ", best seed" * several, *kept])

    add("fitness", lambda history: history.fitness)
    for number, name in enumerate(problem.objectives):
        add(f"cost, {name}", lambda history, number=number: history.costs[..., number])
        together = [
            MISSING if column == DEFAULT else f"{of.ensemble_costs[number]:.3f}"
            for column, (of, _) in shown.items()
        ]
        rows.append([f"cost, {name}, ensemble", *together])
    shares = [f"{of.history.sizes[place]:.3f}" for of, place in shown.values()]
    rows.append(["share of parameters in use, mean of tasks", *shares])
    notes = []
    if several:
        rows.append(["seeds", *(str(len(members)) for members in seeds.values())])
        notes += ["The final round selects by the mean over seeds; the best seed is kept."]
        if any(of.state.random_search for of, _ in shown.values()):
            notes += ["Random search trains a genome once: compare it with the best seed."]
    if DEFAULT in shown:
        notes += [f"{MISSING}: ensembles are of all networks of a search, the default has none."]
    return Tables([Table(["lower is better", *shown], rows)], " ".join(notes))


def _seeds(result: SearchResult, place: tuple[int, int], config: SearchConfig) -> np.ndarray:
    """int[S], members of the final round that have this genome; before it the member alone."""
    number, member = place
    if not config.repeats or number < config.rounds - 1:
        return np.array([member])
    genomes = np.asarray(result.history.genomes[number])
    return np.flatnonzero((genomes == genomes[member]).all(axis=1))
