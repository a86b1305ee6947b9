"""Speed of training and of evaluation, beside a plain PyTorch network of equal size.

  python -m benchmarks.training [--steps=60] [--width=32] [--depth=1]

Data have the shape of Hazumi (785, 384 and 66 features, 8 utterances before the target) and are
random. All figures are medians within this one run; compare ratios, not runs. PyTorch's part is
left out, with a word, where torch is not installed.
"""

import os

# PyTorch's idle OpenMP threads would otherwise spin and steal JAX's cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import platform
import time

import jax
import numpy as np
from absl import app, flags

from benchmarks.timing import median_seconds
from haemsa_jax.config import TaskSpec, TrainConfig
from haemsa_jax.data import Dataset, Split
from haemsa_jax.data.batches import device_split, gather
from haemsa_jax.models import Rates, build, default_structure, init_variables
from haemsa_jax.models.haemsa import HaemsaConfig
from haemsa_jax.training.engine import parallel
from haemsa_jax.training.engine.blocks import make_block
from haemsa_jax.training.engine.state import init_state, settings_from_config, stack
from haemsa_jax.training.measurement.normalization import make_constants
from haemsa_jax.training.measurement.prediction import make_predict

_STEPS = flags.DEFINE_integer("steps", 60, "Training steps a measurement.")
_WIDTH = flags.DEFINE_integer("width", 32, "Width of the network.")
_DEPTH = flags.DEFINE_integer("depth", 1, "Local blocks a modality.")
_BATCH = flags.DEFINE_integer("batch_size", 64, "Samples a step.")

WIDTHS = {"text": 785, "audio": 384, "vision": 66}
PAST, COUNT = 8, 4096


def main(argv: list[str]) -> None:
    del argv
    ours, size = measure_haemsa()
    print(f"{platform.machine()}, {os.cpu_count()} cores; jax {jax.__version__} on", end=" ")
    print(f"{jax.local_device_count()} x {jax.local_devices()[0].device_kind}")
    print(f"width {_WIDTH.value}, depth {_DEPTH.value}, {size:,} parameters, window {PAST + 1}\n")
    try:
        import torch
    except ImportError:
        theirs = {}
        print("torch is not installed: no comparison\n")
    else:
        theirs, other = measure_torch(torch, size)
        print(f"torch {torch.__version__}, late fusion of {other:,} parameters\n")
    print(f"{'':34}{'HAEMSA':>12}{'torch':>12}{'ratio':>8}")
    for name, value in ours.items():
        torch_rate = theirs.get(name)
        beside = f"{torch_rate:12,.2f}{value / torch_rate:8.2f}" if torch_rate else ""
        print(f"{name:34}{value:12,.2f}{beside}")


