"""One self-contained HTML file of whatever a run directory holds: pictures inside, no network."""

import base64
import html
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from markdown import markdown

from haemsa_jax.data import SPLITS
from haemsa_jax.data.missing import PROTOCOLS
from haemsa_jax.errors import InputError
from haemsa_jax.reporting import samples
from haemsa_jax.reporting.card import COMMANDS
from haemsa_jax.training.checkpoint import BEST, load_experiment

LARGEST = 15  # errors that are shown of each task
ABOUT_ERRORS = (
    "Misled by: the modality without which the prediction would have been nearest to the truth; "
    "none, where every one helps. The error of a class is what is missing to certainty about the "
    "true one."
)
READ = tuple(reversed(SPLITS))  # the test split first

STYLE = """
:root { --ink: #222; --soft: #666; --line: #ddd; --hue: #0072b2 }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1rem; max-width: 76rem; color: var(--ink); background: #fff;
  font: 16px/1.5 system-ui, sans-serif }
h1 { font-size: 1.6rem; margin: .5rem 0; overflow-wrap: anywhere }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem; border-bottom: 2px solid var(--hue) }
h3 { font-size: 1.05rem; margin: 1.5rem 0 .4rem }
p, figcaption, li { max-width: 46rem }
figcaption { color: var(--soft); font-size: .9rem }
nav a { margin-right: 1rem; white-space: nowrap; color: var(--hue) }
.wide { overflow-x: auto; margin: .5rem 0 }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top }
thead th { border-bottom: 2px solid var(--line) }
td.number { text-align: right }
td.words { min-width: 16rem; max-width: 34rem }
figure { margin: 1rem 0 }
img { display: block; width: 100%; height: auto }
pre { overflow-x: auto; background: #f5f5f5; padding: .8rem; font-size: .85rem }
summary { cursor: pointer; color: var(--hue) }
@media (max-width: 700px) { .wide img { width: 60rem; max-width: none } }
@media print { body { max-width: none; font-size: 10pt } nav { display: none }
  details::details-content { content-visibility: visible }
  figure, tr { break-inside: avoid } .wide { overflow: visible } pre { white-space: pre-wrap } }
"""


def page(run_dir: Path) -> str:
    """HTML of a run of launch.train, launch.evolve, launch.evaluate or launch.ablate.

    Args:
      run_dir: the directory; sections are of the files that are there.

    Raises:
      InputError: nothing in it is of a run.
    """
    if not run_dir.is_dir():
        raise InputError(f"--run_dir={run_dir}: there is no such directory")
    parts = {title: "\n".join(make(run_dir)) for title, make in SECTIONS.items()}
    there = {title: body for title, body in parts.items() if body}
    if not there:
        raise InputError(
            f"--run_dir={run_dir} holds nothing of a run; name what launch.train, launch.evolve, "
            "launch.evaluate or launch.ablate wrote"
        )
    name = html.escape(run_dir.resolve().name)
    links = " ".join(f'<a href="#{_anchor(title)}">{title}</a>' for title in there)
    body = "\n".join(
        f'<section id="{_anchor(title)}">\n<h2>{title}</h2>\n{text}\n</section>'
        for title, text in there.items()
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{name}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{name}</h1>\n{_headline(run_dir)}\n<nav>{links}</nav>\n{body}\n</body>\n</html>\n"
    )


def _headline(run_dir: Path) -> str:
    """What was trained, in a sentence."""
    if not (run_dir / BEST).is_dir():
        return ""
    experiment = load_experiment(run_dir)
    kind = "A search" if "search" in experiment.origin else "A training"
    seeds = experiment.train.seeds
    networks = "" if "search" in experiment.origin else f", {seeds} seed{'s' * (seeds > 1)}"
    tasks = html.escape(", ".join(experiment.network.tasks))
    return f"<p>{kind} on {tasks}{networks}.</p>"


# --- sections: each yields HTML of the files it finds, in the order of the page -------------------


def _results(run_dir: Path) -> Iterator[str]:
    if (run_dir / BEST).is_dir() and not (run_dir / "test.md").is_file():
        command = f"python -m launch.evaluate --run_dir={html.escape(str(run_dir))}"
        yield f"<p>The test split has not been read yet: <code>{command}</code></p>"
    for split in READ:
        yield from _table(run_dir / f"{split}.md", f"{split.capitalize()} split")
        yield from _picture(
            run_dir / f"{split}.png",
            "What is predicted against the truth, and the mean weights of every level's gates.",
        )


def _network(run_dir: Path) -> Iterator[str]:
    for split in READ:
        yield from _picture(
            run_dir / f"{split}_architecture.png",
            f"What the gates weigh on the {split} split: shades and thicknesses are mean weights.",
        )
        yield from _picture(
            run_dir / f"{split}_diagnosis.png",
            "How far predictions move where one part alone is shut: what a part says, which is not "
            "what its gate gives it.",
        )
        yield from _probe(run_dir / f"{split}_diagnosis.json")


