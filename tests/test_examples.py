"""Every example runs, and does what it says."""

import re
import subprocess

import pytest
from launchers import ROOT

EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="module")
def run(environment):
    def run(name, *arguments):
        command = [environment["PYTHON"], "-W", "error", str(EXAMPLES / name), *map(str, arguments)]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def numbers(pattern, text):
    return [float(x) for x in re.search(pattern, text).groups()]


def test_training_and_what_builds_on_it(run, tmp_path):
    said = run("train.py", tmp_path / "run")
    assert "MAE" in said and "ridge, all modalities" in said and "'tensor'" in said
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert "ridge, all modalities" in page
    assert page.count("data:image/png") == 3  # results, network, curves
    (share,) = numbers(r"is right in (\d+) %", run("frozen_encoder.py", tmp_path / "run"))
    assert share > 60  # a coin has half


def test_a_search_on_arrays_and_what_it_found_trained_anew(run, tmp_path):
    said = run("search.py", tmp_path / "run")
    errors = [float(x) for x in re.findall(r"'mae': \[([\d.]+)", said)]
    assert len(errors) == 2 and max(errors) < 0.56  # the labels' median has .566
    assert (tmp_path / "run" / "best.json").is_file()


def test_the_readme_shows_the_first_of_them():
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert code == (EXAMPLES / "train.py").read_text()


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("expert_bank.py", r"loss ([\d.]+) -> ([\d.]+)"),
        ("nnx_network.py", r"loss ([\d.]+) -> ([\d.]+)"),
        ("foreign_supernet.py", r"fitness ([\d.]+) -> ([\d.]+)"),
    ],
)
def test_within_other_networks(run, name, pattern):
    before, after = numbers(pattern, run(name))
    assert after < 0.8 * before
