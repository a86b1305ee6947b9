"""Speed of a text encoder: its forward pass beside Hugging Face's in PyTorch, and its gradient.

  python -m benchmarks.encoder [--text=minilm] [--batch_size=32] [--tokens=32] [--rank=16]

The same weights on the same token numbers, 32-bit floats. Medians within this one run, in turns;
compare ratios, not runs. Without torch and transformers ours is measured alone. The gradient is
that by all weights, and that by adapters beside them.
"""

import os

# PyTorch's idle OpenMP threads would otherwise spin and steal JAX's cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import platform

import jax
import numpy as np
from absl import app, flags

from benchmarks.timing import median_seconds
from haemsa_jax.models.encoder import Encoder, split_adapters
from haemsa_jax.models.haemsa import overlaid
from haemsa_jax.text import read_pretrained

_TEXT = flags.DEFINE_string("text", "minilm", "Name or folder of the encoder.")
_BATCH = flags.DEFINE_integer("batch_size", 32, "Texts at a time.")
_TOKENS = flags.DEFINE_integer("tokens", 32, "Tokens of each.")
_RANK = flags.DEFINE_integer("rank", 16, "Thickness of the adapters.")
ROUNDS = 5


def main(argv: list[str]) -> None:
    del argv
    pretrained = read_pretrained(_TEXT.value)
    shape = (_BATCH.value, _TOKENS.value)
    ids = np.random.default_rng(0).integers(1000, 20000, shape).astype(np.int32)
    mask = np.ones(shape, bool)
    params = jax.device_put({"params": dict(pretrained.params)})
    forward = jax.jit(Encoder(pretrained.config).apply)

    def ours():
        return jax.block_until_ready(forward(params, ids, mask))

    sides = {"HAEMSA": ours, **gradients(pretrained, ids, mask)}
    theirs = reference(pretrained.folder, ids, mask)
    if theirs:
        sides["transformers"] = theirs
        difference = np.abs(np.asarray(ours()) - theirs()).max()
        print(f"largest difference {difference:.1e}")
    print(f"{platform.machine()}, {os.cpu_count()} cores; {_TEXT.value}, {shape[0]} x {shape[1]}")
    seconds = {name: [] for name in sides}
    for _ in range(ROUNDS):  # in turns, so that a busy moment meets both
        for name, side in sides.items():
            seconds[name].append(median_seconds(side))
    median = {name: float(np.median(values)) for name, values in seconds.items()}
    for name, value in median.items():
        print(f"{name:14}{1e3 * value:10.1f} ms{shape[0] / value:10.1f} texts/s")
    if theirs:
        print(f"ratio of rates {median['transformers'] / median['HAEMSA']:.2f}")


def gradients(pretrained, ids, mask):
    """The gradient of some loss, by all of the encoder and by adapters alone."""
    config, key = pretrained.config, jax.random.key(0)
    whole = jax.device_put(dict(pretrained.params))
    adapted = Encoder(config, _RANK.value)
    adapters, _ = split_adapters(jax.jit(adapted.init)(key, ids, mask)["params"])

    def loss(encoder, params):
        return (encoder.apply({"params": params}, ids, mask) ** 2).mean()

    by_all = jax.jit(jax.grad(lambda params: loss(Encoder(config), params)))
    by_adapters = jax.jit(
        jax.grad(lambda own, params: loss(adapted, overlaid(params, own)), argnums=0)
    )
    return {
        "gradient, all": lambda: jax.block_until_ready(by_all(whole)),
        "adapters": lambda: jax.block_until_ready(by_adapters(adapters, whole)),
    }


def reference(folder, ids, mask):
    """The same in PyTorch, or None where it is not installed."""
    try:
        import torch
        import transformers
    except ImportError as error:
        print(f"{error.name} is not installed: no comparison")
        return None
    print(f"jax {jax.__version__}, torch {torch.__version__}, "
          f"transformers {transformers.__version__}")  # fmt: skip
    model = transformers.AutoModel.from_pretrained(folder).eval()
    given = torch.tensor(ids, dtype=torch.int64), torch.tensor(mask.astype(np.int64))

    def forward():
        with torch.no_grad():
            return model(*given).last_hidden_state.numpy()

    return forward


if __name__ == "__main__":
    app.run(main)
