"""Recorded results: what a record says, whether it came back, and pages made from it."""

import dataclasses
import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from haemsa_jax.errors import InputError
from haemsa_jax.results import comparison, environment, experiments, pages, record
from launch.reproduce import make_pages

ROOT = Path(__file__).resolve().parents[1]
EXPERIMENTS, RESULTS = ROOT / "reproduce.toml", ROOT / "results"
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
ROWS = {"d:ui": {"HAEMSA": {"mae": [0.30, 0.32, 0.34], "corr": [0.8, 0.8, 0.8]},
                 "ridge": {"mae": [0.40], "corr": [0.7]}},
        "d:tc": {"HAEMSA": {"mae": [0.5, 0.5, 0.6]}, "ridge": {"mae": [0.55]}}}  # fmt: skip
MARKS = """# Page

<!-- results
columns: d:ui mae, d:ui corr, d:tc mae
HAEMSA = d/main | HAEMSA
ridge, all = d/main | ridge
-->
old
<!-- end of results -->
after
"""


@pytest.fixture
def made(monkeypatch):
    monkeypatch.setattr(environment, "commit", lambda: "0123456789" * 4)
    return record.make_record(
        "main", data="d", split="test", selected="validation", rows=ROWS, commands=["a", "b"],
        seconds=1.23, predictions={"d:ui": np.zeros((3, 4))},
    )  # fmt: skip


def test_what_is_kept_are_results():
    """Every file of the store is a record of this schema in its place, and somebody makes it."""
    made_by = experiments.read(EXPERIMENTS)
    names = {name for experiment in made_by.values() for name in experiment.recorded}
    for path in RESULTS.rglob("*.json"):
        kept = record.read(path)
        assert record.path_of(RESULTS, kept) == path
        assert f"{kept.data}/{kept.name}" in names
        assert kept.commands and kept.rows and len(kept.commit) == 40


def test_pages_say_what_is_kept():
    for page in PAGES:
        text = page.read_text("utf-8")
        assert pages.made(text, RESULTS, page.name) == text, (
            f"{page} differs from results/: run `python -m launch.reproduce --pages`"
        )


# Spreads, commits, fractions of two digits and per cents; in tables any fraction.
TYPED = re.compile(
    r"\d ± |\bat [0-9a-f]{7}\b|(?<![\w.])0?\.\d\d+\b(?!\.\d)|\d\.\d+ ?%|^\|.*(?<![\w.])\d*\.\d",
    re.MULTILINE,
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_nobody_types_a_figure(page):
    """They stand in tables made of records, in code, or are published and say where."""
    text = re.sub(r"```.*?```", "", pages.BLOCK.sub("", page.read_text("utf-8")), flags=re.DOTALL)
    for paragraph in re.sub(r"`[^`]*`", "", text).split("\n\n"):
        assert paragraph.startswith("Published") or not TYPED.search(paragraph), paragraph


def test_commands_below_tables_run():
    known = experiments.read(EXPERIMENTS)
    for page in PAGES:
        for names in re.findall(r"launch.reproduce --only=([^` ]+)", page.read_text("utf-8")):
            assert experiments.chosen(known, [], names.split(","))


def test_a_record_comes_back(made, tmp_path):
    path = record.write(tmp_path, made)
    assert path == tmp_path / "d" / "main.json"
    again = record.read(path)
    assert record.write(tmp_path, again).read_bytes() == path.read_bytes()
    assert again.rows == ROWS and again.packages["jax"] and again.peak_mib > 10
    values = json.loads(path.read_text())
    for wrong in ({**values, "format": 0}, {**values, "more": 1}, [], {"format": 1}):
        path.write_text(json.dumps(wrong))
        with pytest.raises(InputError, match="record it again"):
            record.read(path)
    with pytest.raises(InputError, match="a name has lower-case letters"):
        record.check_name("../x")


def test_a_tree_with_changes_is_refused(tmp_path):
    def git(*words):
        who = ("-c", "user.name=n", "-c", "user.email=e@e")
        subprocess.run(["git", "-C", tmp_path, *who, *words], check=True, capture_output=True)

    with pytest.raises(InputError, match="is no clone of the repository"):
        environment.commit(tmp_path)
    git("init")
    (tmp_path / "code.py").write_text("1")
    git("add", ".")
    git("commit", "-m", "first")
    assert len(environment.commit(tmp_path)) == 40
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "r.json").write_text("{}")
    environment.commit(tmp_path)
    (tmp_path / "more.py").write_text("2")
    with pytest.raises(InputError, match=r"has changes \(\?\? more.py\)"):
        environment.commit(tmp_path)


