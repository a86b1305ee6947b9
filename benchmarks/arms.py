"""Evolution beside its yardsticks at equal steps, on groups drawn anew into train and test.

  python -m benchmarks.arms --dataset=hazumi --prefix=2010 --draws=0,1,2 --out=arms.jsonl

For each draw 30 % of the groups (people, videos, dialogues) are the test split, which no search
sees. Arms: an algorithm by name; `random`, as many random genomes as take the same training steps;
`default`, the default network as often, so an ensemble of seeds in bags over folds. All arms run in
the same programs, with the same folds and flags. Written is a row a draw and arm, JSON, with every
metric of the winner's bag and of the ensemble; rows that are there already are not measured again.
The table is of all rows in --out: score on test (1 is perfect, `TaskKind.score`), how much better
the cost out of fold was than that on test, parameters, and differences of the first arm to the
others, paired by data and draw, in brackets their 95 % interval.

--noise adds modalities without information: the first one's features of another sample.
"""

import dataclasses
import json
import time
from collections import defaultdict
from pathlib import Path
from statistics import fmean

import jax
import numpy as np
from absl import app, flags

import haemsa_datasets
from haemsa_jax.config import TrainConfig
from haemsa_jax.data import SPLITS, Dataset, Split
from haemsa_jax.data.description import describe_data
from haemsa_jax.data.folds import joined
from haemsa_jax.evolution import outcome
from haemsa_jax.evolution.crowning import make_result
from haemsa_jax.evolution.problem import make_problem, search_data
from haemsa_jax.evolution.search import make_search
from haemsa_jax.evolution.state import PICK, SearchConfig, SearchResult
from haemsa_jax.models.haemsa import HaemsaConfig
from haemsa_jax.reporting.ablation import difference
from haemsa_jax.structure.table import Table
from haemsa_jax.tasks import kind_of
from haemsa_jax.training.measurement.evaluation import TaskEvaluation, evaluate
from haemsa_jax.training.measurement.scoring import measure
from haemsa_jax.training.persistence.experiment import Experiment
from launch import recording

_DATASET = flags.DEFINE_string("dataset", None, "Data set, prepared.", required=True)
_DATA_DIR = flags.DEFINE_string("data_dir", "data", "Directory of prepared data sets.")
_PREFIX = flags.DEFINE_string("prefix", "", "Of the ids of samples that are used; all by default.")
_OUT = flags.DEFINE_string("out", None, "JSON lines, added to.", required=True)
_DRAWS = flags.DEFINE_list("draws", ["0", "1", "2", "3", "4"], "Seeds that draw the test groups.")
_ARMS = flags.DEFINE_list("arms", ["GenomicGA", "random", "default"], "The first is compared.")
_NOISE = flags.DEFINE_integer("noise", 0, "Modalities of noise that are added.")
_PAST = flags.DEFINE_integer("past", 0, "Utterances before the target.")
_FOLDS = flags.DEFINE_integer("folds", 4, "Networks of a bag.")
_POPULATION = flags.DEFINE_integer("population", 12, "Members of a generation.")
_GENERATIONS = flags.DEFINE_integer("generations", 20, "Generations before the final.")
_STEPS = flags.DEFINE_integer("steps", 20, "Training steps of a generation.")
_HEAD_START = flags.DEFINE_integer("head_start", 100, "Training steps of the first beyond that.")
_PRICE = flags.DEFINE_float("price", 0.005, "Of size.")
TEST, VALIDATION = 0.3, 0.1  # shares of the groups; folds join the latter with what is left
YARDSTICKS = ("random", "default")


recording.define_flags()


def main(argv: list[str]) -> None:
    del argv
    recording.check()
    out = Path(_OUT.value)
    rows = [json.loads(line) for line in out.read_text().splitlines()] if out.is_file() else []
    name = _DATASET.value + (f" {_PREFIX.value}" if _PREFIX.value else "")
    name += f" + {_NOISE.value} of noise" if _NOISE.value else ""
    for draw in map(int, _DRAWS.value):
        dataset = None
        for arm in _ARMS.value:
            key = {"data": name, "draw": draw, "arm": arm, "settings": settings()}
            if any(key.items() <= row.items() for row in rows):
                continue
            dataset = dataset or drawn(draw)
            row = {**key, **measured(dataset, draw, arm)}
            rows.append(row)
            with out.open("a") as file:
                file.write(f"{json.dumps(row)}\n")
            print(f"{name}, draw {draw}, {arm}: {row['seconds']:.0f} s", flush=True)
    rows = [row for row in rows if row["arm"] in _ARMS.value]
    print(table(rows))
    recording.save(
        data=["arms"],
        split="test",
        selected="groups out of fold",
        rows=as_results(rows),
        runs=[],
    )


