"""Comparing models: plans, ranks, and the launcher from a plan to its table."""

import json
import os
import re

import pytest

from haemsa_jax.errors import InputError
from haemsa_jax.reporting import ranks, tables
from haemsa_jax.results import experiments, plan

TEXT = """
seeds = 2
network = "--width=8"
train = "--epochs=2"
[data]
first = "--tasks=planted"
[models]
recurrent = "--dropout=0.1"
small = "--model=late_fusion --layers=1"
"""


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "plan.toml"
        path.write_text(text)
        return path

    return write


def test_every_model_is_a_row_of_every_data(written):
    cells = plan.cells(plan.read(written(TEXT)), "launch")
    assert {data: list(rows) for data, rows in cells.items()} == {"first": ["recurrent", "small"]}
    (command,) = cells["first"]["small"].commands
    assert command.split(" ") == [
        "launch.train", "--tasks=planted", "--width=8", "--model=late_fusion", "--layers=1",
        "--epochs=2", "--seeds=2", "--data_dir={data}", "--run_dir={work}/first/small",
    ]  # fmt: skip


def test_with_a_search_a_model_has_a_second_row_trained_anew(written):
    cells = plan.cells(plan.read(written('search = "--steps_total=900"' + TEXT)), "launch")
    assert list(cells["first"]) == ["recurrent", "recurrent-searched", "small", "small-searched"]
    search, again = cells["first"]["recurrent-searched"].commands
    assert "launch.evolve" in search and "--steps_total=900" in search and "  " not in search
    assert "--epochs" not in search and "--noyardstick" in search
    assert "--genome={work}/first/recurrent-searched.search/best.json" in again
    assert "--epochs=2" in again and "--seeds=2" in again


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seeds = [", "cannot read the plan"),
        ("seed = 3", "'seed' is no field of a plan; it has data, models, seeds"),
        ("seeds = '3'", "seeds must be a int, not '3'"),
        ("seeds = 0" + TEXT.replace("seeds = 2", ""), "seeds = 0 must be at least 1"),
        ("[data]\nx = '--tasks=planted'", "[models] is missing or empty"),
        ("[data]\n'a/b' = ''\n[models]\nx = ''", "[data] 'a/b' must be NAME = 'flags'"),
        ("[data]\na = 3\n[models]\nx = ''", "[data] 'a' must be NAME = 'flags'"),
        (TEXT + """x = "--rank='3" """, '[models] x = "--rank=\'3": No closing quotation'),
        (TEXT.replace("=2", " '2"), 'train = "--epochs \'2": No closing quotation'),
        (TEXT.replace("model=l", "model l"), "'late_fusion' is no flag; write --flag=value"),
        ("x = " + "[" * 20_000, "cannot read the plan"),
        ("search = ''" + TEXT + "small-searched = ''", "is where the search of small goes"),
    ],
)
def test_a_plan_that_is_not_understood(written, text, words):
    with pytest.raises(InputError) as error:
        plan.read(written(text))
    assert words in str(error.value)


def test_a_plan_that_never_ends(tmp_path):
    os.mkfifo(tmp_path / "plan.toml")
    with pytest.raises(InputError, match="is not a regular file"):
        plan.read(tmp_path / "plan.toml")


@pytest.mark.parametrize(
    "kept",
    ["[]", "3", '{"commit": "c"}', '{"commit": "c", "seconds": 3}',
     '{"commit": "c", "seconds": ["a"]}', '{"commit": "c", "seconds": [NaN]}', "[" * 20_000],
)  # fmt: skip
def test_damaged_notes_of_what_is_done_count_for_nothing(tmp_path, kept):
    (tmp_path / "cell").mkdir()
    (tmp_path / "cell" / experiments.DONE).write_text(kept)
    cell = experiments.Experiment("cell", (), (), 0.0)
    assert experiments.run(cell, {"work": tmp_path}, "c") == 0


def results(**rows):
    """Errors of four tasks by row, two seeds each, 0.1 around them."""
    return {
        f"task {place}": {
            name: {"mae": [values[place] - 0.1, values[place] + 0.1]}
            for name, values in rows.items()
        }
        for place in range(4)
    }


def test_ranks_of_an_example_worked_by_hand():
    of = ranks.ranks(results(a=[1, 1, 1, 2], b=[2, 2, 2, 1], c=[3, 3, 3, 3]))
    assert of.mean == {"a": 1.25, "b": 1.75, "c": 3.0} and of.tasks == 4
    # Friedman: 12 N / (k (k + 1)) (sum of squared mean ranks - k (k + 1)^2 / 4) = 6.5; p from
    # chi-squared of two degrees. Nemenyi: 2.343 sqrt(3 * 4 / (6 * 4)), Demšar's table 5.
    assert of.p == pytest.approx(0.0388, abs=1e-4)
    assert of.distance == pytest.approx(2.343 * 0.5**0.5, abs=1e-3)


