"""What a checkpoint knows: versions, format and the content of the data."""

import dataclasses
import re
import shutil
import subprocess
import threading

import flax
import jax
import numpy as np
import pytest

from haemsa_jax import TrainConfig, __version__, load_trained, make_train
from haemsa_jax.data.fingerprint import fingerprint
from haemsa_jax.errors import InputError
from haemsa_jax.training.engine import budget
from haemsa_jax.training.persistence import checkpoint, log, versions
from haemsa_jax.training.persistence.checkpoint import Checkpoints

CONFIG = TrainConfig(seeds=2, epochs=2, batch_size=16, learning_rate=1e-2)
ONE = jax.local_devices()[:1]


@pytest.fixture(scope="module")
def train(lone, solo):
    return make_train(lone, CONFIG, {"talks": solo}, ONE)


@pytest.fixture(scope="module")
def run(train, tmp_path_factory):
    directory = tmp_path_factory.mktemp("run")
    rows = []
    return directory, train(directory, observe=rows.append), rows


def test_training_in_memory_is_training_in_a_directory(train, run, tmp_path, monkeypatch):
    directory, trained, rows = run
    monkeypatch.chdir(tmp_path)
    seen = []
    here = train(observe=seen.append)
    assert not list(tmp_path.iterdir())
    # What is planned comes first, and is not kept.
    assert seen[0]["kind"] == "plan" and seen[0]["total"] == trained.progress["total"]
    assert seen == rows and seen[1:] == log.read(directory)
    assert here.progress == trained.progress
    kept = load_trained(directory)
    for one in (here, trained):
        assert one.experiment == kept.experiment
        for field in ("params", "constants", "structures"):
            jax.tree.map(
                np.testing.assert_array_equal, getattr(one, field), getattr(kept, field)
            )  # fmt: skip
    assert all(isinstance(x, np.ndarray) for x in jax.tree.leaves(here.params))


def test_a_damaged_state_falls_back_and_ends_the_same(train, run, tmp_path):
    shutil.copytree(run[0], tmp_path / "run")
    *_, newest = sorted((tmp_path / "run" / "latest").iterdir(), key=lambda path: int(path.name))
    (newest / "state" / "manifest.ocdbt").write_bytes(b"")
    with pytest.warns(UserWarning, match=rf"^{newest}/state/manifest.ocdbt .* going on from step"):
        again = train(tmp_path / "run")
    assert again.progress == run[1].progress
    assert log.read(tmp_path / "run") == log.read(run[0])
    jax.tree.map(np.testing.assert_array_equal, again.params, run[1].params)


def test_a_state_without_its_selected_networks_is_refused(train, run, tmp_path):
    shutil.copytree(run[0], tmp_path / "run")
    best = tmp_path / "run" / "best"
    (file,) = best.glob(f"{max(run[1].progress['best_step'])}/_CHECKPOINT_METADATA")
    file.write_text("{}")
    for use in (train, load_trained):
        with pytest.raises(InputError, match=rf"^{file} has other bytes .* begin anew with"):
            use(tmp_path / "run")
    shutil.rmtree(best)
    with pytest.raises(InputError, match=rf"^{best} lacks what was selected at step \d+, from"):
        train(tmp_path / "run")


def test_a_directory_has_one_run_at_a_time(train, tmp_path):
    """The second is refused before anything of the first is touched."""
    refused = []

    def second():
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
        try:
            train(tmp_path)
        except InputError as error:
            refused.append(str(error))
        assert {path: path.stat().st_mtime_ns for path in before} == before

    def stop():
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
        return True

    train(tmp_path, stop=stop)
    assert len(refused) == 1 and refused[0].startswith(f"{tmp_path} is in use by process")


def test_it_says_who_wrote_it(run, solo):
    for kind in ("latest", "best"):
        with Checkpoints(run[0], kind) as checkpoints:
            metadata = checkpoints.metadata()
        assert metadata["format"] == versions.FORMAT
        assert metadata["versions"] == versions.versions()
        assert metadata["versions"] == {
            "haemsa_jax": __version__, "jax": jax.__version__, "flax": flax.__version__,
            **({"commit": versions.commit()} if versions.commit() else {}),
        }  # fmt: skip
        splits = {name: solo.splits[name] for name in ("train", "validation")}
        assert metadata["experiment"]["data"]["talks"]["fingerprint"] == fingerprint(splits)


