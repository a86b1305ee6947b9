"""Results of networks that Python trained, on arrays as on any data set: from tables to a page."""

import os
from collections.abc import Mapping
from pathlib import Path

from haemsa_jax.data import Dataset
from haemsa_jax.errors import InputError
from haemsa_jax.reporting import results, tables
from haemsa_jax.reporting.baselines import Fit
from haemsa_jax.reporting.figures import training_figure
from haemsa_jax.reporting.page import page
from haemsa_jax.reporting.runs import Contender, Run
from haemsa_jax.reporting.verdicts import chance, verdicts
from haemsa_jax.training.measurement.evaluation import check_unseen
from haemsa_jax.training.persistence import log
from haemsa_jax.training.persistence.trained import Trained
from haemsa_jax.writing import draft_of, write_text


def write_report(
    trained: Trained,
    datasets: Mapping[str, Dataset],
    directory: str | os.PathLike,
    *,
    split: str = "test",
    baselines: bool = True,
    others: Mapping[str, Fit] | None = None,
    ensemble: int = 0,
) -> str:
    """Evaluates networks and writes what launch.evaluate and launch.report write.

    Args:
      trained: the networks of a training or a search.
      datasets: by name, with the splits train, validation and the one to read.
      directory: where it goes; that of the run, to have its learning curves on the page as well.
      split: the split to read.
      baselines: whether constants and ridge regressions stand beside the networks.
      others: rows beside them, by name a function of a data set and the name of a task that returns
        `predict(split)`, float[N] in label units or [N, C] probabilities of all samples.
      ensemble: also average the predictions of so many networks.

    Returns:
      The tables as text, and a sentence a task where there are baselines. `directory` holds
      SPLIT.json, .md, .png, _architecture.png, _predictions.csv and report.html.

    Raises:
      InputError: the data are not those of the networks, or predictions of others do not fit.
    """
    check_unseen(trained, split)
    run, out = Run(Path(directory), trained), Path(directory)
    within = [name for name in datasets if run.network.encoded(name)]
    if baselines and within:
        raise InputError(
            f"baselines: {within[0]} holds tokens for an encoder within the network, and no "
            "features; give baselines=False"
        )
    evaluated = results.evaluate_runs([run], datasets, split=split, ensemble=ensemble)
    contender = Contender(tables.model_label(run.network.model), (run,))
    rows = results.results_of(
        {contender.label: evaluated.tasks},
        [contender],
        split=split,
        ensemble=ensemble,
        yardsticks=datasets if baselines else None,
    )
    rows = results.with_others(rows, others or {}, datasets, split=split)
    results.write_results(out, split, run, evaluated, rows)
    if (out / log.FILE).is_file():
        with draft_of(out / "training.png") as draft:
            training_figure(log.read(out), draft)
    write_text(out / "report.html", page(out))
    return "\n".join([tables.text(rows), *verdicts(rows), *chance(evaluated.tasks)])
