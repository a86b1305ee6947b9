"""A trained network, frozen, as the encoder of another task: python examples/frozen_encoder.py RUN

RUN is what examples/train.py wrote. Its joined vectors feed a linear probe in plain jax and optax.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from clips import batch, dataset

from haemsa_jax import Rates, build, load_trained

run_dir = sys.argv[1] if len(sys.argv) > 1 else "runs/example"
trained = load_trained(run_dir)
model = build(trained.experiment.network)
variables, structure = trained.network(seed=0)
split = dataset().splits["train"]
encode = jax.jit(lambda sample: model.apply(variables, sample, structure, Rates(), "mine"))
vectors = encode(batch(split)).representations["joined"]  # float[N, D]: what the heads read
positive = (split.labels["mood"] > 0).astype(np.float32)

optimiser = optax.adam(0.05)
probe = {"weights": jnp.zeros(vectors.shape[1]), "bias": jnp.zeros(())}
state = optimiser.init(probe)


@jax.jit
def step(probe, state):
    def loss(probe):
        odds = vectors @ probe["weights"] + probe["bias"]
        return optax.sigmoid_binary_cross_entropy(odds, positive).mean()

    updates, state = optimiser.update(jax.grad(loss)(probe), state)
    return optax.apply_updates(probe, updates), state


for _ in range(200):
    probe, state = step(probe, state)
right = ((vectors @ probe["weights"] + probe["bias"] > 0) == (positive > 0)).mean()
print(f"a linear probe on the frozen network is right in {100 * float(right):.0f} %")
