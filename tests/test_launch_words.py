"""A user's MMSA pickle from its file to a table, with an encoder of the words trained along."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import BERT
from test_datasets_mmsa import write_mmsa

from haemsa_jax.training.checkpoint import load_trained

NAME = "cmu_mosi/mmsa_unaligned"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return shutil.copytree(BERT, tmp_path_factory.mktemp("encoder") / "bert")


@pytest.fixture(scope="module")
def trained(launch, encoder, tmp_path_factory):
    directory = tmp_path_factory.mktemp("words")
    write_mmsa(directory, front=False, aligned=False)
    data = f"--data_dir={directory / 'data'}"
    done = launch("prepare_data", f"--dataset={NAME}", f"--raw_dir={directory / 'raw'}", data)
    assert done.returncode == 0, done.stderr
    assert "transcripts" in done.stdout
    run = f"--run_dir={directory / 'run'}"
    done = launch(
        "train", f"--tasks={NAME}", data, run, f"--text={encoder}", "--text_mode=tuned",
        "--max_tokens=8", "--epochs=2", "--batch_size=4", "--width=8", "--depth=1", "--heads=2",
        "--link_width=4",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return data, run


def test_three_modalities_from_pickle_to_table(launch, trained):
    data, run = trained
    run_dir = Path(run.partition("=")[2])
    network = load_trained(run_dir).experiment.network
    assert network.widths[NAME] == {"text": 1, "audio": 5, "vision": 20}
    assert network.text.mode == "tuned" and network.text.datasets == (NAME,)
    done = launch("evaluate", data, run)
    assert done.returncode == 0, done.stderr
    results = json.loads((run_dir / "test.json").read_text())
    assert len(results[f"{NAME}:sentiment"]["HAEMSA"]["mae"]) == 1


def test_an_encoder_that_changed_is_refused(launch, trained, encoder):
    path = encoder / "config.json"
    said = path.read_text()
    path.write_text(json.dumps({**json.loads(said), "layer_norm_eps": 1e-3}))
    try:
        done = launch("evaluate", *trained)
    finally:
        path.write_text(said)
    assert done.returncode == 2
    assert "is another than the network was trained with" in done.stderr


def test_a_population_has_no_encoder_each(launch, trained, encoder, tmp_path):
    flags = (
        trained[0],
        f"--run_dir={tmp_path}",
        f"--text={encoder}",
        "--text_mode=tuned",
        "--max_tokens=8",
    )
    done = launch("evolve", f"--tasks={NAME}", *flags)
    assert done.returncode == 2
    assert "--text_mode=tuned" in done.stderr
