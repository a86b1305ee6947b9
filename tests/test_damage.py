"""Checkpoints whose files are cut, empty, garbage or gone, and directories of odd names."""

import os
import re
import shutil
import warnings
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from benchmarks.faults.judging import at_most
from haemsa_jax.errors import InputError
from haemsa_jax.training.persistence import checkpoint, integrity, plain_path
from haemsa_jax.training.persistence.checkpoint import BEST, Checkpoints, DamagedError

TREE = {"a": np.arange(6.0, dtype=np.float32), "b": {"c": np.ones((200, 3), np.int32)}}
EXPERIMENT = SimpleNamespace(to_json=lambda: {"network": "small"})
DAMAGES = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(os.urandom(path.stat().st_size)),
    "flipped": lambda path: path.write_bytes(
        bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:]
    ),
    "gone": lambda path: path.unlink(),
}


def save(directory, kind, *steps):
    with Checkpoints(directory, kind) as checkpoints:
        for step in steps:
            tree = jax.tree.map(lambda x, step=step: x + step, TREE)
            checkpoints.save(step, tree, EXPERIMENT, {"step": step})


def load(directory, kind, reads=True):
    """The step and the arrays that are read."""
    with Checkpoints(directory, kind, reads) as checkpoints:
        metadata = checkpoints.metadata()
        return metadata["progress"]["step"], checkpoints.load(TREE)


def files(path):
    return sorted(file for file in path.rglob("*") if file.is_file())


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    directory = tmp_path_factory.mktemp("saved")
    for kind in ("search", BEST):
        save(directory, kind, 1, 2, 3)
    return directory


@pytest.fixture
def run(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "run")
    return tmp_path / "run"


