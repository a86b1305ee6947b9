"""A user's MMSA pickle from its file to a table, with an encoder of the words trained along.

And that encoder in the next training, which reads what stands around the target.
"""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from launchers import ROOT
from samples import BERT
from test_datasets_mmsa import write_mmsa

from haemsa_jax.encoders.text import read_pretrained
from haemsa_jax.training.persistence.trained import load_trained

NAME = "cmu_mosi/mmsa_unaligned"

TRAINING = (
    f"--tasks={NAME}", "--text_mode=tuned", "--max_tokens=8", "--epochs=2", "--batch_size=4",
    "--width=8", "--depth=1", "--heads=2", "--link_width=4",
)  # fmt: skip


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
    done = launch("train", data, run, f"--text={encoder}", *TRAINING)
    assert done.returncode == 0, done.stderr
    return data, run


def test_three_modalities_from_pickle_to_table(launch, trained):
    data, run = trained
    run_dir = Path(run.partition("=")[2])
    network = load_trained(run_dir).experiment.network
    assert network.widths[NAME] == {"text": 1, "audio": 5, "vision": 20}
    spec = network.encoder_of("text")
    assert spec.mode == "tuned" and spec.datasets == (NAME,)
    done = launch("evaluate", data, run)
    assert done.returncode == 0, done.stderr
    results = json.loads((run_dir / "test.json").read_text())
    assert len(results[f"{NAME}:sentiment"]["HAEMSA"]["mae"]) == 1


def test_the_trained_encoder_serves_another_training(launch, trained, encoder, tmp_path):
    data, run = trained
    folder, next_run = tmp_path / "encoder", tmp_path / "next"
    done = launch("export_encoder", run, f"--output={folder}")
    assert done.returncode == 0, done.stderr
    exported = read_pretrained(folder)
    learnt = load_trained(Path(run.partition("=")[2])).params["encoder_text"]["words"][0]
    np.testing.assert_array_equal(exported.params["words"], learnt)
    assert np.abs(learnt - read_pretrained(encoder).params["words"]).max() > 0
    done = launch(
        "train", f"--tasks={NAME}", data, f"--run_dir={next_run}", f"--text={folder}",
        "--text_mode=pooled", "--max_tokens=8", "--past=1", "--future=1", "--epochs=1",
        "--batch_size=4", "--width=8", "--depth=1", "--heads=2", "--link_width=4",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    network = load_trained(next_run).experiment.network
    assert network.widths[NAME]["text"] == exported.config.width
    assert network.context_of(NAME) == (1, 1)
    done = launch("export_encoder", f"--run_dir={next_run}", f"--output={tmp_path / 'none'}")
    assert done.returncode == 2
    assert "the run trained no text encoder" in done.stderr and str(folder) in done.stderr
    done = launch("export_encoder", run, "--network=1", f"--output={tmp_path / 'none'}")
    assert done.returncode == 2
    assert "network 1 is asked for, but the run holds 0 to 0" in done.stderr


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


def test_an_encoder_that_moved(launch, trained, encoder, tmp_path):
    data, run = trained
    moved = tmp_path / "moved"
    here = Path(os.path.relpath(moved, ROOT))  # as launchers are started there
    Path(encoder).rename(moved)
    try:
        lost = launch("evaluate", *trained)
        evaluated = launch("evaluate", *trained, f"--encoder={here}")
        resumed = launch("train", data, run, f"--text={here}", *TRAINING)
        where = f"--encoder=text={here}"
        exported = launch("export_encoder", run, where, f"--output={tmp_path / 'out'}")
        (tmp_path / "in.jsonl").write_text('{"text": "good"}')
        files = f"--input={tmp_path / 'in.jsonl'}", f"--output={tmp_path / 'out.jsonl'}"
        predicted = launch("predict", run, where, *files)
    finally:
        moved.rename(encoder)
    assert lost.returncode == 2 and "name its folder by --encoder" in lost.stderr
    for done in (evaluated, resumed, exported, predicted):
        assert done.returncode == 0, done.stderr


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
