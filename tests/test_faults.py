"""A few dozen inputs of the campaign `benchmarks.faults`, always the same."""

import numpy as np
import pytest

import haemsa_datasets
from benchmarks.faults import checkpoints, inputs, judging, programs, readers, smallest
from haemsa_jax.inference import Predictor
from haemsa_jax.reporting import tables

# A table, an archive, pickles, HDF5 and a packed folder.
NAMES = "iemocap/utterances", "cmu_mosi/misa", "cmu_mosi/contextual", "hazumi"


def test_a_campaign_becomes_a_table():
    one = {**judging.Tally("raw files", tried=2000, refused=2000).to_json(), "seed": 0}
    skipped = {**judging.Tally("full disk", skipped="no root").to_json(), "seed": 0}
    rows = judging.as_results([{**one, "tried": 1}, one, {**one, "seed": 1, "lost": 3}, skipped])
    assert rows["faults"].keys() == {"raw files"}
    columns = [("faults", name) for name in ("tried", "done", "lost")]
    table = tables.of_columns(columns, {"files": {"faults": rows["faults"]["raw files"]}})
    assert [*table.header] == ["", "tried", "done", "lost"] and not table.best
    assert table.rows == [["files", "4000", "0", "3"]]


@pytest.fixture(scope="module")
def data():
    return smallest.dataset()


@pytest.fixture(scope="module")
def trained(data):
    return smallest.trained(data)


@pytest.fixture(scope="module")
def run(trained, data, tmp_path_factory):
    directory = tmp_path_factory.mktemp("run")
    smallest.write_run(directory, trained, data)
    return directory


def check(*tallies):
    for tally in tallies:
        assert tally.tried and tally.refused and not tally.faults, tally


def test_two_preparations_are_the_same_result(launch, tmp_path):
    """Also in two processes, whose records have their fields in another order."""
    programs.prepare(tmp_path)
    one, two = tmp_path / "one", tmp_path / "two"
    haemsa_datasets.prepare(programs.DATA, tmp_path / "words", one)
    program = programs.programs(tmp_path)["prepare_data"]
    assert launch("prepare_data", *program.flags, f"--data_dir={two}").returncode == 0
    assert program.result(one) == program.result(two)
    assert len(program.result(one)["words"]["train"]) == 60


def test_raw_and_prepared_files(tmp_path):
    check(*readers.run(25, np.random.default_rng(0), tmp_path, NAMES))


def test_what_launchers_read(trained, run, tmp_path):
    rng = np.random.default_rng(1)
    check(
        inputs.predicted(12, rng, tmp_path, Predictor(trained)),
        inputs.reported(12, rng, tmp_path, run),
        inputs.configured(30, rng, tmp_path, run, trained.experiment),
    )


def test_checkpoints(run, tmp_path):
    check(checkpoints.run(8, np.random.default_rng(2), tmp_path, run))
