"""Runs experiments again and says whether their results came back.

  python -m launch.reproduce --list
  python -m launch.reproduce --group=quick --source_dir=~/data
  python -m launch.reproduce --only=hazumi/main

Experiments stand in `reproduce.toml`, results in `results/`; both may be your own. What is done at
this commit is skipped, what was stopped goes on. Every new figure is compared with the kept one:
the same, within two standard deviations over seeds (or what the experiment allows), or away, which
ends with status 1. With --keep new results and pictures take the place of the kept ones; with
--pages tables in README and docs are made anew from what is kept.
"""

import sys
from pathlib import Path

from absl import flags

from haemsa_jax.errors import InputError
from haemsa_jax.reporting.tables import Table, Tables, as_text
from haemsa_jax.results import comparison, environment, experiments, pages, record

from . import program

_EXPERIMENTS = flags.DEFINE_string("experiments", "reproduce.toml", "The list of experiments.")
_RESULTS = flags.DEFINE_string("results_dir", "results", "The store of kept results.")
_LIST = flags.DEFINE_bool("list", False, "Only show the experiments.")
_GROUP = flags.DEFINE_list("group", [], "Groups of experiments to run; `all` is every one.")
_ONLY = flags.DEFINE_list("only", [], "Experiments to run, by name.")
_SOURCE = flags.DEFINE_string("source_dir", "raw", "Directory of raw data.")
_WORK = flags.DEFINE_string("work_dir", "reproduced", "Where runs and new results go.")
_KEEP = flags.DEFINE_bool("keep", False, "New results and pictures replace the kept ones.")
_PAGES = flags.DEFINE_bool("pages", False, "Make the tables in README and docs anew.")


def main() -> None:
    known = experiments.read(Path(_EXPERIMENTS.value))
    wanted = experiments.chosen(known, _GROUP.value, _ONLY.value)
    if _LIST.value:
        print(_listed(wanted or [*known.values()]))
        return
    if not wanted and not _PAGES.value:
        raise InputError("nothing to run: give --group or --only; --list shows what there is")
    if wanted and not _run(wanted):
        sys.exit(1)
    if _PAGES.value:
        for page in make_pages(Path(), Path(_RESULTS.value)):
            print(f"written: {page}")


def _listed(wanted) -> str:
    rows = [
        [x.name, f"{x.minutes:g} min", _memory(x), ", ".join(x.groups), ", ".join(x.inputs)]
        for x in wanted
    ]
    header = ["experiment", "takes", "memory to evaluate", "groups", "reads"]
    return as_text(Tables([Table(header, rows, left=(0, 3, 4))]))


def _memory(experiment: experiments.Experiment) -> str:
    """What the process held at most that recorded its kept results."""
    store = Path(_RESULTS.value)
    files = [store / f"{name}.json" for name in experiment.recorded]
    most = [record.read(file).peak_mib / 1024 for file in files if file.is_file()]
    return f"{max(most):.1f} GiB" if most else "-"


def _run(wanted) -> bool:
    """Whether everything came back."""
    work, source = Path(_WORK.value), Path(_SOURCE.value).expanduser()
    places = {"source": source, "work": work, "data": work / "data", "results": work / "results"}
    for x in wanted:
        for path in experiments.missing(x, source):
            raise InputError(f"{x.name} reads {path}, which is not there; {x.where}")
    commit, left, agreed = environment.commit(), sum(x.minutes for x in wanted), True
    for x in wanted:
        print(f"{x.name}: about {left:.0f} min to go", flush=True)
        seconds = experiments.run(x, places, commit, lambda command: print(f"  {command}"))
        print(f"{x.name}: {seconds / 60:.1f} min", flush=True)
        left -= x.minutes
        for name in x.recorded:
            agreed &= _compare(name, places["results"], x.allowed)
        for picture in experiments.keep_pictures(x, places, Path(), anew=_KEEP.value):
            print(f"drawn: {picture}", flush=True)
    return agreed


def _compare(name: str, results: Path, allowed: float) -> bool:
    store = Path(_RESULTS.value)
    new, kept = record.read(results / f"{name}.json"), store / f"{name}.json"
    rows = [*comparison.compare(record.read(kept), new, allowed)] if kept.is_file() else []
    if rows:
        print(as_text(Tables([comparison.table(name, rows)])), flush=True)
    if _KEEP.value or not kept.is_file():
        print(f"kept: {record.write(store, new)}", flush=True)
    return all(verdict not in (comparison.AWAY, comparison.ABSENT) for *_, verdict in rows)


def make_pages(root: Path, results: Path) -> list[Path]:
    """Makes tables in README and docs anew; returns pages that changed."""
    changed = []
    for page in sorted([root / "README.md", *root.glob("docs/**/*.md")]):
        text = page.read_text("utf-8")
        made = pages.made(text, results, page.name)
        if made != text:
            page.write_text(made, "utf-8")
            changed.append(page)
    return changed


def run() -> None:
    """The program as a command."""
    program.run(main)


if __name__ == "__main__":
    run()
