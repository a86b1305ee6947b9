"""One gated bank of local experts in a Linen model of one's own: python examples/expert_bank.py"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from haemsa_jax.models.haemsa.experts import LocalBank, Shapes


class Mine(nn.Module):
    """Tokens float[B, T, d] with a mask bool[B, T] to a number, and what the experts' gate says."""

    @nn.compact
    def __call__(self, tokens, mask):
        hidden = nn.Dense(16)(tokens) * mask[..., None]
        hidden, gate = LocalBank(Shapes(width=16))(hidden, mask)
        pooled = (hidden * mask[..., None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
        return nn.Dense(1)(pooled)[:, 0], gate


rng = np.random.default_rng(0)
tokens = rng.normal(size=(256, 7, 5)).astype(np.float32)
mask = np.arange(7) < rng.integers(2, 8, (256, 1))
target = tokens[:, 0, 0] * tokens[:, 1, 0]  # of two neighbours: no token says it alone

model, optimiser = Mine(), optax.adam(3e-3)
params = jax.jit(model.init)(jax.random.key(0), tokens, mask)
state = optimiser.init(params)


@jax.jit
def step(params, state):
    def loss(params):
        return jnp.mean((model.apply(params, tokens, mask)[0] - target) ** 2)

    value, grads = jax.value_and_grad(loss)(params)
    updates, state = optimiser.update(grads, state)
    return optax.apply_updates(params, updates), state, value


first = None
for _ in range(150):
    params, state, value = step(params, state)
    first = value if first is None else first
gate = jax.jit(model.apply)(params, tokens, mask)[1].mean(axis=0)
names = ("pointwise", "convolution", "attention", "recurrence")
print(f"loss {first:.2f} -> {value:.2f}")
print("heard:", ", ".join(f"{name} {weight:.2f}" for name, weight in zip(names, gate, strict=True)))
