"""A model card: what a person must know of a network before using it, from its run directory."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from haemsa_jax.config import dataset_of
from haemsa_jax.training.checkpoint import Trained

COMMANDS = "commands.txt"  # those that made a run directory, one a line


def model_card(
    trained: Trained, run_dir: Path, dataset: str, networks: int,
    reads: Mapping[str, Sequence[str]], tokens: Mapping[str, int],
) -> str:  # fmt: skip
    """Markdown.

    Args:
      trained: the networks.
      run_dir: where they were trained, for the commands and the results of launch.evaluate.
      dataset: as which data set samples are read.
      networks: how many of them are averaged.
      reads: by the name of each task the modalities that it reads.
      tokens: by modality those of an utterance that the export takes.
    """
    experiment = trained.experiment
    network, train = experiment.network, experiment.train
    past, future = network.context_of(dataset)
    about = experiment.data[dataset]
    lines = [
        f"# HAEMSA network: {', '.join(t.name for t in _tasks(trained, dataset))} on {dataset}",
        "",
        "## What it predicts",
        "",
    ]
    for task in _tasks(trained, dataset):
        said = (
            f"a number in [{task.range[0]:g}, {task.range[1]:g}]"
            if task.kind == "regression"
            else f"{task.kind}: {', '.join(task.classes)}"
        )
        lines.append(f"- `{task.name}`: {said}; from {', '.join(reads[task.name])}")
    lines += ["", "## What it reads", "", "| modality | width | tokens | features |"]
    lines.append("| --- | ---: | ---: | --- |")
    for modality, width in network.widths[dataset].items():
        if not any(modality in read for read in reads.values()):
            continue
        came = about["provenance"].get(modality, "not known")
        lines.append(f"| {modality} | {width} | {tokens[modality]} | {came} |")
    lines += [
        "",
        "Any subset of them, on their raw scale: normalisation is within. Features must be made as "
        "those above were; others of the same width give numbers without meaning.",
    ]
    if past or future:
        lines.append(
            f"Context: {past} utterances before and {future} after the target, of one dialogue."
        )
    if network.text is not None and dataset in network.text.datasets:
        text = network.text
        lines.append(
            f"Text encoder: {text.encoder}, {text.mode}, fingerprint {text.fingerprint}, at most "
            f"{text.max_tokens} tokens."
        )
    others = [task_id for task_id in network.tasks if dataset_of(task_id) != dataset]
    lines += ["", "## How it was made", ""]
    lines += [f"    {command}" for command in _commands(run_dir)]
    kind = "members of one search, the best first" if trained.ranked else "seeds"
    there = len(trained.architectures.sharpness)
    lines += [
        "",
        f"The mean of {networks} of {there} networks ({kind}), first "
        f"seed {train.seed}; the step of each was selected on validation."
        + (f" Trained together with {', '.join(others)}." if others else ""),
        "Everything else that was set stands in the checkpoint, and in `config.json` of an export.",
        "",
        "## Results",
        "",
    ]
    results = run_dir / "test.md"
    if results.is_file():
        lines.append(results.read_text("utf-8").strip())
    else:
        lines.append(f"Not measured: `python -m launch.evaluate --run_dir={run_dir}` has not run.")
    lines += [
        "",
        "## Limits",
        "",
        f"It knows people, topics and recordings like those of {dataset}, and errs as the results "
        "say, more on others. Its numbers are guesses at how annotators would rate an utterance, "
        "not measurements of what a person feels, and no ground for decisions about a person. The "
        "spread over networks says how far training's chance matters, not how far the prediction "
        "is from the truth.",
    ]
    return "\n".join(lines) + "\n"


def _tasks(trained: Trained, dataset: str):
    network = trained.experiment.network
    return [network.tasks[task_id] for task_id in network.tasks_of(dataset)]


def _commands(run_dir: Path) -> list[str]:
    path = run_dir / COMMANDS
    return (
        path.read_text("utf-8").splitlines() if path.is_file() else ["(the command was not kept)"]
    )