def test_the_last_two_are_kept(saved):
    assert sorted(path.name for path in (saved / "search").iterdir()) == ["2", "3"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_state_falls_back_to_the_one_before(saved, tmp_path, damage):
    """Whichever file it is that is damaged: readers as well as who goes on there."""
    for number, file in enumerate(files(saved / "search" / "3")):
        if file.name == integrity.FILE and damage == "gone":
            continue
        run = tmp_path / str(number)
        shutil.copytree(saved / "search", run / "search")
        DAMAGES[damage](run / file.relative_to(saved))
        step, tree = load(run, "search")
        assert step == 2 and (tree["a"] == TREE["a"] + 2).all()
    broken = re.escape(str(run / file.relative_to(saved)))
    with pytest.warns(UserWarning, match=f"^{broken} .*; going on from step 2, what is damaged"):
        assert load(run, "search", reads=False)[0] == 2
    aside, kept = sorted(run.iterdir())
    assert aside.name.startswith("damaged-search-3-") and kept.name == "search"
    save(run, "search", 3)
    assert load(run, "search", reads=False)[0] == 3


@pytest.mark.parametrize("damage", DAMAGES)
def test_without_another_the_file_and_the_way_out_are_named(run, damage):
    shutil.rmtree(run / "search" / "2")
    file = next((run / "search" / "3" / "state" / "d").iterdir())
    DAMAGES[damage](file)
    words = rf"^{re.escape(str(file))} (is missing|has other bytes).*; put it back from a copy, or "
    for reads in (True, False):
        with pytest.raises(DamagedError, match=words + "begin anew with --overwrite"):
            load(run, "search", reads)
    assert (run / "search" / "3").is_dir()


def test_of_selected_networks_no_others_are_read_unasked(run):
    (run / BEST / "3" / "_CHECKPOINT_METADATA").write_text("{")
    words = rf"_CHECKPOINT_METADATA has other bytes .*; delete {run / BEST / '3'} to use what was"
    with pytest.raises(DamagedError, match=words):
        load(run, BEST)
    shutil.rmtree(run / BEST / "3")
    assert load(run, BEST)[0] == 2


@pytest.mark.parametrize("name", ["_CHECKPOINT_METADATA", "state/_METADATA", "state/d", "state"])
@pytest.mark.parametrize("damage", [b"", b"\xff garbage", None])
def test_damage_that_no_checksum_shows(run, name, damage):
    """As in checkpoints of earlier versions."""
    path = run / BEST / "3"
    (path / integrity.FILE).unlink()
    assert load(run, BEST)[0] == 3
    place = path / name
    for file in files(place) if place.is_dir() else [place]:
        if damage is None:
            file.unlink()
        else:
            file.write_bytes(damage)
    words = (
        rf"^{path} cannot be read as a checkpoint \(" if damage else rf"^{path}/.* is missing or"
    )
    with pytest.raises(DamagedError, match=words):
        load(run, BEST)


def test_metadata_with_an_unknown_key(run):
    """Orbax reads it as it opens the directory."""
    path = run / BEST / "3" / "_CHECKPOINT_METADATA"
    path.write_text(path.read_text().replace('"item_handlers"', '"itee_handlers"'))
    with pytest.raises(DamagedError, match=f"^{path} has other bytes than were written; put it"):
        load(run, BEST)


@pytest.mark.parametrize("name", ["_CHECKPOINT_METADATA", "state/manifest.ocdbt", integrity.FILE])
def test_a_file_that_never_ends(run, name):
    for kind in (BEST, "search"):
        path = run / kind / "3" / name
        path.unlink()
        os.mkfifo(path)
        with at_most(2.0), pytest.raises(DamagedError, match=f"^{path} is not a regular file; put"):
            load(run, kind)
    # Who goes on there moves it out of the way.
    with pytest.warns(UserWarning, match="is not a regular file; going on from step 2"):
        assert load(run, "search", reads=False)[0] == 2


def test_checksums_that_are_damaged_may_be_deleted(run):
    path = run / BEST / "3" / integrity.FILE
    for content in (b"", b"[]", b'{"state": 1}', b"[" * 99_999):
        path.write_bytes(content)
        with pytest.raises(DamagedError, match=rf"^{path} .*delete it to read the checkpoint"):
            load(run, BEST)
    path.unlink()
    assert load(run, BEST)[0] == 3


ODD = [
    "[v2]run",
    "a**b",
    "a?*",
    "{x,y}",
    "back\\slash",
    "lr=1e-3,wd=0",
    "gs:",
    "[a]/s3:/b",
    "日本",
]


@pytest.mark.parametrize("name", [*ODD, os.fsdecode(b"caf\xe9")], ids=ascii)
def test_whatever_a_directory_is_called(tmp_path, name):
    save(tmp_path / name, "latest", 1, 2)
    step, tree = load(tmp_path / name, "latest")
    assert step == 2 and (tree["b"]["c"] == TREE["b"]["c"] + 2).all()
    steps = sorted(path.name for path in (tmp_path / name / "latest").iterdir())
    assert steps == ["1", "2"]


def test_no_place_for_a_link(tmp_path, monkeypatch):
    monkeypatch.setattr(plain_path.tempfile, "gettempdir", lambda: str(tmp_path / "[tmp]"))
    with pytest.raises(InputError, match="set TMPDIR to another directory"):
        Checkpoints(tmp_path / "[v2]", "latest")


@pytest.mark.parametrize("lost", ["manifest.ocdbt", "d"])
def test_a_checkpoint_that_is_half_written_is_noticed(run, monkeypatch, lost):
    """What Orbax did in directories that it took for patterns."""
    real = checkpoint.seal

    def merged_badly(path):
        place = path / "state" / lost
        shutil.rmtree(place) if place.is_dir() else place.unlink()
        return real(path)

    monkeypatch.setattr(checkpoint, "seal", merged_badly)
    words = f"step 4 is not whole: .*{lost} is missing or empty; the one before it is kept"
    with pytest.raises(InputError, match=words):
        save(run, "search", 4)
    monkeypatch.undo()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert load(run, "search", reads=False)[0] == 3
