"""A model card: what a person must know of a network before using it, from its run directory."""

import itertools
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from haemsa_jax.config import dataset_of
from haemsa_jax.reporting import tables
from haemsa_jax.reporting.reading import from_json
from haemsa_jax.reporting.tables import Table, Tables
from haemsa_jax.tasks import kind_of
from haemsa_jax.training.persistence.trained import Trained

COMMANDS = "commands.txt"  # those that made a run directory, one a line


def commands_of(run_dir: Path) -> list[str]:
    """Commands that made a run directory, oldest first; none where they were not kept.

    Paths may hold any bytes. What is not UTF-8 is shown as replacement characters, for a card or a
    page is worth more than one letter.
    """
    path = run_dir / COMMANDS
    return path.read_text("utf-8", errors="replace").splitlines() if path.is_file() else []


def next_command(run_dir: Path, program: str, *words: str) -> str:
    """A launcher's command that reads the data of a run from where the run did.

    Args:
      run_dir: whose command says where its data were.
      program: such as `evaluate`.
      words: its other flags.
    """
    given = [
        f"--data_dir={value or following}"
        for command in commands_of(run_dir)
        for word, following in itertools.pairwise([*_words(command), ""])
        for flag, _, value in [word.partition("=")]
        if flag.lstrip("-") == "data_dir" and flag.startswith("-")
    ]
    return shlex.join(["python", "-m", f"launch.{program}", *words, *given[-1:]])


def _words(command: str) -> list[str]:
    """Of a line that is damaged none."""
    try:
        return shlex.split(command)
    except ValueError:
        return []


def model_card(
    trained: Trained,
    run_dir: Path,
    dataset: str,
    networks: int,
    reads: Mapping[str, Sequence[str]],
    tokens: Mapping[str, int],
) -> str:
    """Markdown.

    Args:
      trained: the networks.
      run_dir: where they were trained, for the commands and the results of launch.evaluate.
      dataset: as which data set samples are read.
      networks: how many of them are averaged.
      reads: by the name of each task the modalities that it reads.
      tokens: by modality those of an utterance that the export takes.

    Raises:
      InputError: the results are not as launch.evaluate writes them.
    """
    network = trained.experiment.network
    tasks = [network.tasks[task_id] for task_id in network.tasks_of(dataset)]
    names = ", ".join(tables.escaped(task.name) for task in tasks)
    predicts = []
    for task in tasks:
        values = tables.escaped(kind_of(task.kind).describe(task))
        predicts.append(f"- `{task.name}`: {values}; from {', '.join(reads[task.name])}")
    read = {modality for task in tasks for modality in reads[task.name]}
    return "\n\n".join(
        [
            f"# {tables.model_label(network.model)}: {names} on {tables.escaped(dataset)}",
            "## What it predicts",
            "\n".join(predicts),
            "## What it reads",
            *_inputs(trained, dataset, read, tokens),
            "## How it was made",
            *_origin(trained, run_dir, dataset, networks),
            "## Results",
            _results(run_dir, dataset),
            "## Limits",
            f"It knows people, topics and recordings like those of {tables.escaped(dataset)}: its "
            "errors on them are those of the results, and larger on others. It estimates how "
            "annotators would rate an utterance. It does not measure what a person feels, and is "
            "no ground for decisions about a person. The standard deviation over networks says "
            "how training varies, not the distance of a prediction from the truth.\n",
        ]
    )


def _inputs(
    trained: Trained, dataset: str, read: set[str], tokens: Mapping[str, int]
) -> Iterator[str]:
    network = trained.experiment.network
    provenance = trained.experiment.data[dataset]["provenance"]
    rows = [
        [modality, str(width), str(tokens[modality]), str(provenance.get(modality, "not known"))]
        for modality, width in network.widths[dataset].items()
        if modality in read
    ]
    header = ["modality", "width", "tokens", "features"]
    yield tables.as_markdown(Tables([Table(header, rows, left=frozenset({0, 3}))])).rstrip()
    yield (
        "Any subset of them, on their raw scale: the network normalises them. Features must be "
        "made as those above were; others of the same width give numbers without meaning."
    )
    past, future = network.context_of(dataset)
    if past or future:
        yield f"Context: {past} utterances before and {future} after the target, of one dialogue."
    for modality, spec in network.encoders.items():
        if dataset in spec.datasets:
            yield (
                f"{modality.capitalize()} encoder: {Path(spec.encoder).name}, {spec.mode}, "
                f"fingerprint {spec.fingerprint}, at most {spec.max_tokens} tokens."
            )


def _origin(trained: Trained, run_dir: Path, dataset: str, networks: int) -> Iterator[str]:
    experiment = trained.experiment
    commands = commands_of(run_dir) or ["(the command was not kept)"]
    yield "\n".join(f"    {command}" for command in commands)
    kind = "members of one search, the best first" if trained.ranked else "seeds"
    what = f"bags of {trained.size} networks, one a fold" if trained.size > 1 else "networks"
    judge = "out of fold" if trained.size > 1 else "on validation"
    others = [task_id for task_id in experiment.network.tasks if dataset_of(task_id) != dataset]
    together = f" Trained together with {', '.join(others)}." if others else ""
    yield (
        f"The mean of {networks} of {trained.count} {what} ({kind}), first seed "
        f"{experiment.train.seed}; the step of each was selected {judge}.{together}\n"
        "All other settings are in the checkpoint, and in `config.json` of an export."
    )


def _results(run_dir: Path, dataset: str) -> str:
    """Of the tasks on this data set."""

    def own(results: tables.Results) -> str:
        return tables.markdown({t: of for t, of in results.items() if dataset_of(t) == dataset})

    path = run_dir / "test.json"
    measured = from_json(path, own).rstrip() if path.is_file() else ""
    command = next_command(run_dir, "evaluate", f"--run_dir={run_dir}")
    otherwise = f"Not measured: `{command}` has not run."
    return measured or otherwise
