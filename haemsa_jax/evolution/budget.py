"""How long a search trains, from the size of the data or from a budget."""

import dataclasses

from haemsa_jax.errors import InputError
from haemsa_jax.evolution.state import SearchConfig
from haemsa_jax.training.engine.budget import EPOCHS, FEWEST

MOST = 1500  # steps of a line that no budget stretches
HEAD_START = 5  # one part in so many of a line goes before the first selection


def short_line(config: SearchConfig, networks: int) -> list[str]:
    """A warning where a line of descent is trained for a third of what plain training would be."""
    if 3 * config.schedule >= FEWEST:
        return []
    enough = FEWEST * config.population * networks * config.total_steps // config.schedule
    return [
        f"a lineage of genomes is trained for {config.schedule} steps, which is too short to judge "
        f"them by: plain training takes at least {FEWEST}; give --steps_total={enough}, or fewer "
        "members (--population) or folds"
    ]


def fitted(
    config: SearchConfig,
    *,
    networks: int,
    steps_per_epoch: float,
    steps_total: int | None = None,
    steps: int | None = None,
    head_start: int | None = None,
) -> SearchConfig:
    """The configuration with steps that fit the data, or a budget.

    Args:
      config: of the search; its own `steps` and `head_start` are not read.
      networks: of a member.
      steps_per_epoch: of a network.
      steps_total: a budget, training steps of all networks over the search and its final.
      steps, head_start: as `SearchConfig` has them, where they are given.

    Raises:
      InputError: the budget leaves a generation no step, or there is a budget and steps as well.
    """
    if steps_total is not None and not (steps is None and head_start is None):
        raise InputError(
            f"steps_total={steps_total} says all about steps; leave steps and head_start away"
        )
    line = round(min(max(FEWEST, EPOCHS * steps_per_epoch), MOST))
    inherits = config.inherit != "none"
    if steps_total is not None:
        runs = config.generations + bool(config.repeats)
        trainings = (1 + bool(config.repeats)) if inherits else runs
        line = steps_total // (config.population * networks * trainings)
    usual = line // HEAD_START if inherits else 0
    first = usual if head_start is None else head_start
    each = round(max(0, line - first) / config.generations) if inherits else line
    each = each if steps is None else steps
    if each < 1 and steps is None:
        least = config.population * networks * config.generations * 2
        raise InputError(
            f"steps_total={steps_total} leaves a generation no step; give more, at least about "
            f"{2 * least}, or fewer generations or members"
        )
    if inherits and head_start is None and steps is None:
        first = max(0, line - each * config.generations)
    return dataclasses.replace(config, steps=each, head_start=first)
