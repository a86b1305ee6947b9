"""The smallest network on words and sound, with random weights, and a run directory of it."""

import json
from pathlib import Path

import jax
import numpy as np

from haemsa_jax.config import TaskSpec, TrainConfig
from haemsa_jax.data import Dataset, Split
from haemsa_jax.data.description import describe_data
from haemsa_jax.encoders import specify, with_vectors
from haemsa_jax.encoders.text import read_pretrained
from haemsa_jax.evolution.genome import default_genome, gene_table
from haemsa_jax.models import build, default_structure, init_variables
from haemsa_jax.models.late_fusion import LateFusionConfig
from haemsa_jax.reporting import results
from haemsa_jax.reporting.runs import load_contenders
from haemsa_jax.training.engine.state import stack
from haemsa_jax.training.measurement.normalization import make_constants
from haemsa_jax.training.persistence.checkpoint import BEST, LATEST, Checkpoints
from haemsa_jax.training.persistence.experiment import Experiment
from haemsa_jax.training.persistence.trained import Trained, abstract_trees, trained_tree

ENCODER = Path(__file__).parents[2] / "tests" / "fixtures" / "encoders" / "bert"
TASKS = {
    "score": TaskSpec("score", "regression", ("mae", "corr"), range=(-9.0, 9.0)),
    "mood": TaskSpec("mood", "classification", ("accuracy",), ("sad", "calm", "gay")),
}
TOKENS, WIDTH = 8, 4  # of words, of sound


def dataset() -> Dataset:
    """Words, from which the encoder makes vectors, and sound."""

    def split(name: str, count: int) -> Split:
        rng = np.random.default_rng(count)
        return Split(
            features={"audio": rng.normal(size=(count, 3, WIDTH)).astype(np.float32)},
            masks={"audio": np.ones((count, 3), bool)},
            labels={
                "score": rng.normal(size=count).astype(np.float32),
                "mood": (np.arange(count) % 3).astype(np.int32),
            },
            labelled=dict.fromkeys(TASKS, np.ones(count, bool)),
            group=np.arange(count, dtype=np.int32) // 3,
            ids=[f"{name} {row}" for row in range(count)],
            words=["the plot was good" if row % 2 else "bad" for row in range(count)],
        )

    splits = {name: split(name, size) for name, size in
              (("train", 12), ("validation", 6), ("test", 7))}  # fmt: skip
    talks = Dataset("talks", {"audio": WIDTH}, TASKS, splits, conversational=True)
    return with_vectors(talks, read_pretrained(ENCODER), max_tokens=TOKENS)


def trained(data: Dataset) -> Trained:
    """A late-fusion network that reads words by the encoder; two seeds of random weights."""
    pretrained = read_pretrained(ENCODER)
    spec = specify(pretrained, ENCODER, max_tokens=TOKENS, mode="frozen", datasets=(data.name,))
    network = LateFusionConfig(
        widths={data.name: dict(data.widths)},
        tasks={f"{data.name}:{name}": task for name, task in TASKS.items()},
        context={data.name: (1, 0)},
        encoders={"text": spec},
        width=4,
        layers=1,
    )
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda key: init_variables(build(network), key)[0], jax.random.key(0))
    params = jax.tree.map(lambda x: rng.normal(size=(2, *x.shape)).astype(np.float32), shapes)
    constants, structures = (
        stack(of, 2) for of in (make_constants(network, {data.name: data}),
                                default_structure(network))
    )  # fmt: skip
    experiment = Experiment(network, TrainConfig(seeds=2), {}, describe_data({data.name: data}))
    return Trained(experiment, params, constants, structures, {})


def write_run(directory: Path, of: Trained, data: Dataset) -> None:
    """What launch.train, launch.evolve and launch.evaluate leave, without having trained."""
    experiment = of.experiment
    latest = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), abstract_trees(experiment)[0])
    tree = trained_tree(of.params, of.constants, of.structures)
    for kind, arrays in ((LATEST, latest), (BEST, tree)):
        with Checkpoints(directory, kind) as checkpoints:
            for step in (1, 2):
                checkpoints.save(step, arrays, experiment, {"step": step})
    rows = [{"step": step, "kind": "train", "loss": [0.5, 1.0 / step]} for step in (1, 2)]
    (directory / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    table = gene_table(experiment.network, experiment.train)
    genome = table.to_json(default_genome(experiment.network, experiment.train))
    saved = {"format": 1, "genome": genome, "fitness": 0.5, "experiment": experiment.to_json()}
    (directory / "best.json").write_text(json.dumps(saved))
    (contender,) = load_contenders([directory])
    evaluated = results.evaluate_runs(contender.runs, {data.name: data}, split="test")
    tables = results.results_of({contender.label: evaluated.tasks}, [contender], split="test")
    results.write_results(directory, "test", contender.runs[0], evaluated, tables)
