"""Tables hold the right numbers, figures are drawn."""

import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure

from haemsa_jax.config import TaskSpec, TrainConfig
from haemsa_jax.evolution.genome import default_genome, gene_table
from haemsa_jax.evolution.state import History
from haemsa_jax.models import default_structure
from haemsa_jax.models.haemsa import HaemsaConfig
from haemsa_jax.reporting import architecture, evolution, figures, tables
from haemsa_jax.reporting.predictions import CROWD
from haemsa_jax.structure.parts import declare
from haemsa_jax.tasks.metrics import METRICS

# --- tables --------------------------------------------------------------------------------------

RESULTS = {
    "toy:valence": {
        # mean 0.4, deviations -0.1, 0, 0.1: sample standard deviation sqrt(0.02 / 2) = 0.1
        "HAEMSA": {"mae": [0.3, 0.4, 0.5], "acc7": [0.45, 0.45, 0.45]},
        "median": {"mae": [0.4004], "acc7": [0.461]},
        "ridge text": {"mae": [0.41]},
    }
}


def test_every_metric_has_a_heading():
    assert all(tables.heading(metric) for metric in METRICS)
    headings = [tables.heading(metric) for metric in ("mae", "corr", "acc7", "f1_non0")]
    assert headings == ["MAE ↓", "Corr ↑", "Acc-7 % ↑", "F1 neg/pos % ↑"]


def test_cells():
    assert tables.cell("mae", [0.3, 0.4, 0.5]) == "0.400 ± 0.100"
    assert tables.cell("acc7", [0.40, 0.42]) == "41.0 ± 1.4"  # sqrt(2 * 0.01^2 / 1)
    assert tables.cell("acc7", [0.4567]) == "45.7"
    assert tables.cell("corr", [math.nan]) == "nan"
    assert tables.cell("mae", []) == "-"


def test_markdown():
    # 0.400 and 0.4004 print alike, so both are the best
    assert tables.markdown(RESULTS) == (
        "### toy:valence\n\n"
        "|  | MAE ↓ | Acc-7 % ↑ |\n"
        "| --- | ---: | ---: |\n"
        "| HAEMSA (3 seeds) | **0.400 ± 0.100** | 45.0 ± 0.0 |\n"
        "| median | **0.400** | **46.1** |\n"
        "| ridge text | 0.410 | - |\n\n"
        "±: sample standard deviation over seeds.\n"
    )


def test_text():
    assert tables.text(RESULTS) == (
        "toy:valence\n\n"
        "                           MAE ↓   Acc-7 % ↑\n"
        "----------------  --------------  ----------\n"
        "HAEMSA (3 seeds)  *0.400 ± 0.100  45.0 ± 0.0\n"
        "median                    *0.400       *46.1\n"
        "ridge text                 0.410           -\n\n"
        "±: sample standard deviation over seeds.\n"
    )


def test_a_bound_is_no_competitor():
    rows = {"ours": {"mae": [1.0]}, "median": {"mae": [2.0]}, tables.BEST_POSSIBLE: {"mae": [0.5]}}
    assert "| **1.000** |" in tables.markdown({"a": rows})
    assert "**0.500**" not in tables.markdown({"a": rows})


def test_rows_have_names_that_nothing_else_has():
    rows = {
        "late fusion network": 1, "late fusion": 1, "ridge all": 1, "ridge all + context": 1,
        "HAEMSA, bag of 2, ensemble of 3": 1, "HAEMSA, one network": 4,
    }  # fmt: skip
    made = tables.of_results({"a": {k: {"mae": [0.5] * n} for k, n in rows.items()}})
    assert made.note == tables.ONE_FOLD
    (table,) = made.tables
    assert [row[0] for row in table.rows] == [
        "late fusion network", "ridge a modality, averaged", "ridge, all modalities",
        "ridge, all modalities and 3 past utterances",
        "HAEMSA, mean of 2 fold networks, ensemble of 3",
        "HAEMSA, one fold network (mean over the 4)",
    ]  # fmt: skip


def test_one_seed_has_no_spread_and_nan_is_never_the_best():
    rows = {"a": {"mae": [math.nan]}, "b": {"mae": [0.5]}, "c": {"mae": [0.7]}}
    table = tables.markdown({"toy:valence": rows})
    assert table.count("±") == 1 and "No ±: nothing here was trained from several seeds." in table
    assert "| a | nan |" in table and "| b | **0.500** |" in table
    assert "**" not in tables.markdown({"toy:valence": {"b": {"mae": [0.5]}}})
    assert tables.cell("mae", [math.nan, 0.5]) == "nan ± nan"


# --- figures -------------------------------------------------------------------------------------

SPECS = (
    TaskSpec("valence", "regression", ("mae", "corr"), range=(-3, 3)),
    TaskSpec("emotion", "classification", ("accuracy",), ("a", "b", "c")),
    TaskSpec("emotions", "multilabel", ("wacc_mean", "f1_mean"), ("joy", "fear")),
)


DECLARATION = declare(
    HaemsaConfig(
        {"toy": {"text": 3, "audio": 2}},
        {"toy:score": TaskSpec("score", "regression", ("mae",), range=(-3, 3))},
        experts=("pointwise", "attention", "recurrence"),
    )
)


def report(spec, count=50):
    rng = np.random.default_rng(0)
    truth = {
        "regression": rng.normal(size=count),
        "classification": rng.integers(3, size=count),
        "multilabel": rng.integers(2, size=(count, 2)),
    }[spec.kind]
    prediction = rng.random((count, spec.outputs))
    return figures.TaskReport(
        task_id=f"toy:{spec.name}",
        spec=spec,
        truth=truth,
        prediction=prediction[:, 0] if spec.kind == "regression" else prediction,
        seeds=2,
        declaration=DECLARATION,
        gates={g.name: rng.dirichlet(np.ones(len(g.parts))) for g in DECLARATION.gates},
    )