def _probe(path: Path) -> Iterator[str]:
    told = json.loads(path.read_text("utf-8"))["probe"] if path.is_file() else {}
    for which, values in told.items():
        if not values:
            continue
        mean = 100 * sum(values) / len(values)
        yield f"<p>A linear classifier tells the modality of {mean:.1f} % of {which} parts.</p>"


def _errors(run_dir: Path) -> Iterator[str]:
    for split in READ:
        path = run_dir / f"{split}_predictions.csv"
        if path.is_file():
            for task_id, found in samples.largest_errors(path, LARGEST).items():
                yield f"<h3>{html.escape(task_id)}, {split} split</h3>"
                yield _error_table(found)
                yield f"<p>{ABOUT_ERRORS}</p>"


def _error_table(found: Sequence[samples.Misled]) -> str:
    spoken = any(one.words for one in found)
    head = ["sample", *["words"] * spoken, "truth", "prediction", "error", "misled by"]
    rows = [
        [
            _cell(one.id),
            *[_cell(one.words, "words")] * spoken,
            _cell(one.truth, "number"),
            _cell(one.prediction, "number"),
            _cell(f"{one.error:.3f}", "number"),
            _cell(f"{one.modality}: {one.without} without it" if one.modality else "none"),
        ]
        for one in found
    ]
    return _rows(head, rows)


def _missing(run_dir: Path) -> Iterator[str]:
    for split in READ:
        for protocol in PROTOCOLS:
            path = run_dir / f"{split}_{protocol}"
            yield from _picture(path.with_suffix(".png"), f"Protocol {protocol}, {split} split.")
            yield from _folded(f"Tables of protocol {protocol}", _table(path.with_suffix(".md")))


def _training(run_dir: Path) -> Iterator[str]:
    yield from _picture(
        run_dir / "training.png", "Losses and validation metrics by step; bands span the seeds."
    )


def _search(run_dir: Path) -> Iterator[str]:
    yield from _picture(
        run_dir / "report.png",
        "Fitness by generation, how common genes are, the best architecture, and its ancestors.",
    )
    path = run_dir / "best.json"
    if path.is_file():
        yield from _folded(
            "The best genome", [_tree(json.loads(path.read_text("utf-8"))["genome"])]
        )


def _ablations(run_dir: Path) -> Iterator[str]:
    yield from _picture(
        run_dir / "ablation.png",
        "What is lost or gained where an idea is taken away; 95 % intervals.",
    )
    yield from _table(run_dir / "ablation.md")


def _configuration(run_dir: Path) -> Iterator[str]:
    path = run_dir / COMMANDS
    if path.is_file():
        yield f"<pre>{html.escape(path.read_text('utf-8').strip())}</pre>"
    if (run_dir / BEST).is_dir():
        for title, values in load_experiment(run_dir).to_json().items():
            if values:
                yield from _folded(title, [_tree(values)])


SECTIONS: dict[str, Callable[[Path], Iterator[str]]] = {
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


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def _table(path: Path, title: str = "") -> Iterator[str]:
    """The tables of a Markdown file that this package wrote."""
    if path.is_file():
        if title:
            yield f"<h3>{title}</h3>"
        yield f'<div class="wide">{markdown(path.read_text("utf-8"), extensions=["tables"])}</div>'


def _picture(path: Path, caption: str) -> Iterator[str]:
    if path.is_file():
        data = base64.b64encode(path.read_bytes()).decode()
        yield (
            f'<figure><div class="wide"><img alt="{caption}" src="data:image/png;base64,{data}">'
            f"</div><figcaption>{caption}</figcaption></figure>"
        )


def _folded(title: str, body: Iterable[str]) -> Iterator[str]:
    text = "\n".join(body)
    if text:
        yield f"<details><summary>{html.escape(title)}</summary>{text}</details>"


def _rows(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    top = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    body = "\n".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return (
        f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _cell(text: Any, kind: str = "") -> str:
    return f'<td class="{kind}">{html.escape(str(text))}</td>'


def _tree(values: Any) -> str:
    """JSON values as a table of two columns, names of what is nested joined by dots."""

    def flat(value: Any, name: str) -> Iterator[tuple[str, str]]:
        if isinstance(value, dict) and value:
            for key, inner in value.items():
                yield from flat(inner, f"{name}.{key}" if name else str(key))
        else:
            yield name, json.dumps(value, ensure_ascii=False)

    return _rows(["name", "value"], [[_cell(n), _cell(v)] for n, v in flat(values, "")])
