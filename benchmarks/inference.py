"""Speed of prediction: one sample's latency and throughput, beside a plain PyTorch network.

  python -m benchmarks.inference [--batches=1,16,256,4096] [--width=32] [--depth=1]

Data have the shape of Hazumi (785, 384 and 66 features, 8 utterances before the target) and are
random; NumPy arrays go in and come out. Measured are, exported and loaded again, the default
network and a random genome, as masks of the supernet and as the small network it stands for; the
default network in a `Predictor`, which checks what it is given and tells gates too: one sample is
the last of as many utterances, several are one long dialogue; and where torch is installed a
late-fusion network of equal size. Calls take turns. All figures are of one run; compare ratios, not
runs.
"""

import os

# PyTorch's idle OpenMP threads would otherwise spin and steal JAX's cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import functools
import platform
import tempfile
import time

import jax
import numpy as np
from absl import app, flags

from benchmarks.timing import median_seconds
from benchmarks.training import PAST, WIDTHS, late_fusion
from haemsa_jax.config import TaskSpec, TrainConfig
from haemsa_jax.evolution.genome import decode, gene_table
from haemsa_jax.inference import Predictor, standalone
from haemsa_jax.inference.export import export
from haemsa_jax.models import build, default_structure, init_variables
from haemsa_jax.models.haemsa import HaemsaConfig
from haemsa_jax.structure.interface import SIDES
from haemsa_jax.structure.specialise import specialise
from haemsa_jax.training.engine.state import stack
from haemsa_jax.training.persistence.experiment import Experiment
from haemsa_jax.training.persistence.trained import Trained
from launch import recording

_BATCHES = flags.DEFINE_list("batches", [1, 16, 256, 4096], "Samples in one call.")
_CALLS = flags.DEFINE_integer("calls", 500, "Calls of which latency is told.")
recording.define_flags()

KNOWN = {"random": {"tokens": dict.fromkeys(WIDTHS, 1), "provenance": {}}}


def main(argv: list[str]) -> None:
    del argv
    recording.check()
    batches = [int(batch) for batch in _BATCHES.value]
    rng = np.random.default_rng(0)
    most = max(batches)
    data = {
        m: rng.normal(size=(most, PAST + 1, 1, w)).astype(np.float32) for m, w in WIDTHS.items()
    }
    trained, masked, small = networks()
    size = count(trained)
    print(f"{platform.machine()}, {os.cpu_count()} cores; jax {jax.__version__} on", end=" ")
    print(f"{jax.local_device_count()} x {jax.local_devices()[0].device_kind}")
    print(f"default network {size:,} parameters, the genome's {count(small):,}\n")
    with tempfile.TemporaryDirectory() as folder:
        answers = {
            "exported, default": loaded(trained, f"{folder}/default"),
            "exported, genome masked": loaded(masked, f"{folder}/masked"),
            "exported, specialised": loaded(small, f"{folder}/small"),
            "Predictor, default": of_predictor(trained),
        }
    try:
        import torch
    except ImportError:
        print("torch is not installed: no comparison\n")
    else:
        model, other = late_fusion(torch, size)
        answers[f"torch {torch.__version__}"] = of_torch(torch, model)
        print(f"torch {torch.__version__}, late fusion of {other:,} parameters\n")
    print(f"{'':26}{'p50, ms':>10}{'p99, ms':>10}", end="")
    print("".join(f"{'samples/s at ' + str(batch):>20}" for batch in batches))
    one = {m: x[:1] for m, x in data.items()}
    measured = latencies(answers, one)
    for name, (middle, late) in measured.items():
        print(f"{name:26}{middle:10.2f}{late:10.2f}", end="", flush=True)
        for batch in batches:
            call = functools.partial(answers[name], {m: x[:batch] for m, x in data.items()})
            print(f"{batch / median_seconds(call):20,.0f}", end="", flush=True)
        print()
    rows = {name: {"p50": [own[0]], "p99": [own[1]]} for name, own in measured.items()}
    recording.save(
        data=["speed"],
        split="random",
        selected="nothing",
        rows={"speed:one sample": rows},
        runs=[],
    )


def networks() -> tuple[Trained, Trained, Trained]:
    """The default network, a random genome as masks, and the same specialised; random weights."""
    task = TaskSpec("score", "regression", ("mae",), range=(-9.0, 9.0))
    network = HaemsaConfig(
        widths={"random": WIDTHS}, tasks={"random:score": task}, context={"random": (PAST, 0)},
        width=flags.FLAGS.width, depth=flags.FLAGS.depth,
    )  # fmt: skip
    key = jax.random.key(0)
    params, constants = jax.jit(lambda key: init_variables(build(network), key))(key)
    genome = gene_table(network).random(jax.random.fold_in(key, 1))
    # All are asked the same windows, however far this genome would read.
    everything = default_structure(network)
    windows = {name: x for name, x in everything.items() if name.partition("/")[0] in SIDES}
    structure = {**decode(network, genome)[0], **windows}
    small = specialise(network, params, constants, structure)

    def trained(network, params, constants, structure) -> Trained:
        experiment = Experiment(network, TrainConfig(), {}, KNOWN)
        return Trained(experiment, stack(params, 1), stack(constants, 1), stack(structure, 1), {})

    return (
        trained(network, params, constants, everything),
        trained(network, params, constants, structure),
        trained(small.network, small.params, small.constants, small.structure),
    )


def count(trained: Trained) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(trained.params))


def loaded(trained: Trained, folder: str):
    """Exported to StableHLO and loaded again, as a user without this library runs it."""
    export(trained, folder, platforms=[jax.default_backend().replace("gpu", "cuda")])
    model = standalone.load(folder)
    return lambda given: model(**given)


def of_predictor(trained: Trained):
    predictor = Predictor(trained)

    def answer(given):
        # One window is a dialogue whose last utterance is asked for, many are one long dialogue.
        many = len(next(iter(given.values()))) > 1
        turns = {m: x[:, -1] if many else x[0] for m, x in given.items()}
        length = len(next(iter(turns.values())))
        dialogue = [{m: x[turn] for m, x in turns.items()} for turn in range(length)]
        return predictor.predict_dialogue(dialogue, last=None if many else 1)

    return answer


def of_torch(torch, model):
    model.eval()

    @torch.no_grad()
    def answer(given):
        return model([torch.from_numpy(x[:, :, 0]) for x in given.values()]).numpy()

    return answer


def latencies(answers, one) -> dict[str, tuple[float, float]]:
    """Milliseconds that half, and 99 of 100 calls with one sample stay below.

    They take turns, so that what else the machine does is as hard on each of them.
    """
    times = {name: [] for name in answers}
    for number in range(_CALLS.value + 1):
        for name, answer in answers.items():
            start = time.perf_counter()
            answer(one)
            if number:  # the first compiles
                times[name].append(time.perf_counter() - start)
    return {name: tuple(1e3 * np.quantile(own, (0.5, 0.99))) for name, own in times.items()}


if __name__ == "__main__":
    app.run(main)
