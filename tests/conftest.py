"""Strict surroundings for every test: eight CPU devices, reused keys are errors, fixed data."""

import dataclasses
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jaxlib.version

# Before jax starts.
# Quick to compile rather than quick to run.
os.environ["XLA_FLAGS"] = (
    "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0 "
    "--xla_cpu_parallel_codegen_split_count=1 --xla_cpu_opt_preset=fast_compile"
)
# XLA's newer emitters take half of the time; later versions have no others, and end at the flag.
if jaxlib.version.__version_info__ < (0, 11):
    os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Programs compiled once serve all workers and the launchers that tests start.
if "PYTEST_XDIST_WORKER" not in os.environ:
    COMPILED = tempfile.TemporaryDirectory(prefix="haemsa-compiled-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = COMPILED.name
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.5"

import jax
import numpy as np
import pytest

from haemsa_jax.config import NetworkConfig, TaskSpec, TrainConfig
from haemsa_jax.data import Dataset, Split
from haemsa_jax.data.description import describe_data
from haemsa_jax.encoders import with_tokens
from haemsa_jax.encoders.text import read_pretrained
from haemsa_jax.models import build, default_structure, init_variables
from haemsa_jax.models.haemsa import HaemsaConfig
from haemsa_jax.models.model import config_class, model_named
from haemsa_jax.training.engine.state import stack
from haemsa_jax.training.measurement.normalization import make_constants
from haemsa_jax.training.persistence.experiment import Experiment
from haemsa_jax.training.persistence.trained import Trained

jax.config.update("jax_debug_key_reuse", True)
# As launchers do: tracing makes millions of small objects that stay.
gc.set_threshold(100_000, 50, 1000)

ROOT = Path(__file__).parents[1]
BERT = ROOT / "tests" / "fixtures" / "encoders" / "bert"
WIDTHS = {"text": 6, "audio": 4, "vision": 5}
LENGTHS = {"text": 3, "audio": 5, "vision": 4}
TASKS = {
    "score": TaskSpec("score", "regression", ("mae", "corr"), range=(-9.0, 9.0)),
    "mood": TaskSpec("mood", "classification", ("f1_weighted", "accuracy"), ("sad", "calm", "gay")),
    "tags": TaskSpec("tags", "multilabel", ("f1_mean", "wacc_mean"), ("a", "b")),
}


def make_split(seed: int, count: int, group_size: int = 5) -> Split:
    """Random sequences of random lengths; labels depend on text and audio."""
    rng = np.random.default_rng(seed)
    features = {
        m: rng.normal(size=(count, LENGTHS[m], width)).astype(np.float32)
        for m, width in WIDTHS.items()
    }
    masks = {m: np.arange(LENGTHS[m]) < rng.integers(0, LENGTHS[m] + 1, (count, 1)) for m in WIDTHS}
    masks["text"][:, 0] |= ~np.any([mask.any(-1) for mask in masks.values()], axis=0)
    mean = {m: (features[m][..., 0] * masks[m]).sum(1) for m in WIDTHS}
    score = np.clip(2 * mean["text"] + mean["audio"], -9, 9).astype(np.float32)
    return Split(
        features=features,
        masks=masks,
        labels={
            "score": score,
            "mood": np.digitize(score, (-1, 1)).astype(np.int32),
            "tags": np.stack([score > 0, mean["audio"] > 0], -1).astype(np.float32),
        },
        labelled={
            "score": np.ones(count, bool),
            "mood": np.ones(count, bool),
            "tags": np.arange(count) % 3 > 0,
        },
        group=(np.arange(count) // group_size).astype(np.int32),
        ids=[f"{seed}-{row}" for row in range(count)],
        words=[""] * count,
    )


# By the time they take: begun late, they would be waited for by a worker that has nothing to do.
LONGEST = (
    "launch_evolve", "launch", "processes", "training", "examples", "haemsa_search",
    "text_training", "specialise", "launch_words", "predictor", "streaming",
)  # fmt: skip


def pytest_collection_modifyitems(items):
    """The longest files first."""
    order = {f"test_{name}.py": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


@pytest.fixture(autouse=True, scope="module")
def forget():
    """A process may map so many regions of memory; all compiled programs of all tests are more."""
    yield
    jax.clear_caches()


@pytest.fixture(scope="session")
def talks() -> Dataset:
    """A small conversational data set with a task of every kind."""
    splits = {"train": (1, 70), "validation": (2, 21), "test": (3, 33)}
    return Dataset(
        name="talks",
        widths=WIDTHS,
        tasks=TASKS,
        splits={name: make_split(*args) for name, args in splits.items()},
        conversational=True,
    )


@pytest.fixture(scope="session")
def small(talks) -> NetworkConfig:
    """A network on all its tasks, small enough to compile in seconds."""
    return HaemsaConfig(
        widths={talks.name: dict(talks.widths)},
        tasks={f"{talks.name}:{name}": task for name, task in talks.tasks.items()},
        context={talks.name: (1, 1)},
        width=8, depth=1, heads=2, link_width=4, fusion_rank=2,
    )  # fmt: skip


def restricted(dataset, *names) -> Dataset:
    """The same with some modalities; the first of them is never absent."""

    def cut(split):
        features, masks = ({m: of[m] for m in names} for of in (split.features, split.masks))
        first = masks[names[0]]
        masks[names[0]] = first | (np.arange(first.shape[1]) == 0)
        return dataclasses.replace(split, features=features, masks=masks)

    splits = {name: cut(split) for name, split in dataset.splits.items()}
    return dataclasses.replace(dataset, widths={m: WIDTHS[m] for m in names}, splits=splits)


@pytest.fixture(scope="session")
def pair(talks) -> Dataset:
    """The same with two modalities: networks on it compile in half the time."""
    return restricted(talks, "text", "audio")


@pytest.fixture(scope="session")
def slim(small, pair) -> NetworkConfig:
    """The small network on them."""
    return dataclasses.replace(small, widths={pair.name: dict(pair.widths)})


@pytest.fixture(scope="session")
def solo(talks) -> Dataset:
    """The same with one modality, for what does not depend on how many there are."""
    return restricted(talks, "text")


@pytest.fixture(scope="session")
def lone(small, solo) -> NetworkConfig:
    """Hardly a network, on it: for what does not depend on what there is of a network."""
    return bare(small, widths={solo.name: dict(solo.widths)})


def bare(network, **changes) -> NetworkConfig:
    """With one expert for text, one to fuse, and nothing else: it compiles in a quarter of the
    time."""
    kept = {"local/text/0": ("pointwise",), "depth/text": ("1",), "links": ()}
    for task_id in network.tasks:
        kept |= {f"modalities/{task_id}": ("text",), f"fusion/{task_id}": ("concat",)}
    return network.changed(**changes, kept=kept)


MODELS = ("haemsa", "late_fusion", "recurrent")


def as_model(name, network, **changes) -> NetworkConfig:
    """Another model on the same data sets and tasks, everything built."""
    shared = {f.name: getattr(network, f.name) for f in dataclasses.fields(NetworkConfig)}
    return config_class(model_named(name))(**{**shared, "kept": {}, **changes})


@pytest.fixture(scope="session")
def pretrained():
    """A tiny encoder of random weights."""
    return read_pretrained(BERT)


@pytest.fixture(scope="session")
def spoken(pair, pretrained):
    """Words alone, which say what the score is."""

    def tell(split):
        good = split.labels["score"] > 0
        words = [f"the plot was {'good' if g else 'bad'}" + " !" * (i % 7) for i, g in
                 enumerate(good)]  # fmt: skip
        labels = {"score": np.where(good, 2.0, -2.0).astype(np.float32)}
        return dataclasses.replace(split, words=words, labels=labels, features={}, masks={})

    splits = {name: tell(split) for name, split in pair.splits.items()}
    tasks = {"score": pair.tasks["score"]}
    told = dataclasses.replace(pair, widths={}, splits=splits, tasks=tasks)
    return with_tokens(told, pretrained, max_tokens=24)


def drawn(make, stack=()):
    """Random numbers, of the shapes that `make(key)` returns and without compiling it: gates and
    heads away from their neutral start. `stack` goes before each shape."""
    rng = np.random.default_rng(1)

    def draw(path, shape):
        scale = path[-1].key == "scale"
        return (scale + 0.3 * rng.normal(size=(*stack, *shape.shape))).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, jax.eval_shape(make, jax.random.key(0)))


def params_of(network, stack=()):
    """Such parameters of a network."""
    return drawn(lambda key: init_variables(build(network), key)[0], stack)


def made(network, dataset, seeds=2, params=None) -> Trained:
    """Networks with random weights, but for those that are given."""
    data = {dataset.name: dataset}
    params = {**params_of(network, (seeds,)), **stack(params or {}, seeds)}
    experiment = Experiment(network, TrainConfig(seeds=seeds), {}, describe_data(data))
    structures = stack(default_structure(network), seeds)
    return Trained(experiment, params, make_constants(network, data), structures, {})


def utterances(split, rows):
    """Rows of a split as a user would have them."""
    return [
        {m: x[row][split.masks[m][row]] for m, x in split.features.items()
         if split.masks[m][row].any()}
        for row in rows
    ]  # fmt: skip


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """For launchers run as a user runs them."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "datasets")])
    flags = os.environ["XLA_FLAGS"].replace("count=8", "count=2")
    own = {"XLA_FLAGS": flags, "PYTHONPATH": path, "PYTHON": sys.executable}
    # One launcher after the other compiles the same small programs.
    return {**os.environ, **own, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}


@pytest.fixture(scope="session")
def deep(small) -> NetworkConfig:
    """The same with two blocks a modality."""
    return dataclasses.replace(small, depth=2)


@pytest.fixture(scope="session")
def launch(environment, tmp_path_factory):
    """launch(program, *flags) -> the finished process; see `forked.py`."""
    command = [environment["PYTHON"], ROOT / "tests" / "forked.py"]
    server = subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    out, err = (tmp_path_factory.mktemp("said") / name for name in ("out", "err"))

    def run(program, *flags, **surroundings):
        for path in (out, err):
            path.write_text("")
        told = list(map(str, flags))
        order = program, told, surroundings, str(out), str(err)
        names = "program", "flags", "surroundings", "out", "err"
        print(json.dumps(dict(zip(names, order, strict=True))), file=server.stdin, flush=True)
        status = int(server.stdout.readline())
        return subprocess.CompletedProcess(told, status, out.read_text(), err.read_text())

    yield run
    server.communicate(timeout=60)


@pytest.fixture(scope="session")
def data_dir(launch, tmp_path_factory):
    """The planted data set, prepared."""
    directory = tmp_path_factory.mktemp("data")
    done = launch("prepare_data", "--dataset=planted", f"--data_dir={directory}")
    assert done.returncode == 0, done.stderr
    return directory


SPOKEN = (
    "--tasks=cmu_mosi/standard", f"--text={BERT}",
    "--max_tokens=8", "--width=8", "--depth=1", "--heads=2", "--link_width=4",
)  # fmt: skip


@pytest.fixture(scope="session")
def spoken_dir(launch, tmp_path_factory):
    """A data set of words alone, prepared: a network of one modality compiles in a third of the
    time. `SPOKEN` are the flags of a small one."""
    directory, rng = tmp_path_factory.mktemp("spoken"), np.random.default_rng(0)
    rows = ["id,text,label,mode"]
    for mode, count in (("train", 120), ("valid", 24), ("test", 24)):
        for row in range(count):
            good = rng.random() < 0.5
            label = np.clip(rng.normal(1.5 if good else -1.5, 0.5), -3, 3)
            words = f"the plot was {'good' if good else 'bad'}"
            rows.append(f"{mode}{row // 6}_{row % 6 + 1},{words},{label:.1f},{mode}")
    (directory / "label.csv").write_text("\n".join(rows))
    where = f"--raw_dir={directory}", f"--data_dir={directory}"
    done = launch("prepare_data", "--dataset=cmu_mosi/standard", *where)
    assert done.returncode == 0, done.stderr
    return directory


def assert_same_structure(table, left, right):
    """What masks and choices of all genomes say; their numbers may be rounded otherwise."""
    np.testing.assert_allclose(left.genomes, right.genomes, rtol=1e-5, atol=1e-6)
    scales = {gene.name for gene in table.genes if gene.kind == "scale"}
    for one, other in zip(*(h.genomes.reshape(-1, table.size) for h in (left, right)), strict=True):
        said, expected = table.to_json(one), table.to_json(other)
        assert all(said[name] == expected[name] for name in said.keys() - scales)


def stop_when(environment, program, flags, number, status, ready):
    """Start a launcher, send it a signal as soon as `ready()`, check its exit status, and return
    what it said."""
    command = [environment["PYTHON"], "-m", f"launch.{program}", *flags]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None and not ready():
        time.sleep(0.005)
    os.kill(process.pid, number)
    said, _ = process.communicate()
    assert process.returncode == status
    return said
