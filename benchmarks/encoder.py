"""Speed of a text encoder: its forward pass beside Hugging Face's in PyTorch, and its gradient.

  python -m benchmarks.encoder [--text=minilm] [--batch_size=32] [--tokens=32] [--rank=16]

The same weights on the same token numbers, in 32-bit floats and in bfloat16 (`--text_precision`;
PyTorch's model is cast whole). Medians within this one run, in turns; compare ratios, not runs.
Without torch and transformers ours is measured alone. The gradient is that by all weights, and that
by adapters beside them.
"""

import os

# PyTorch's idle OpenMP threads would otherwise spin and steal JAX's cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import platform

import jax
import numpy as np
from absl import app, flags

from benchmarks.timing import median_seconds
from haemsa_jax.config import PRECISIONS
from haemsa_jax.encoders.text import read_pretrained
from haemsa_jax.encoders.text.module import Bert, split_adapters
from haemsa_jax.models import overlaid

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
    params = jax.device_put(dict(pretrained.params))
    sides = {}
    for precision in PRECISIONS:
        sides |= ours(pretrained, params, ids, mask, precision)
        sides |= reference(pretrained.folder, ids, mask, precision)
    if "transformers" in sides:
        difference = np.abs(np.asarray(sides["HAEMSA"]()) - sides["transformers"]()).max()
        print(f"largest difference {difference:.1e}")
    print(f"{platform.machine()}, {os.cpu_count()} cores; {_TEXT.value}, {shape[0]} x {shape[1]}")
    seconds = {name: [] for name in sides}
    for _ in range(ROUNDS):  # in turns, so that a busy moment meets all
        for name, side in sides.items():
            seconds[name].append(median_seconds(side))
    median = {name: float(np.median(values)) for name, values in seconds.items()}
    for name, value in median.items():
        print(f"{name:26}{1e3 * value:10.1f} ms{shape[0] / value:10.1f} texts/s", end="")
        baseline = median.get(name.replace("transformers", "HAEMSA"))
        print(f"   ratio of rates {value / baseline:.2f}" if baseline != value else "")


def ours(pretrained, params, ids, mask, precision):
    """The forward pass, and the gradient of some loss by all of the encoder and by adapters."""
    config, key = pretrained.config, jax.random.key(0)
    plain, adapted = (Bert(config, rank, precision) for rank in (0, _RANK.value))
    adapters, _ = split_adapters(jax.jit(adapted.init)(key, ids, mask)["params"])

    def loss(encoder, params):  # of samples one by one and mapped, as a network reads them
        encoded = jax.vmap(lambda *text: encoder.apply({"params": params}, *text))(ids, mask)
        return (encoded**2).mean()

    forward = jax.jit(lambda params: plain.apply({"params": params}, ids, mask))
    by_all = jax.jit(jax.grad(lambda params: loss(plain, params)))
    by_adapters = jax.jit(jax.grad(lambda own, params: loss(adapted, overlaid(params, own))))
    sides = {
        "HAEMSA": lambda: forward(params),
        "gradient": lambda: by_all(params),
        "gradient of adapters": lambda: by_adapters(adapters, params),
    }
    return {
        named(name, precision): lambda side=side: jax.block_until_ready(side())
        for name, side in sides.items()
    }


def named(name, precision):
    return name if precision == PRECISIONS[0] else f"{name}, {precision}"


def reference(folder, ids, mask, precision):
    """The forward pass in PyTorch; nothing where it is not installed."""
    try:
        import torch
        import transformers
    except ImportError as error:
        print(f"{error.name} is not installed: no comparison")
        return {}
    print(f"jax {jax.__version__}, torch {torch.__version__}, "
          f"transformers {transformers.__version__}")  # fmt: skip
    kind = getattr(torch, precision)
    model = transformers.AutoModel.from_pretrained(folder).to(kind).eval()
    given = torch.tensor(ids, dtype=torch.int64), torch.tensor(mask.astype(np.int64))

    def forward():
        with torch.no_grad():
            return model(*given).last_hidden_state.float().numpy()

    return {named("transformers", precision): forward}


if __name__ == "__main__":
    app.run(main)
