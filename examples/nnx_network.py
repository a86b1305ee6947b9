"""The whole network within flax.nnx: python examples/nnx_network.py"""

import jax
import jax.numpy as jnp
import optax
from clips import MOOD, WIDTHS, batch, dataset
from flax import nnx

from haemsa_jax import Haemsa, HaemsaConfig, Rates, default_structure

config = HaemsaConfig({"mine": WIDTHS}, {"mine:mood": MOOD}, width=16, depth=1)
split = dataset().splits["train"]
clips = batch(split)


class Wrapped(nnx.Module):
    """Ours, with a scale of its own on top."""

    def __init__(self, rngs):
        inner = nnx.bridge.ToNNX(Haemsa(config), rngs=rngs)
        given = clips, default_structure(config), Rates(), "mine"
        self.inner = nnx.bridge.lazy_init(inner, *given)
        self.scale = nnx.Param(jnp.ones(()))

    def __call__(self, sample):
        outputs = self.inner(sample, default_structure(config), Rates(), "mine")
        return self.scale[...] * outputs.predictions["mine:mood"][..., 0]


# Compiled as one program instead of operation by operation.
model = nnx.jit(lambda: Wrapped(nnx.Rngs(0)))()
optimiser = nnx.Optimizer(model, optax.adam(3e-3), wrt=nnx.Param)


@nnx.jit
def step(model, optimiser, sample, target):
    value, grads = nnx.value_and_grad(lambda m: jnp.mean((m(sample) - target) ** 2))(model)
    optimiser.update(model, grads)
    return value


losses = [float(step(model, optimiser, clips, split.labels["mood"])) for _ in range(40)]
print(f"loss {losses[0]:.3f} -> {losses[-1]:.3f}, scale {float(model.scale[...]):.3f}")
count = sum(x.size for x in jax.tree.leaves(nnx.state(model, nnx.Param)))
print(f"{count:,} parameters")