def settings() -> str:
    """What all arms have in common."""
    names = ("past", "folds", "population", "generations", "steps", "head_start", "price")
    return " ".join(f"{name}={flags.FLAGS[name].value}" for name in names)


def drawn(draw: int) -> Dataset:
    """The data set, its groups drawn anew."""
    dataset = haemsa_datasets.load(_DATASET.value, _DATA_DIR.value, SPLITS)
    train, validation, test = (dataset.splits[name] for name in SPLITS)
    whole = joined(joined(train, validation), test)
    whole = rows_of(whole, np.array([name.startswith(_PREFIX.value) for name in whole.ids]))
    groups = np.random.default_rng(draw).permutation(np.unique(whole.group))
    first, second = round(TEST * len(groups)), round((TEST + VALIDATION) * len(groups))
    parts = {
        "test": groups[:first],
        "validation": groups[first : max(first + 1, second)],
        "train": groups[max(first + 1, second) :],
    }
    widths = dict(dataset.widths)
    source = next(iter(widths))
    widths |= {f"noise_{number}": widths[source] for number in range(_NOISE.value)}
    splits = {
        name: noisy(rows_of(whole, np.isin(whole.group, part)), source, draw)
        for name, part in parts.items()
    }
    return Dataset("drawn", widths, dataset.tasks, splits, conversational=dataset.conversational)


def rows_of(split: Split, keep: np.ndarray) -> Split:
    """Some rows of a split, bool[N]."""
    places = np.flatnonzero(keep)
    arrays = {
        name: {key: array[places] for key, array in getattr(split, name).items()}
        for name in ("features", "masks", "labels", "labelled")
    }
    ids = [split.ids[place] for place in places]
    return Split(**arrays, group=split.group[places], ids=ids)


def noisy(split: Split, source: str, draw: int) -> Split:
    """With modalities that are another sample's features."""
    features, masks = dict(split.features), dict(split.masks)
    for number in range(_NOISE.value):
        order = np.random.default_rng([draw, number, len(split)]).permutation(len(split))
        features[f"noise_{number}"] = features[source][order]
        masks[f"noise_{number}"] = masks[source][order]
    return dataclasses.replace(split, features=features, masks=masks)


def measured(dataset: Dataset, draw: int, arm: str) -> dict:
    """One search and what its networks say of the test split."""
    network = HaemsaConfig(
        widths={dataset.name: dict(dataset.widths)},
        tasks={f"{dataset.name}:{task}": spec for task, spec in dataset.tasks.items()},
        context={dataset.name: (_PAST.value, 0)} if dataset.conversational else {},
        width=32,
        depth=1,
        heads=2,
        link_width=16,
    )
    train = TrainConfig(folds=_FOLDS.value, batch_size=32, ema=0.97, seed=draw)
    config = SearchConfig(
        algorithm="GenomicGA" if arm in YARDSTICKS else arm,
        population=_POPULATION.value,
        generations=_GENERATIONS.value,
        steps=_STEPS.value,
        head_start=_HEAD_START.value,
        price=_PRICE.value,
        spread=0.0 if arm == "default" else 1.0,
        fixed=("training",),
    )
    problem = make_problem(network, train, config)
    data, datasets = search_data(network, train, {dataset.name: dataset}), {dataset.name: dataset}
    search = make_search(problem, config)
    key = jax.random.key(draw)
    began = time.perf_counter()
    state = search.start(key, data, arm in YARDSTICKS)
    state = jax.device_get(search.whole(search.advance(state, key, data, config.rounds)))
    row = {"seconds": time.perf_counter() - began}
    experiment = Experiment(network, train, {}, describe_data(datasets))
    for pick in (config.pick,) if arm in YARDSTICKS else PICK:
        result = make_result(problem, dataclasses.replace(config, pick=pick))(state, data)
        winner = read(result, problem.table, experiment, datasets, data)
        # The default's winner is the row's own; beside it what the other picks would have won.
        row |= winner if pick == config.pick else {pick: winner}
    return row