def random_split() -> Split:
    rng = np.random.default_rng(0)
    return Split(
        features={m: rng.normal(size=(COUNT, 1, w)).astype(np.float32) for m, w in WIDTHS.items()},
        masks={m: np.ones((COUNT, 1), bool) for m in WIDTHS},
        labels={"score": rng.normal(size=COUNT).astype(np.float32)},
        labelled={"score": np.ones(COUNT, bool)},
        group=(np.arange(COUNT) // 80).astype(np.int32),
        ids=[str(row) for row in range(COUNT)],
    )


def measure_haemsa() -> tuple[dict[str, float], int]:
    task = TaskSpec("score", "regression", ("mae",), range=(-9.0, 9.0))
    dataset = Dataset("random", WIDTHS, {"score": task}, {"train": random_split()})
    network = HaemsaConfig(
        widths={"random": WIDTHS}, tasks={"random:score": task}, context={"random": (PAST, 0)},
        width=_WIDTH.value, depth=_DEPTH.value,
    )  # fmt: skip
    config = TrainConfig(batch_size=_BATCH.value)
    devices, steps = jax.local_devices(), _STEPS.value
    module = build(network)
    params = jax.jit(lambda key: init_variables(module, key)[0])(jax.random.key(0))
    constants, structure = (
        make_constants(network, {"random": dataset}), default_structure(network),
    )  # fmt: skip
    split = device_split(dataset.splits["train"])
    member, settings = init_state(network, config, params), settings_from_config(config, network)
    members, structures, settings = stack((member, structure, settings), 1)
    arrays = [
        members, structures, settings, stack(constants, 1), np.zeros(1, np.int32),
        {"random": split}, jax.random.key(1)[None],
    ]  # fmt: skip
    members, *fixed = parallel.replicate(arrays, devices)

    start = time.perf_counter()
    block = make_block(network, config, total_steps=10_000, length=steps, devices=devices)
    jax.block_until_ready(block(members, *fixed, np.int32(1)))
    compiling = time.perf_counter() - start
    train = median_seconds(lambda: jax.block_until_ready(block(members, *fixed, np.int32(steps))))

    predict = make_predict(network, 256, devices)
    arrays = [stack(params, 1), stack(constants, 1), structures, split]
    arrays = parallel.replicate(arrays, devices)
    everything = np.arange(COUNT)
    inference = median_seconds(lambda: predict(*arrays, "random:score", everything))

    variables = {"params": params, "constants": constants}
    one = gather(jax.device_put(split), 100, np.int32(0), PAST, 0)
    answer = jax.jit(lambda s: module.apply(variables, s, structure, Rates(), "random"))
    many = 50
    latency = median_seconds(lambda: [jax.block_until_ready(answer(one)) for _ in range(many)])
    figures = {
        "train, samples/s": steps * _BATCH.value / train,
        "inference, samples/s": COUNT / inference,
        "latency of one sample, ms": latency / many * 1e3,
        "compiling the training step, s": compiling,
    }
    return figures, sum(leaf.size for leaf in jax.tree.leaves(params))


def late_fusion(torch, size: int):
    """A network of perceptrons on each modality's tokens, their means joined by another.

    Its hidden width is the largest that keeps it within `size` parameters.

    Returns:
      The module, and how many parameters it has.
    """
    nn = torch.nn

    class LateFusion(nn.Module):
        def __init__(self, hidden):
            super().__init__()
            self.towers = nn.ModuleList(
                nn.Sequential(
                    nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()
                )
                for width in WIDTHS.values()
            )
            self.head = nn.Sequential(
                nn.Linear(3 * hidden, hidden), nn.ReLU(), nn.Dropout(0.2), nn.Linear(hidden, 1)
            )

        def forward(self, windows):
            means = [tower(x).mean(1) for tower, x in zip(self.towers, windows, strict=True)]
            return self.head(torch.cat(means, -1))[:, 0]

    def parameters(model):
        return sum(p.numel() for p in model.parameters())

    hidden = 8
    while parameters(LateFusion(hidden + 8)) <= size:
        hidden += 8
    return LateFusion(hidden), parameters(LateFusion(hidden))


def measure_torch(torch, size: int) -> tuple[dict[str, float], int]:
    """The same figures of late fusion."""
    nn = torch.nn
    model, count = late_fusion(torch, size)
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
    split = random_split()
    features = [torch.from_numpy(split.features[m][:, 0]) for m in WIDTHS]
    labels = torch.from_numpy(split.labels["score"])
    offsets = torch.arange(-PAST, 1)

    def windows(rows):
        return [x[(rows[:, None] + offsets).clamp(min=0)] for x in features]

    def train():
        model.train()
        for step in range(_STEPS.value):
            rows = torch.arange(step * _BATCH.value, (step + 1) * _BATCH.value) % COUNT
            optimiser.zero_grad()
            nn.functional.huber_loss(model(windows(rows)), labels[rows]).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()

    @torch.no_grad()
    def infer():
        model.eval()
        for start in range(0, COUNT, 256):
            model(windows(torch.arange(start, min(COUNT, start + 256))))

    one = windows(torch.tensor([100]))

    @torch.no_grad()
    def answer():
        model.eval()
        for _ in range(50):
            model(one)

    figures = {
        "train, samples/s": _STEPS.value * _BATCH.value / median_seconds(train),
        "inference, samples/s": COUNT / median_seconds(infer),
        "latency of one sample, ms": median_seconds(answer) / 50 * 1e3,
    }
    return figures, count


if __name__ == "__main__":
    app.run(main)