@pytest.mark.skipif(shutil.which("git") is None, reason="no git here")
def test_a_clone_says_its_commit(tmp_path, monkeypatch):
    assert not versions.commit(tmp_path)
    who = "-c", "user.name=a", "-c", "user.email=a@b"
    for words in (("init", "-q"), (*who, "commit", "-q", "--allow-empty", "-m", "first")):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    (folder := tmp_path / "installed").mkdir()
    assert not versions.commit(folder)  # within somebody's repository, of which it is no part
    versions.commit.cache_clear()
    assert re.fullmatch(r"[0-9a-f]{7,}", versions.commit(tmp_path))
    monkeypatch.setenv("PATH", "")
    versions.commit.cache_clear()
    assert not versions.commit(tmp_path)
    versions.commit.cache_clear()


@pytest.mark.parametrize("written", [{"versions": {"haemsa_jax": "0.9.7"}, "format": 9}, {}])
def test_another_format_is_refused(train, run, tmp_path, monkeypatch, written):
    """Both where it is read and where a training would go on from it."""
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "FORMAT", written.get("format", 1))
        patch.setattr(checkpoint, "versions", lambda: written.get("versions", {}))
        patch.setattr(checkpoint, "check_format", lambda *_: None)
        train(tmp_path)
    by = written.get("versions", {}).get("haemsa_jax", "0.1.0 or older")
    words = re.escape(f"format {written.get('format', 1)}, written by haemsa_jax {by}; ")
    words += f"haemsa_jax {__version__} reads format {versions.FORMAT}: train again"
    for use in (load_trained, train):
        with pytest.raises(InputError, match=words):
            use(tmp_path)


def test_other_data_do_not_resume(lone, solo, run):
    first = solo.splits["train"]
    features = {"text": first.features["text"] + np.float32(1e-3)}
    splits = {**solo.splits, "train": dataclasses.replace(first, features=features)}
    other = dataclasses.replace(solo, splits=splits)
    with pytest.raises(InputError, match=r"data\.talks\.fingerprint: \w{16} there, \w{16} asked"):
        make_train(lone, CONFIG, {"talks": other}, ONE)(run[0])


def test_a_fingerprint_tells_contents_apart(solo):
    split = solo.splits["train"]
    whole = fingerprint({"train": split})
    assert whole == fingerprint({"train": dataclasses.replace(split)})
    labels = {**split.labels, "mood": (split.labels["mood"] + 1) % 3}
    for other in (
        {"validation": split},
        {"train": dataclasses.replace(split, labels=labels)},
        {"train": dataclasses.replace(split, group=split.group + 1)},
    ):
        assert fingerprint(other) != whole


def test_numbers_that_follow_the_data_are_kept_and_go_on(lone, solo, tmp_path, monkeypatch):
    """The same bare configuration resumes, bit for bit, what it began."""
    monkeypatch.setattr(budget, "EPOCHS", 2)
    monkeypatch.setattr(budget, "FEWEST", 1)
    config = TrainConfig(learning_rate=1e-2)
    train = make_train(lone, config, {"talks": solo}, ONE)
    stops = iter((True,))
    whole = train(tmp_path / "whole")
    assert train(tmp_path / "cut", stop=lambda: next(stops, False)).progress["step"] == 9
    again = train(tmp_path / "cut")
    assert again.experiment == whole.experiment
    kept = load_trained(tmp_path / "cut").experiment.train
    assert (kept.batch_size, kept.epochs, kept.evaluate_every) == (8, 2, 1)
    assert log.read(tmp_path / "cut") == log.read(tmp_path / "whole")
    with pytest.raises(InputError, match=r"--epochs=4 --init_from=.*cut --run_dir=ANOTHER"):
        make_train(lone, dataclasses.replace(config, epochs=4), {"talks": solo}, ONE)(
            tmp_path / "cut"
        )