def read(result: SearchResult, table: Table, experiment: Experiment, datasets, data) -> dict:
    """What the winner's bag and the ensemble promised, and what they keep on the test split."""
    trained = outcome.population(result, experiment, data["constants"])
    evaluated = evaluate(trained, datasets)
    return {
        "share": float(result.history.sizes[result.place]),
        "reads": reads(result, table),
        "promised": {
            "bag": 1 - float(result.history.costs[result.place].mean()),
            "ensemble": 1 - float(result.ensemble_costs.mean()),
        },
        "bag": scored(evaluated, data, lambda task: task.predictions[0]),
        "ensemble": scored(
            evaluated,
            data,
            lambda task: task.predictions[trained.progress["ensemble"]].mean(axis=0),
        ),
    }


def reads(result: SearchResult, table: Table) -> dict[str, list[str]]:
    """By task what the winner leaves open."""
    values = table.to_json(result.genome)
    return {
        gene.name: values[gene.name] for gene in table.genes if gene.name.startswith("modalities/")
    }


def scored(evaluated: dict[str, TaskEvaluation], data, predict) -> dict:
    """Score, mean over tasks, and all metrics by task."""
    metrics = {t: measure(task.spec, predict(task), task.truth) for t, task in evaluated.items()}
    scores = [
        kind_of(task.spec.kind).score(task.spec, metrics[t], data["references"][t])
        for t, task in evaluated.items()
    ]
    return {"score": float(np.mean(scores)), "metrics": metrics}


def as_results(rows: list[dict]) -> dict:
    """By data and task the metrics of every arm's bag and ensemble, a value a draw.

    Table `arms:test` has scores and shares of draws that all arms had, over all data.
    """
    results: dict = {}

    def add(place: str, row: str, metric: str, value: float) -> None:
        results.setdefault(place, {}).setdefault(row, {}).setdefault(metric, []).append(value)

    measured = defaultdict(set)
    for row in rows:
        measured[row["data"], row["draw"], row["settings"]].add(row["arm"])
    for row in sorted(rows, key=lambda row: (row["data"], row["draw"])):
        complete = measured[row["data"], row["draw"], row["settings"]] == {*_ARMS.value}
        for which in ("bag", "ensemble"):
            name = f"{row['arm']}, {which}"
            if complete:
                add("arms:test", name, "score", row[which]["score"])
                if which == "bag":
                    add("arms:test", name, "share", row["share"])
            for task_id, metrics in row[which]["metrics"].items():
                for metric, value in metrics.items():
                    add(f"{row['data']}:{task_id.partition(':')[2]}", name, metric, value)
    return results


def table(rows: list[dict]) -> str:
    """Arms by situation, and all together."""
    first, *others = _ARMS.value
    by_data = defaultdict(list)
    for row in rows:
        by_data[row["data"]].append(row)
    lines = [f"{'score on test':26}{'arm':14}{'bag':>8}{'ensemble':>10}{'promise':>9}{'size':>7}"]
    for name, own in [*by_data.items(), ("all", rows)]:
        for arm in (first, *others):
            of_arm = [row for row in own if row["arm"] == arm]
            if not of_arm:
                continue
            bag, ensemble = (fmean(row[k]["score"] for row in of_arm) for k in ("bag", "ensemble"))
            ahead = fmean(row["promised"]["bag"] - row["bag"]["score"] for row in of_arm)
            share = float(np.median([row["share"] for row in of_arm]))
            lines.append(f"{name:26}{arm:14}{bag:8.4f}{ensemble:10.4f}{ahead:+9.4f}{share:7.2f}")
        for arm in others:
            lines += [
                f"{'':26}{first} - {arm}, {which}: {apart(own, first, arm, which)}"
                for which in ("bag", "ensemble")
            ]
    return "\n".join(lines)


def apart(rows: list[dict], first: str, other: str, which: str) -> str:
    """The mean paired difference in score and its 95 % interval."""
    scores = {(r["data"], r["draw"], r["settings"], r["arm"]): r[which]["score"] for r in rows}
    pairs = [
        (score, scores[*place, other])
        for (*place, arm), score in scores.items()
        if arm == first and (*place, other) in scores
    ]
    if not pairs:
        return "nothing to compare"
    of = difference(*zip(*pairs, strict=True))
    half = "" if of.half is None else f" ({of.mean - of.half:+.4f} to {of.mean + of.half:+.4f})"
    return f"{of.mean:+.4f}{half}, {len(pairs)} pairs"


if __name__ == "__main__":
    app.run(main)
