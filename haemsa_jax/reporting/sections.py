"""Sections of a run's page: each yields blocks of the files it finds, in the order of the page.

Blocks hold plain text and tables; only the templates, which escape everything, know HTML. Tables
are made from the JSON files that the launchers write.
"""

import base64
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from haemsa_jax.data import SPLITS
from haemsa_jax.data.missing import PROTOCOLS
from haemsa_jax.reporting import ablation, robustness, samples, tables
from haemsa_jax.reporting.card import commands_of, next_command
from haemsa_jax.reporting.reading import from_json
from haemsa_jax.reporting.tables import Table, Tables
from haemsa_jax.structure.ablation import ABLATIONS
from haemsa_jax.training.persistence.checkpoint import BEST
from haemsa_jax.training.persistence.trained import load_experiment

LARGEST = 15  # errors that are shown of each task
ABOUT_ERRORS = (
    "Misleading modality: the one whose removal from the input makes the error smallest; none, "
    "where every removal makes it larger. The error of a class is what is missing to certainty "
    "about the true one."
)
READ = tuple(reversed(SPLITS))  # the test split first


@dataclass(frozen=True)
class Block:
    """A piece of a page.

    Attributes:
      kind: `heading`, `paragraph`, `command`, `code`, `picture`, `tables` or `details`.
      value: text, base64 of a PNG, `Tables`, or the blocks that are folded away.
      title: caption, summary, or the sentence before a command.
    """

    kind: str
    value: Any
    title: str = ""


def _results(run_dir: Path) -> Iterator[Block]:
    if (run_dir / BEST).is_dir() and not (run_dir / "test.json").is_file():
        command = next_command(run_dir, "evaluate", f"--run_dir={run_dir}")
        yield Block("command", command, "The test split has not been read yet:")
    for split in READ:
        path = run_dir / f"{split}.json"
        if path.is_file():
            yield Block("heading", f"{split.capitalize()} split")
            yield Block("tables", from_json(path, tables.of_results))
        caption = "Predictions against the truth, and the mean gate weights of every level."
        yield from _picture(run_dir / f"{split}.png", caption)


def _missing(run_dir: Path) -> Iterator[Block]:
    for split in READ:
        for protocol in PROTOCOLS:
            path = run_dir / f"{split}_{protocol}.json"
            yield from _picture(path.with_suffix(".png"), f"Protocol {protocol}, {split} split.")
            if path.is_file():
                made = from_json(path, functools.partial(robustness.tables_of, protocol))
                title = f"Tables of protocol {protocol}, {split} split"
                yield Block("details", [Block("tables", made)], title)


def _ablations(run_dir: Path) -> Iterator[Block]:
    caption = "What is lost or gained where an idea is taken away; 95 % intervals."
    yield from _picture(run_dir / "ablation.png", caption)
    path = run_dir / "ablation.json"
    if path.is_file():
        yield Block("tables", from_json(path, _ablation_tables))


def _ablation_tables(values: Any) -> Tables:
    whole = next(iter(next(iter(values["metrics"].values()))))
    compared = ablation.tables_of(values["metrics"], whole)
    return Tables(
        [ablation.sizes_table(values["sizes"], ABLATIONS), *compared.tables], compared.note
    )


def _network(run_dir: Path) -> Iterator[Block]:
    for split in READ:
        caption = f"Gate weights on the {split} split: shades and widths are means over samples."
        yield from _picture(run_dir / f"{split}_architecture.png", caption)
        path = run_dir / f"{split}_diagnosis.json"
        caption = (
            f"How far predictions on the {split} split move where one part alone is masked: its "
            "influence, which is not its gate weight."
        )
        yield from _picture(path.with_suffix(".png"), caption)
        if path.is_file():
            yield from from_json(path, _probe)


def _probe(values: Any) -> list[Block]:
    return [
        Block(
            "paragraph",
            f"A linear classifier tells the modality of {100 * sum(shares) / len(shares):.1f} % of "
            f"{name} parts.",
        )
        for name, shares in values["probe"].items()
        if shares
    ]


def _errors(run_dir: Path) -> Iterator[Block]:
    for split in READ:
        path = run_dir / f"{split}_predictions.csv"
        if path.is_file():
            for task_id, errors in samples.largest_errors(path, LARGEST).items():
                table = _error_table(errors, f"{task_id}, {split} split")
                yield Block("tables", Tables([table], ABOUT_ERRORS))


def _error_table(errors: Sequence[samples.Misled], title: str) -> Table:
    spoken = any(sample.words for sample in errors)
    header = ["sample", *["words"] * spoken, "truth", "prediction", "error", "misleading modality"]
    rows = [
        [
            sample.id,
            *[sample.words] * spoken,
            sample.truth,
            sample.prediction,
            f"{sample.error:.3f}",
            f"{sample.modality}: {sample.without} without it" if sample.modality else "none",
        ]
        for sample in errors
    ]
    misled = len(header) - 1
    prose = frozenset({1, misled} if spoken else {misled})
    return Table(header, rows, title, left=frozenset({0, misled}), prose=prose)


def _training(run_dir: Path) -> Iterator[Block]:
    caption = "Losses and validation metrics by step; bands span the seeds."
    yield from _picture(run_dir / "training.png", caption)


def _search(run_dir: Path) -> Iterator[Block]:
    caption = (
        "Fitness by generation, how common genes are, the best architecture, and its ancestors."
    )
    yield from _picture(run_dir / "report.png", caption)
    path = run_dir / "best.json"
    if path.is_file():
        yield _tree("The best genome", from_json(path, lambda values: values["genome"]))


def _configuration(run_dir: Path) -> Iterator[Block]:
    commands = commands_of(run_dir)
    if commands:
        yield Block("code", "\n".join(commands))
    if (run_dir / BEST).is_dir():
        for title, values in load_experiment(run_dir).to_json().items():
            if values:
                yield _tree(title, values)


SECTIONS: dict[str, Callable[[Path], Iterable[Block]]] = {
    "Results": _results,
    "With modalities missing": _missing,
    "Ablations": _ablations,
    "The network": _network,
    "Largest errors": _errors,
    "Search": _search,
    "Training": _training,
    "Configuration": _configuration,
}


# --- pieces --------------------------------------------------------------------------------------


def _picture(path: Path, caption: str) -> Iterator[Block]:
    if path.is_file():
        yield Block("picture", base64.b64encode(path.read_bytes()).decode(), caption)


def _tree(title: str, values: Any) -> Block:
    """Values folded away as a table of two columns, names of what is nested joined by dots.

    An empty mapping, such as the genes of a network that is not specialised, has no row.
    """

    def flat(value: Any, name: str) -> Iterator[list[str]]:
        if isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
            value = dict(enumerate(value, start=1))
        if isinstance(value, dict):
            for key, inner in value.items():
                yield from flat(inner, f"{name}.{key}" if name else str(key))
        else:
            yield [name, _in_words(value)]

    table = Table(
        ["name", "value"], list(flat(values, "")), left=frozenset({0}), prose=frozenset({1})
    )
    return Block("details", [Block("tables", Tables([table]))], title)


def _in_words(value: Any, joint: str = ", ") -> str:
    """A plain value as people write it; lists within a list are joined by a plus sign."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return joint.join(_in_words(inner, " + ") for inner in value) or "none"
    return "none" if value in (None, "") else str(value)