def test_ties_share_ranks_and_yardsticks_have_none():
    rows = results(a=[1, 1, 1, 1], b=[1, 1, 1, 1], c=[2, 2, 2, 2], median=[0, 0, 0, 0])
    assert ranks.ranks(rows).mean == {"a": 1.5, "b": 1.5, "c": 3.0}


def test_higher_is_better_where_the_metric_says_so():
    rows = {"t": {"a": {"corr": [0.9]}, "b": {"corr": [0.8]}}}
    of = ranks.ranks(rows)
    assert of.mean == {"a": 1.0, "b": 2.0} and of.distance is None


def test_tables_have_differences_to_the_best_row_and_costs(tmp_path):
    rows = results(a=[1, 1, 1, 2], b=[2, 2, 2, 1], c=[3, 3, 3, 3])
    costs = {"task 0": {"a": {"parameters": 1234.0}}}
    of = ranks.ranks(rows)
    first, *_, last = ranks.tables_of(rows, of, costs).tables
    assert first.rows[1][2] == "+1.000 [+1.000, +1.000]" and first.rows[0][2] == ""
    assert first.rows[0][-1] == "1,234" and first.rows[1][-1] == tables.MISSING
    assert [row[0] for row in last.rows] == ["a", "b", "c"]
    ranks.figure(of, tmp_path / "ranks.png")
    assert (tmp_path / "ranks.png").stat().st_size > 5000


def test_the_best_is_that_of_all_rows_and_differences_are_to_the_best_network():
    rows = {"t": {"tfn": {"mae": [1.0, 1.1]}, "small": {"mae": [1.2, 1.3]}}}
    rows["t"] |= {"late_fusion-searched": {"mae": [1.4, 1.5]}, "ridge text": {"mae": [0.1]}}
    made = ranks.tables_of(rows, ranks.ranks(rows), {})
    (table,) = made.tables  # of one task there are no ranks
    assert [row[0] for row in table.rows] == [
        "tfn network (2 seeds)", "small (2 seeds)", "late fusion network, searched (2 seeds)",
        "ridge text",
    ]  # fmt: skip
    assert table.best == {(3, 1)} and table.header[2] == "MAE minus best network's"
    assert [row[2] for row in table.rows] == [
        "", "+0.200 [+0.200, +0.200]", "+0.400 [+0.400, +0.400]", "",
    ]  # fmt: skip
    assert "to the best network of a task" in made.note


@pytest.mark.parametrize(
    ("places", "distance", "joined"),
    [
        ([1.0, 1.5, 3.0], 1.0, [(1.0, 1.5)]),
        ([1.0, 2.0, 3.0], 1.0, [(1.0, 2.0), (2.0, 3.0)]),
        ([1.0, 2.0, 3.0], 2.0, [(1.0, 3.0)]),
        ([1.0, 3.0], None, []),
    ],
)
def test_bars_join_what_is_not_told_apart(places, distance, joined):
    assert ranks._alike(places, distance) == joined


def test_a_comparison_from_a_plan_to_its_table(launch, data_dir, written, tmp_path):
    plan_of = written(TEXT.replace("epochs=2", "epochs=2 --train_missing=utterance:.1"))
    flags = (f"--plan={plan_of}", f"--data_dir={data_dir}", f"--run_dir={tmp_path / 'out'}")
    done = launch("compare", *flags, "--split=validation", "--baselines", "--protocol=patterns")
    assert done.returncode == 0, done.stderr
    kept = json.loads((tmp_path / "out" / "compare.json").read_text())
    rows = kept["results"]["first/planted:sentiment"]
    assert {"recurrent", "small", "ridge all"} <= {*rows}
    assert len(rows["small"]["mae"]) == 2
    assert kept["costs"]["first/planted:sentiment"]["recurrent"]["parameters"] > 100
    assert (tmp_path / "out" / "first" / "validation_patterns.json").is_file()
    page = (tmp_path / "out" / "compare.md").read_text()
    assert "mean rank" in page and (tmp_path / "out" / "compare.png").is_file()
    assert "(first/validation_patterns.md)" in page
    assert "first, validation split, protocol patterns, masks of seed 0" in done.stdout
    assert f"{tmp_path}/out/first/validation_patterns.json, .md and .png" in done.stdout
    lost = (
        "first: Training splits had lost for good (train_missing): recurrent network utterance:.1"
    )
    verdict = re.compile("first/planted:sentiment: ridge.*, which is no network, is ")
    for shown in (page, done.stdout):
        assert lost in shown and verdict.search(shown)
    assert "recurrent network (2 seeds)" in page and "text+audio" in done.stdout
    again = launch("compare", *flags, "--split=validation")
    assert again.returncode == 0 and "launch.train" not in again.stdout + again.stderr
