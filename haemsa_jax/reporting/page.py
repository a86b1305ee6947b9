"""One self-contained HTML file of whatever a run directory holds: pictures inside, no network.

The page is made by the templates beside this file, with autoescape: no name, word or key of a file
reaches it as HTML.
"""

import datetime
import math
from collections.abc import Iterator
from pathlib import Path

import jax
from jinja2 import Environment, PackageLoader, StrictUndefined

from haemsa_jax.errors import InputError
from haemsa_jax.evolution.outcome import GENOME
from haemsa_jax.reporting.reading import from_json
from haemsa_jax.reporting.sections import READ, SECTIONS
from haemsa_jax.reporting.verdicts import of_search, verdicts
from haemsa_jax.training.persistence.checkpoint import BEST, Checkpoints
from haemsa_jax.training.persistence.experiment import Experiment
from haemsa_jax.training.persistence.trained import abstract_trees, load_experiment
from haemsa_jax.version import __version__


def page(run_dir: Path, *, date: datetime.date | None = None) -> str:
    """HTML of a run of launch.train, launch.evolve, launch.evaluate or launch.ablate.

    Args:
      run_dir: the directory; sections are of the files that are there.
      date: of the page; today by default.

    Raises:
      InputError: nothing in it is of a run, or a file in it is not what a launcher writes.
    """
    if not run_dir.is_dir():
        raise InputError(f"--run_dir={run_dir}: there is no such directory")
    sections = {title: list(make(run_dir)) for title, make in SECTIONS.items()}
    sections = {title: blocks for title, blocks in sections.items() if blocks}
    if not sections:
        raise InputError(
            f"--run_dir={run_dir} holds nothing of a run; name what launch.train, launch.evolve, "
            "launch.evaluate or launch.ablate wrote"
        )
    experiment = load_experiment(run_dir) if (run_dir / BEST).is_dir() else None
    template = _environment().get_template("page.html")
    return template.render(
        name=run_dir.resolve().name,
        headline=_headline(experiment) if experiment else "",
        verdicts=list(_verdicts(run_dir)),
        facts=list(_facts(run_dir, experiment, date or datetime.date.today())),
        sections=sections,
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("haemsa_jax.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["anchor"] = lambda title: title.lower().replace(" ", "-")
    return environment


def _headline(experiment: Experiment) -> str:
    """What was trained, in a sentence."""
    searched, seeds = "search" in experiment.origin, experiment.train.seeds
    kind = "A search" if searched else "A training"
    networks = "" if searched else f", {seeds} seed{'s' * (seeds > 1)}"
    return f"{kind} on {', '.join(experiment.network.tasks)}{networks}."


def _verdicts(run_dir: Path) -> Iterator[str]:
    """What came out: of a search, and of the first split that was read."""
    if (run_dir / GENOME).is_file():
        yield from_json(run_dir / GENOME, of_search)
    read = [path for split in READ if (path := run_dir / f"{split}.json").is_file()]
    if read:
        yield from from_json(read[0], verdicts) or [
            "Nothing says whether a network is needed: evaluate again with --baselines."
        ]


def _facts(run_dir: Path, experiment: Experiment | None, date: datetime.date) -> Iterator[str]:
    """What stands below the title."""
    if experiment:
        yield f"{_parameters(experiment):,} parameters a network"
        with Checkpoints(run_dir, BEST, reads=True) as checkpoints:
            versions = (checkpoints.metadata() or {}).get("versions", {})
        if "haemsa_jax" in versions:
            at = f", commit {versions['commit']}" if "commit" in versions else ""
            yield f"trained by haemsa_jax {versions['haemsa_jax']}{at}"
    read = [split for split in READ if any(run_dir.glob(f"{split}*.json"))]
    yield f"split read: {', '.join(read)}" if read else "no split read yet"
    yield f"page of {date.isoformat()} by haemsa_jax {__version__}"


def _parameters(experiment: Experiment) -> int:
    """Of one network as it is built."""
    params = abstract_trees(experiment, 1)[1]["params"]
    networks = experiment.train.networks
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params)) // networks
