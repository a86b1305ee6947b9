"""Launchers, started the way a user starts them."""

import csv
import json
import os
import re
import signal
import subprocess
from pathlib import Path

import jax
import numpy as np
import pytest
from launchers import ROOT, SPOKEN, stop_when
from networks import bare
from samples import BERT

import haemsa_datasets
from haemsa_jax.config import TrainConfig
from haemsa_jax.models.haemsa import HaemsaConfig
from haemsa_jax.reporting.page import page
from haemsa_jax.results import record
from haemsa_jax.training.engine.loop import make_train
from haemsa_jax.training.persistence import log
from haemsa_jax.training.persistence.checkpoint import Checkpoints
from haemsa_jax.training.persistence.trained import abstract_trees, load_trained

TASK = "cmu_mosi/standard:sentiment"


def train_flags(data_dir, run_dir, *more):
    return (
        *SPOKEN, f"--data_dir={data_dir}", f"--run_dir={run_dir}", "--epochs=2", "--batch_size=10",
        "--learning_rate=0.01", "--seeds=2", "--checkpoint_every=7", *more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(data_dir, tmp_path_factory):
    """Hardly a network, on a data set of which the best score is known."""
    data = {"planted": haemsa_datasets.load("planted", data_dir, ("train", "validation"))}
    widths, tasks = data["planted"].widths, data["planted"].tasks
    shape = HaemsaConfig(
        {"planted": widths}, {f"planted:{name}": task for name, task in tasks.items()}, width=8,
        depth=1, heads=2, link_width=4,
    )  # fmt: skip
    run_dir = tmp_path_factory.mktemp("run")
    config = TrainConfig(epochs=1, seeds=2, batch_size=128)
    make_train(bare(shape), config, data, jax.local_devices()[:1])(run_dir)
    return run_dir


@pytest.fixture(scope="module")
def whole(launch, spoken_dir, tmp_path_factory):
    """A run that nobody disturbed."""
    run_dir = tmp_path_factory.mktemp("whole")
    done = launch("train", *train_flags(spoken_dir, run_dir))
    assert done.returncode == 0, done.stderr
    return run_dir, done


def test_training_shows_progress(whole):
    run_dir, done = whole
    for seed in (0, 1):
        assert f"seed {seed}: best validation score" in done.stdout
    assert "score: 1 - MAE / MAE of the median of the training labels; higher is" in done.stdout
    assert len(log.read(run_dir)) == 24 + 2 * 2
    assert (run_dir / "training.png").read_bytes().startswith(b"\x89PNG")
    assert "24/24" in done.stderr
    assert "training 2 networks on 120 samples: 2 epochs, 24 steps of 10 samples" in done.stderr
    assert f"{TASK} is judged by 24 samples of validation, in 4 groups" in done.stderr
    # Nobody has looked at the test split.
    assert f"launch.evaluate --run_dir={run_dir}" in page(run_dir)
    assert "step/s" in done.stderr
    assert f"{TASK}/mae=" in done.stderr
    assert list((run_dir / "tensorboard").iterdir())


def test_evaluation_writes_table_picture_and_predictions(launch, trained, data_dir):
    run_dir = trained
    flags = (f"--run_dir={run_dir}", f"--data_dir={data_dir}", "--baselines", "--diagnose")
    done = launch("evaluate", *flags)
    assert done.returncode == 0, done.stderr
    for row in ("HAEMSA", "median", "ridge text", "ridge, all modalities", "best possible"):
        assert row in done.stdout
    results = json.loads((run_dir / "test.json").read_text())
    assert len(results["planted:sentiment"]["HAEMSA"]["mae"]) == 2
    told = (run_dir / "test.md").read_text()
    sentences = [
        line for line in done.stdout.splitlines() if line.startswith("planted:sentiment: ")
    ]
    assert "±" in told and len(sentences) == 1 and sentences[0] in told.splitlines()
    assert (run_dir / "test.png").read_bytes().startswith(b"\x89PNG")
    told = json.loads((run_dir / "test_diagnosis.json").read_text())
    # Of one expert of one modality there is nothing else to shut.
    (values,) = told["influence"]["planted:sentiment"].values()
    assert min(values) > 0 and len(values) == 2
    assert (run_dir / "test_diagnosis.png").exists()
    with (run_dir / "test_predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    mine = [row for row in rows if row["task"] == "planted:sentiment"]
    assert len(mine) == 800
    error = sum(abs(float(r["truth"]) - float(r["network 1"])) for r in mine) / 800
    assert error == pytest.approx(results["planted:sentiment"]["HAEMSA"]["mae"][1], abs=1e-4)
    # This network reads text alone.
    assert all(row["without audio"] == row["prediction"] for row in mine)
    assert any(row["without text"] != row["prediction"] for row in mine)
    assert (run_dir / "test_architecture.png").read_bytes().startswith(b"\x89PNG")
    done = launch("report", f"--run_dir={run_dir}")
    assert done.returncode == 0, done.stderr
    text = (run_dir / "report.html").read_text()
    for title in ("Results", "The network", "Largest errors", "Configuration"):
        assert f"<h2>{title}</h2>" in text
    assert text.count("data:image/png") == 3
    assert "A training on planted:sentiment, planted:agreement, 2 seeds." in text


def test_yardsticks_are_of_the_split_that_is_read(launch, trained, data_dir, tmp_path):
    flags = f"--run_dir={trained}", f"--data_dir={data_dir}", f"--out_dir={tmp_path}"
    beside = f"--beside=again={trained}"
    done = launch("evaluate", *flags, "--split=validation", "--baselines", beside)
    assert done.returncode == 0, done.stderr
    splits = haemsa_datasets.load("planted", data_dir, ("train", "validation")).splits
    median = np.median(splits["train"].labels["sentiment"])
    expected = np.abs(splits["validation"].labels["sentiment"] - median).mean()
    rows = json.loads((tmp_path / "validation.json").read_text())["planted:sentiment"]
    assert rows["median"]["mae"] == pytest.approx([expected], abs=1e-6)
    assert list(rows)[:2] == ["HAEMSA", "again"] and rows["HAEMSA"] == rows["again"]


@pytest.fixture
def clean_clone(tmp_path):
    """Surroundings in which the clone has no changes."""
    git = tmp_path / "bin" / "git"
    git.parent.mkdir()
    git.write_text(f'#!/bin/sh\ncase "$*" in *rev-parse*) echo {"0" * 40};; esac\n')
    git.chmod(0o755)
    return {"PATH": f"{git.parent}{os.pathsep}{os.environ['PATH']}"}


def test_words_for_a_network_of_features_are_refused_by_the_flag(launch, trained):
    done = launch("predict", f"--run_dir={trained}", "--text=so good")
    assert done.returncode == 2
    assert f"--text: the network of {trained} has no encoder and reads features" in done.stderr


def test_missing_modalities_are_the_same_for_every_model(
    launch, trained, data_dir, tmp_path, clean_clone
):
    done = launch(
        "evaluate", f"--run_dir={trained}", f"--data_dir={data_dir}", "--protocol=patterns",
        "--baselines", f"--beside=again={trained}", f"--out_dir={tmp_path}", "--record=lost",
        f"--results_dir={tmp_path}", **clean_clone,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "test_patterns.json").read_text())["planted:sentiment"]
    assert list(found) == ["HAEMSA", "again", "late fusion", "ridge all"]
    assert found["HAEMSA"] == found["again"]
    assert len(found["HAEMSA"]) == 7
    # This network reads text alone.
    assert found["HAEMSA"]["text"] == found["HAEMSA"]["text+audio+vision"]
    assert found["HAEMSA"]["audio"] != found["HAEMSA"]["text"]
    assert "average" in (tmp_path / "test_patterns.md").read_text()
    kept = record.read(tmp_path / "planted" / "lost.json")
    assert kept.rows["planted:sentiment audio"]["again"] == found["again"]["audio"]
    assert "--protocol=patterns" in kept.commands[-1]
    assert (tmp_path / "test_patterns.png").read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_compared_is_refused(launch, trained, whole, spoken_dir, tmp_path):
    apart = launch("evaluate", f"--run_dir={whole[0]},{trained}", f"--out_dir={tmp_path}")
    assert apart.returncode == 2
    assert f"{trained} cannot be measured together with {whole[0]}: tasks planted" in apart.stderr
    assert "there cmu_mosi/standard:sentiment; measure them one by one" in apart.stderr
    only = f"--run_dir={whole[0]}", f"--data_dir={spoken_dir}", "--protocol=frame"
    alone = launch("evaluate", *only)
    assert alone.returncode == 2
    assert "has one modality, text, of which nothing can be missing" in alone.stderr


def test_an_exported_run_has_a_card(launch, whole, tmp_path):
    flags = f"--run_dir={whole[0]}", f"--output={tmp_path}", "--tokens=text=5", "--platforms=cpu"
    done = launch("export", *flags)
    assert done.returncode == 0, done.stderr
    assert "reads text [5 tokens]; for cpu" in done.stdout
    card = (tmp_path / "MODEL_CARD.md").read_text()
    assert "python -m launch.train --tasks=cmu_mosi/standard" in card
    assert "Text encoder: " in card and "frozen" in card
    assert {path.name for path in tmp_path.iterdir()} == {
        "MODEL_CARD.md", "config.json", "model.stablehlo", "standalone.py", "weights.safetensors",
    }  # fmt: skip
    done = launch("export", *flags, "--tokens=text")
    assert done.returncode == 2
    assert "--tokens=text: expected MODALITY=number" in done.stderr


def test_words_of_a_file_are_predicted(launch, whole, tmp_path):
    rows = ["id,text", "a,the plot was good", "b,the plot was bad", "c,", "d,the plot was good"]
    (tmp_path / "in.csv").write_text("\n".join(rows))
    flags = f"--run_dir={whole[0]}", f"--input={tmp_path / 'in.csv'}"
    done = launch("predict", *flags, f"--output={tmp_path / 'said.csv'}")
    assert done.returncode == 1
    assert "in.csv, line 4: there is nothing to predict from" in done.stderr
    assert "3 rows; 1 left out" in done.stdout
    with (tmp_path / "said.csv").open() as file:
        said = {row["id"]: row for row in csv.DictReader(file)}
    assert list(said) == ["a", "b", "d"]
    assert said["a"]["sentiment"] == said["d"]["sentiment"] != said["b"]["sentiment"]
    assert float(said["a"]["sentiment: spread"]) > 0
    before = (tmp_path / "said.csv").read_bytes()
    bad = ['{"text": "cut \\ud83d"}', '{"text": "so", "speaker": "\\ud83d"}', "[" * 100_000]
    (tmp_path / "bad.jsonl").write_text("\n".join(bad))
    done = launch(
        "predict", f"--run_dir={whole[0]}", f"--input={tmp_path / 'bad.jsonl'}",
        f"--output={tmp_path / 'said.csv'}",
    )  # fmt: skip
    assert done.returncode == 2 and "of its 3 rows none can be predicted" in done.stderr
    assert all(f"bad.jsonl, line {number}: " in done.stderr for number in (1, 2, 3))
    assert (tmp_path / "said.csv").read_bytes() == before
    done = launch("predict", *flags, f"--output={tmp_path / 'in.csv'}")
    assert done.returncode == 2 and "is the --input, which would be lost" in done.stderr
    assert len((tmp_path / "in.csv").read_text().splitlines()) == 5
    done = launch("predict", *flags, f"--output={tmp_path / 'said.txt'}")
    assert done.returncode == 2
    assert "'.txt' is unknown; give .jsonl, .csv" in done.stderr


def test_a_run_killed_by_the_system_resumes_bit_for_bit(
    launch, whole, spoken_dir, tmp_path, environment
):
    """SIGKILL after step 17 of 24; checkpoints lie at 7 and 14."""
    flags = train_flags(spoken_dir, tmp_path)
    logged = tmp_path / "log.jsonl"
    stop_when(
        environment, "train", flags, signal.SIGKILL, -signal.SIGKILL,
        lambda: logged.exists() and logged.read_bytes().count(b"\n") >= 17,
    )  # fmt: skip
    done = launch("train", *flags)
    assert done.returncode == 0, done.stderr
    assert log.read(tmp_path) == log.read(whole[0])
    assert same_arrays(tmp_path, whole[0])


def test_a_stopped_run_saves_and_goes_on(launch, whole, spoken_dir, tmp_path, environment):
    """SIGTERM after a few steps: the state is saved, and the rest is as if nothing had been."""
    flags = train_flags(spoken_dir, tmp_path)
    said = stop_when(
        environment, "train", flags, signal.SIGTERM, 128 + signal.SIGTERM,
        lambda: (tmp_path / "log.jsonl").exists(),
    )  # fmt: skip
    rows = log.read(tmp_path)
    assert 0 < len(rows) < 28
    validated = any(row["kind"] == "validation" for row in rows)
    assert ("best validation score" in said, "not validated yet" in said) == (
        validated, not validated,
    )  # fmt: skip
    done = launch("train", *flags)
    assert done.returncode == 0, done.stderr
    assert log.read(tmp_path) == log.read(whole[0])
    assert same_arrays(tmp_path, whole[0])


def test_adapters_from_a_frozen_run_on_streamed_data(launch, whole, spoken_dir, tmp_path):
    flags = (f"--data_dir={spoken_dir}", f"--run_dir={tmp_path}", "--resident_mib=0")
    training = (
        *SPOKEN, *flags, "--text_mode=adapted", "--adapter_rank=2", "--text_precision=bfloat16",
        "--epochs=1", "--batch_size=24",
    )  # fmt: skip
    done = launch("train", *training, f"--init_from={whole[0]}")
    assert done.returncode == 0, done.stderr
    # The same run by another path, as from another directory.
    again = launch("train", *training, f"--init_from={os.path.relpath(whole[0], ROOT)}")
    assert again.returncode == 0, again.stderr
    taken, new = (line for line in done.stdout.splitlines() if line.startswith(("taken", "new:")))
    assert "stem_cmu_mosi-standard_text" in taken
    assert new == "new: encoder_text"
    text = load_trained(tmp_path).experiment.network.encoders["text"]
    assert (text.mode, text.rank, text.precision) == ("adapted", 2, "bfloat16")
    done = launch("evaluate", *flags, "--baselines")
    assert done.returncode == 0, done.stderr
    # Yardsticks read vectors of the words as ever, no numbers of tokens.
    plain = (f"--data_dir={spoken_dir}", f"--run_dir={whole[0]}", f"--out_dir={tmp_path / 'plain'}")
    done = launch("evaluate", *plain, "--baselines")
    assert done.returncode == 0, done.stderr
    mine, theirs = (
        json.loads((path / "test.json").read_text())[TASK]["ridge text"]
        for path in (tmp_path, tmp_path / "plain")
    )
    assert mine == theirs


def same_arrays(left: Path, right: Path) -> bool:
    states = []
    for directory in (left, right):
        experiment = load_trained(directory).experiment
        with Checkpoints(directory, "latest") as latest:
            states.append(latest.load(abstract_trees(experiment)[0]))
    return jax.tree.all(jax.tree.map(np.array_equal, *states))


REFUSED = [
    ("train", ["--tasks=planted:joy"], ["no task 'joy'", "planted:sentiment"]),
    ("train", ["--tasks=sims"], ["'sims' is unknown", "hazumi"]),
    ("train", ["--tasks=hazumi"], ["not prepared", "launch.prepare_data --dataset=hazumi"]),
    ("train", ["--tasks=planted", "--dropout=1.5"], ["dropout=1.5", "[0, 1)"]),
    ("train", ["--tasks=planted", "--past=many"], ["--past=many", "DATASET=number"]),
    ("train", ["--tasks=planted", "--task_weights=joy=2"], ["joy=2", "planted:sentiment"]),
    ("train", ["--tasks=planted", "--devices=99"], ["--devices=99", "finds 2"]),
    ("train", ["--tasks=planted", "--batch_size=13"], ["batch_size=13", "2 devices"]),
    ("train", ["--tasks=planted", "--run_dir=/proc/run"], ["/proc/run", "--run_dir"]),
    ("train", ["--tasks=planted", "--width=x"], ["--width=x"]),
    ("train", ["--genome=/nowhere.json"], ["cannot read the genome /nowhere.json"]),
    ("train", ["--weights=inherited", "--tasks=planted"], ["--weights=inherited", "--genome"]),
    ("train", [], ["--tasks is missing"]),
    ("evaluate", ["--run_dir=x", "--record=My run"], ["record 'My run'", "lower-case letters"]),
    ("train", ["--tasks=planted", "--text=/nowhere"], ["'/nowhere' is no folder", "minilm"]),
    ("train", ["--tasks=planted", f"--text={BERT}"], ["no transcripts in planted"]),
    ("train", ["--tasks=planted", "--text_mode=tuned"], ["--text_mode is about", "--text"]),
    ("train", ["--tasks=planted", "--past=8"], ["for dialogues", "none in planted"]),
    ("evolve", ["--tasks=planted", "--repeats=-1"], ["repeats=-1 must not be negative"]),
    ("evolve", ["--tasks=planted", "--algorithm=Magic"], ["'Magic'", "MixedGA"]),
    ("evolve", ["--tasks=planted", "--patterns=smell"], ["--patterns=smell", "leave_one_out"]),
    ("evolve", ["--tasks=planted", "--block=0"], ["--block=0"]),
    ("evolve", ["--tasks=planted", "--abreast=-1"], ["abreast=-1 must not be negative"]),
    ("evolve", ["--tasks=planted", "--encoder_rate=-1"], ["encoder_rate=-1.0"]),
    ("train", ["--tasks="], ["--tasks is missing"]),
    ("train", ["--tasks=planted", "--init_from=/nowhere"], ["/nowhere holds no trained network"]),
    ("train", ["--tasks=planted", "--task_weighting=no"], ["task_weighting='no'", "uncertainty"]),
    ("train", ["--tasks=planted", "--checkpoint_every=0"], ["--checkpoint_every=0"]),
    ("ablate", ["--genome=/nowhere.json", "--checkpoint_every=0"], ["--checkpoint_every=0"]),
    ("train", ["--tasks=planted", "--focal=-1"], ["focal=-1.0 must not be negative"]),
    ("train", ["--tasks=planted", "--modalities=smell"], ["--modalities=smell", "vision"]),
    ("train", ["--tasks=planted", "--moments=1"], ["moments=1.0", "sharing='split'", "imputed"]),
    ("train", ["--tasks=planted", "--sharing=half"], ["sharing='half' is unknown", "imputed"]),
    ("evaluate", ["--run_dir=/tmp", "--protocol=some"], ["--protocol=some", "patterns"]),
    ("evaluate", ["--run_dir=/a", "--protocol=frame", "--ensemble=2"], ["drop --protocol"]),
    ("evaluate", ["--run_dir="], ["--run_dir is empty"]),
    ("predict", ["--run_dir=/nowhere", "--input=a.csv", "--output=b.csv"], ["no trained network"]),
    ("ablate", ["--genome=/nowhere.json"], ["cannot read the genome /nowhere.json"]),
    ("evaluate", ["--run_dir=/tmp,/usr"], ["--out_dir is missing"]),
    ("evaluate", ["--run_dir=/lr=1,wd=0"], ["no /lr=1;", "--run_dir='\"/lr=1,wd=0\"'"]),
    ("evaluate", ['--run_dir="/lr=1,wd=0"'], ["/lr=1,wd=0 holds no trained network"]),
    ("ablate", ["--genome=/a=1,b.json"], ["no /a=1;", "--genome='\"/a=1,b.json\"'"]),
    ("evaluate", ["--run_dir=~nouser/x"], ["--run_dir=~nouser/x: there is no home", "whole path"]),
    ("evaluate", ["--run_dir=/nowhere"], ["/nowhere holds no trained network", "launch.train"]),
    ("evaluate", ["--run_dir=~/nowhere"], [f"{Path.home()}/nowhere holds no trained network"]),
    ("train", ["--tasks=planted", "--init_from=~/no"], [f"{Path.home()}/no holds no trained"]),
    ("evaluate", ["--run_dir=/tmp", "--split=train"], ["--split=train", "validation"]),
]


def test_a_cpu_is_split_into_the_devices_that_are_asked_for(launch, data_dir, tmp_path):
    flags = "--tasks=planted", f"--data_dir={data_dir}", f"--run_dir={tmp_path}"
    done = launch("train", *flags, "--devices=3", "--batch_size=13", XLA_FLAGS="")
    assert "batch_size=13 does not divide over 3 devices" in done.stderr


@pytest.mark.parametrize(("program", "flags", "words"), REFUSED)
def test_bad_flags_end_with_one_clear_line(launch, data_dir, tmp_path, program, flags, words):
    given = [*flags] if program == "predict" else [f"--data_dir={data_dir}", *flags]
    if not any(flag.startswith("--run_dir") for flag in flags):
        given.append(f"--run_dir={tmp_path}")
    done = launch(program, *given)
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], ["nothing to run", "--list"]),
        (["--only=nothing"], ["no experiment or group 'nothing'", "hazumi/main"]),
        (
            ["--only=hazumi/main", "--source_dir=/nowhere"],
            ["reads /nowhere/hazumi", "docs/data.md"],
        ),
        (["--list", "--experiments=none.toml"], ["cannot read the experiments in none.toml"]),
    ],
)
def test_experiments_that_cannot_be_run(launch, flags, words):
    done = launch("reproduce", *flags)
    assert done.returncode == 2
    assert all(word in done.stderr for word in words), done.stderr