def test_commands_of_everything_that_led_there(tmp_path):
    encoder, search, last = (tmp_path / name for name in ("encoder", "search", "last"))
    for directory, command in (
        (encoder, f"python -m launch.train --run_dir={encoder}"),
        (search, f"python -m launch.evolve --encoder={encoder} --run_dir={search}"),
        (last, f"python -m launch.train --genome={search}/best.json --run_dir={last}"),
    ):
        directory.mkdir()
        (directory / "commands.txt").write_text(f"{command}\n")
    chain = record.commands_of([last, encoder])
    assert [command.rpartition("/")[2] for command in chain] == ["encoder", "search", "last"]


def test_whether_a_result_came_back(made):
    def verdicts(change, allowed=0.0):
        rows = json.loads(json.dumps(ROWS))
        change(rows)
        new = dataclasses.replace(made, rows=rows)
        return [verdict for *_, verdict in comparison.compare(made, new, allowed)]

    same = [comparison.SAME] * 6
    assert verdicts(lambda rows: None) == same
    near, far, lost = [*same], [*same], [*same]
    near[0], far[3], lost[2:4] = comparison.WITHIN, comparison.AWAY, [comparison.ABSENT] * 2
    assert verdicts(lambda rows: rows["d:ui"]["HAEMSA"].update(mae=[0.33])) == near
    assert verdicts(lambda rows: rows["d:ui"]["ridge"].update(corr=[0.701])) == far
    far[3] = comparison.WITHIN
    assert verdicts(lambda rows: rows["d:ui"]["ridge"].update(corr=[0.701]), 0.002) == far
    assert verdicts(lambda rows: rows["d:ui"].pop("ridge")) == lost


def test_pages_are_made_from_records(made, tmp_path):
    (tmp_path / "docs").mkdir()
    page = tmp_path / "README.md"
    page.write_text(MARKS)
    record.write(tmp_path / "results", made)
    assert make_pages(tmp_path, tmp_path / "results") == [page]
    text = page.read_text()
    assert "| HAEMSA | **0.320 ± 0.020** | **0.800 ± 0.000** | **0.533 ± 0.058** |" in text
    assert "old" not in text and text.endswith("<!-- end of results -->\nafter\n")
    assert "<sub>0123456, 20" in text and "launch.reproduce --only=d/main`</sub>" in text
    assert make_pages(tmp_path, tmp_path / "results") == []
    assert pages.made(text.replace("0.320", "0.310"), tmp_path / "results", "p") == text
    for wrong, words in (
        (("d/main", "d/other"), "cannot read"),
        (("| ridge", "| rigde"), "no row"),
    ):
        with pytest.raises(InputError, match=f"p: marks .*{words}"):
            pages.made(MARKS.replace(*wrong), tmp_path / "results", "p")


def test_a_page_may_show_paired_differences(made, tmp_path):
    rows = {"d:t": {"a": {"mae": [0.3, 0.4]}, "b": {"mae": [0.35, 0.45]}}}
    record.write(tmp_path, dataclasses.replace(made, rows=rows))
    marks = "<!-- results\ndifferences: d:t mae\na = d/main | a\nb = d/main | b\n-->\n"
    text = pages.made(f"{marks}<!-- end of results -->", tmp_path, "p")
    assert "| a | 0.350 ± 0.071 |" in text
    assert "| b | +0.050 [+0.050, +0.050] |" in text


def test_a_row_without_a_label_has_its_own(made, tmp_path):
    rows = {"d:t": {"a": {"mae": [0.3, 0.4]}, "ridge all": {"mae": [0.35]}}}
    record.write(tmp_path, dataclasses.replace(made, rows=rows))
    marks = "<!-- results\ncolumns: d:t mae\nd/main | a\nd/main | ridge all\n-->\n"
    text = pages.made(f"{marks}<!-- end of results -->", tmp_path, "p")
    assert "| a | **0.350 ± 0.071** |" in text and "| ridge, all modalities | **0.350** |" in text


