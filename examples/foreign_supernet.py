"""Evolution of a supernet that is not ours, with masks, data and a loss of its own.

python examples/foreign_supernet.py
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from haemsa_jax.evolution.search import make_search
from haemsa_jax.evolution.state import Problem, SearchConfig
from haemsa_jax.structure.genes import Gene
from haemsa_jax.structure.table import Table

TABLE = Table(
    (
        Gene("inputs", "inputs", "mask", "what is read", ("signal", "noise", "more noise"), True),
        Gene("units", "width", "mask", "hidden units", tuple(f"h{i}" for i in range(6)), True),
        Gene("activation", "width", "choice", "nonlinearity", ("none", "relu", "square")),
        Gene("rate", "training", "scale", "learning rate", low=1e-3, high=0.3, log=True),
    )
)
OPTIMISER = optax.trace(0.9)
SAMPLES, FOLDS, BLOCKS = 96, 3, 12
TRAINING = SAMPLES - SAMPLES // FOLDS


class Masked(nn.Module):
    """A perceptron whose inputs and hidden units can be shut."""

    @nn.compact
    def __call__(self, x, inputs, units, activation):
        hidden = nn.Dense(6)(x * inputs)
        kinds = jnp.stack([hidden, nn.relu(hidden), hidden**2])
        return nn.Dense(1)(kinds[activation] * units)[..., 0]


def apply(params, x, said):
    return Masked().apply(params, x, said["inputs"], said["units"], said["activation"])


def make_problem(explosive: float = np.inf) -> Problem:
    """Learning rates over `explosive` turn weights into NaN."""

    def init(key, data):
        said = TABLE.decode(jnp.zeros(TABLE.size))
        params = Masked().init(key, data["x"], said["inputs"], said["units"], said["activation"])
        return params, OPTIMISER.init(params)

    def train(member, genome, data, fold, key, start, count):
        mine = jnp.flatnonzero(data["fold"] != fold, size=TRAINING)
        said = TABLE.decode(genome)

        def loss(params, rows):
            return jnp.mean((apply(params, data["x"][rows], said) - data["y"][rows]) ** 2)

        def body(index, member):
            params, moments = member
            batch = jax.random.fold_in(key, start + index)
            rows = mine[jax.random.randint(batch, (16,), 0, TRAINING)]
            grads, moments = OPTIMISER.update(jax.grad(loss)(params, rows), moments)
            rate = jnp.where(said["rate"] > explosive, jnp.nan, said["rate"])
            clipped = jax.tree.map(lambda g: jnp.clip(g, -1.0, 1.0), grads)
            return jax.tree.map(lambda p, g: p - rate * g, params, clipped), moments

        return jax.lax.fori_loop(0, count, body, member)

    def predict(member, genome, data, fold):
        held_out = jnp.flatnonzero(data["fold"] == fold, size=SAMPLES // FOLDS)
        return apply(member[0], data["x"][held_out], TABLE.decode(genome))

    def judge(predictions, data):
        rows = jnp.argsort(data["fold"], stable=True)  # fold by fold
        wrong, scale = predictions.reshape(-1) - data["y"][rows], jnp.std(data["y"])

        def costs(kept):
            def mean(x):
                return jnp.sum(kept * x) / jnp.sum(kept)

            return jnp.stack([jnp.sqrt(mean(wrong**2)), mean(jnp.abs(wrong))]) / scale

        block = jnp.arange(len(wrong)) % BLOCKS
        kept = block != jnp.arange(-1, BLOCKS)[:, None]  # all, then all but one block
        return jax.vmap(costs)(jnp.float32(kept))

    def size(genome):
        """Weights between what is open, of all."""
        open_ = TABLE.decode(genome)
        return open_["units"].mean() * (1.0 + open_["inputs"].sum()) / 4.0

    return Problem(
        table=TABLE,
        default=TABLE.from_json(
            {"inputs": ["signal", "noise", "more noise"], "units": ["h0", "h1"],
             "activation": "none", "rate": 0.01}
        ),
        objectives=("root mean square", "absolute"),
        init=init,
        train=train,
        predict=predict,
        judge=judge,
        size=size,
        folds=FOLDS,
    )  # fmt: skip


def make_data(seed: int) -> dict[str, jax.Array]:
    """y is the square of one input; the other two are noise."""
    x = jnp.asarray(np.random.default_rng(seed).normal(size=(SAMPLES, 3)), jnp.float32)
    return {"x": x, "y": x[:, 0] ** 2, "fold": jnp.arange(SAMPLES) % FOLDS}


CONFIG = SearchConfig(population=8, generations=6, steps=5, head_start=10, price=0.05)


if __name__ == "__main__":
    found = make_search(make_problem(), CONFIG)(jax.random.key(0), make_data(0))
    print(TABLE.describe(found.genome))
    print(f"fitness {found.history.best[0]:.3f} -> {found.fitness:.3f}")
    print(f"{len(found.ensemble)} together: {found.ensemble_costs.mean():.3f}")