def test_experiments_are_listed(launch):
    done = launch("reproduce", "--list", "--group=words")
    assert done.returncode == 0
    assert "cmu_mosi-standard/pooled" in done.stdout and "hazumi/main" not in done.stdout
    assert re.search(r"pooled +4 min +\d\.\d GiB +quick, words", done.stdout)


def test_another_configuration_is_refused(launch, whole, spoken_dir):
    done = launch("train", *train_flags(spoken_dir, whole[0], "--dropout=0.4"))
    assert done.returncode == 2
    assert "train.dropout: 0.2 there, 0.4 asked" in done.stderr


def test_what_a_run_begins_with_is_not_deleted(launch, whole, spoken_dir):
    flags = train_flags(spoken_dir, whole[0], f"--init_from={whole[0]}", "--overwrite")
    done = launch("train", *flags)
    assert done.returncode == 2
    assert f"holds {whole[0]}, which the run reads; choose another --run_dir" in done.stderr
    done = launch("train", *train_flags(spoken_dir, spoken_dir.parent, "--overwrite"))
    assert done.returncode == 2
    assert f"holds {spoken_dir}, which the run reads" in done.stderr


def test_a_full_disk_ends_with_a_clear_error(whole, spoken_dir, tmp_path, environment):
    """No file may grow over a few KiB, which is how a quota feels."""
    command = [environment["PYTHON"], "-m", "launch.train", *train_flags(spoken_dir, tmp_path)]
    limited = ["sh", "-c", 'ulimit -f 32 && exec "$@"', "sh", *command]
    # What was compiled before is read; nothing is added, which would meet the quota first.
    quiet = {**environment, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "9999"}
    done = subprocess.run(limited, cwd=ROOT, env=quiet, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    # Threads of the storage layer may have had their say; the last word is ours.
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"error: cannot write the checkpoint of step 7 to {tmp_path}")
    assert "File too large" in last