LIST = """
["a/one"]
groups = ["quick"]
commands = ["step --to={work}/one", "step --to={work}/two"]
minutes = 1
["b/two"]
groups = ["slow"]
commands = ["step --to={work}/three"]
minutes = 2
needs = ["a/one"]
inputs = ["raw"]
"""


def test_experiments(tmp_path, monkeypatch):
    (tmp_path / "step.py").write_text(
        "import sys, pathlib\np = pathlib.Path(sys.argv[1].partition('=')[2])\n"
        "sys.exit(3) if (p.parent / 'fail').exists() and p.name == 'two' else p.touch()\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "list.toml").write_text(LIST)
    known = experiments.read(tmp_path / "list.toml")
    assert [x.name for x in experiments.chosen(known, [], ["b/two"])] == ["a/one", "b/two"]
    assert [x.name for x in experiments.chosen(known, ["quick"], [])] == ["a/one"]
    assert len(experiments.chosen(known, ["all"], [])) == 2
    leaves = dataclasses.replace(known["a/one"], records=["a/many", "a/few"])
    assert experiments.chosen({"a/one": leaves}, [], ["a/few"]) == [leaves]
    with pytest.raises(InputError, match="no experiment or group 'fast'; choose from all, quick"):
        experiments.chosen(known, ["fast"], [])
    assert experiments.missing(known["b/two"], tmp_path) == [tmp_path / "raw"]
    places, ran = {"work": tmp_path / "work"}, []
    places["work"].mkdir()
    (places["work"] / "fail").touch()
    with pytest.raises(InputError, match="ended with status 3; the same command again goes on"):
        experiments.run(known["a/one"], places, "c", ran.append)
    (places["work"] / "fail").unlink()
    experiments.run(known["a/one"], places, "c", ran.append)
    assert [command[-3:] for command in ran] == ["one", "two", "two"]
    experiments.run(known["a/one"], places, "c", ran.append)
    assert len(ran) == 3  # all is done
    experiments.run(known["a/one"], places, "another commit", ran.append)
    assert len(ran) == 5
    (tmp_path / "list.toml").write_text(LIST.replace('needs = ["a/one"]', 'needs = ["a/none"]'))
    with pytest.raises(InputError, match="b/two needs a/none, which is not there"):
        experiments.read(tmp_path / "list.toml")
    (tmp_path / "list.toml").write_text("[[many]]\nminutes = 1\n")
    with pytest.raises(InputError, match="many is no table; an experiment begins with"):
        experiments.read(tmp_path / "list.toml")


def test_who_stops_experiments_is_told_how_they_go_on(tmp_path, monkeypatch, capsys):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(experiments.subprocess, "run", interrupted)
    cell = experiments.Experiment("cell", (), ("launch.train",), 0.0)
    with pytest.raises(KeyboardInterrupt):
        experiments.run(cell, {"work": tmp_path}, "c")
    told = capsys.readouterr().err
    assert told == "\ncell: stopped; the same command again goes on from here\n"


def test_pictures_are_kept(tmp_path):
    drawn, page = tmp_path / "work" / "a.png", tmp_path / "docs" / "a.png"
    for path, content in ((drawn, b"new"), (page, b"old")):
        path.parent.mkdir()
        path.write_bytes(content)
    cell = experiments.Experiment("cell", (), (), 0.0, pictures={"docs/a.png": "{work}/a.png"})
    places = {"work": tmp_path / "work"}
    assert experiments.keep_pictures(cell, places, tmp_path, anew=False) == []
    assert page.read_bytes() == b"old"
    assert experiments.keep_pictures(cell, places, tmp_path, anew=True) == [page]
    assert page.read_bytes() == b"new"
    page.unlink()
    assert experiments.keep_pictures(cell, places, tmp_path, anew=False) == [page]


def test_every_picture_is_drawn_by_an_experiment():
    listed = experiments.read(EXPERIMENTS).values()
    drawn = {name for experiment in listed for name in experiment.pictures}
    assert drawn == {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.png")}


def test_the_list_names_launchers_that_are_there():
    for experiment in experiments.read(EXPERIMENTS).values():
        for command in experiment.commands:
            path = ROOT / command.split()[0].replace(".", "/")
            files = path.with_suffix(".py"), path / "__main__.py"
            assert any(file.is_file() for file in files), f"{experiment.name}: {command}"