def assert_is_drawn(path):
    """A PNG with ink on it."""
    image = pytest.importorskip("matplotlib.image").imread(path)
    assert image.shape[0] > 300 and image.shape[1] > 500
    assert 0.005 < np.mean(image[..., :3].min(axis=-1) < 0.9) < 0.9


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.kind)
def test_evaluation_figure(tmp_path, spec):
    figures.evaluation_figure([report(spec)], tmp_path / "evaluation.png")
    assert_is_drawn(tmp_path / "evaluation.png")


def test_evaluation_figure_of_several_tasks_and_many_samples(tmp_path):
    reports = [report(SPECS[0], CROWD + 1), *map(report, SPECS[1:])]
    figures.evaluation_figure(reports, tmp_path / "evaluation.png")
    assert_is_drawn(tmp_path / "evaluation.png")


def test_curves_are_sorted_into_panels():
    rows = [
        {"step": 1, "kind": "train", "loss": 2.0, "loss/toy:a": 3.0, "learning_rate": 0.1},
        {"step": 2, "kind": "validation", "score": 0.5, "x/toy:a/mae": 0.7, "loss": 9.0},
        {"step": 3, "kind": "train", "loss": 1.0},
        {"step": 4, "note": "rows without a kind are not drawn", "loss": 5.0},
    ]
    assert figures._curves(rows) == {
        "loss": {"": ([1, 3], [2.0, 1.0]), "toy:a": ([1], [3.0])},
        "validation score ↑": {"": ([2], [0.5])},
        "validation MAE ↓": {"x/toy:a": ([2], [0.7])},
    }


@pytest.mark.parametrize("metrics", [(), ("mae",), ("mae", "corr", "acc7")])
def test_training_figure(tmp_path, metrics):
    rows = [{"step": step, "kind": "train", "loss": [1 / (step + 1), 1.0]} for step in range(5)]
    rows += [{"step": 4, "kind": "validation", **{f"toy:a/{metric}": [0.5]}} for metric in metrics]
    figures.training_figure(rows, tmp_path / "training.png")
    assert_is_drawn(tmp_path / "training.png")


def test_conflict_is_a_table_of_tasks(tmp_path):
    rows = [{"step": 0, "kind": "train", "loss": [1.0, 2.0]}]
    tell = {"cosine/a:x|b:y": [0.2, 0.4], "cosine/a:x|c:z": [-0.1, -0.3], "cosine/b:y|c:z": [0, 0]}
    rows += [{"step": step, "kind": "tasks", **tell} for step in (1, 2)]
    assert figures._cosines(rows) == pytest.approx(
        {("a:x", "b:y"): 0.3, ("a:x", "c:z"): -0.2, ("b:y", "c:z"): 0.0}
    )
    figures.training_figure(rows, tmp_path / "training.png")
    assert_is_drawn(tmp_path / "training.png")


# --- architecture --------------------------------------------------------------------------------


def test_tasks_of_one_name_are_told_apart(small):
    """As of two data sets of sentiment."""
    score = small.tasks["talks:score"]
    both = dataclasses.replace(
        small, widths={**small.widths, "more/talks": {"text": 6}},
        tasks={**small.tasks, "more/talks:score": score},
    )  # fmt: skip
    axes = Figure().subplots()
    architecture.draw(axes, both, default_structure(both))
    said = {text.get_text() for text in axes.texts}
    assert {"talks\nscore", "more/talks\nscore", "mood", "tags"} <= said
    assert "score" not in said


# --- searches ------------------------------------------------------------------------------------


def test_a_search_on_a_task_of_several_words_is_drawn():
    task = TaskSpec("topic continuance", "regression", ("mae",), range=(-3, 3))
    network = HaemsaConfig({"talks": {"text": 3, "audio": 2}}, {"talks:topic continuance": task})
    table, whole = gene_table(network), default_genome(network, TrainConfig())
    less = table.from_json(table.to_json(whole) | {"links": ["text>audio"]})
    history = History(
        genomes=np.stack([[whole, whole], [less, whole], [less, less]]),
        fitness=np.array([[0.5, 0.6], [0.4, 0.7], [0.3, 0.8]]),
        costs=np.zeros((3, 2, 1)), sizes=np.ones((3, 2)),
        errors=np.zeros((3, 2)), parents=np.array([[-1, -1], [0, 1], [2, 2]]),
        diverged=np.zeros((3, 2), bool), best=np.array([0.5, 0.4, 0.3]),
    )  # fmt: skip
    names, shares = evolution.gene_frequencies(history, table)
    row = names.index(("modalities/talks:topic continuance", "text"))
    np.testing.assert_array_equal(shares[row], 1.0)
    np.testing.assert_array_equal(shares[names.index(("links", "audio>text"))], [1.0, 0.5, 0.0])
    result = SimpleNamespace(history=history, place=(2, 0))
    axes = Figure().subplots(1, 2)
    evolution._frequencies(axes[0], history, table)
    labels = [label.get_text() for label in axes[0].get_yticklabels()]
    assert labels[row] == "modalities topic continuance text"
    evolution._genealogy(axes[1], result, table)
    (listed,) = axes[1].texts
    assert listed.get_text().splitlines()[1:] == ["  2  −audio>text"]  # noqa: RUF001
