"""Drawing batches: places enciphered as in training, beside slices of a shuffled array.

  python -m benchmarks.batches [--counts=1500,7244,16274] [--seeds=5]

The array is jax.random.permutation's, of this epoch and the next, since a batch may cross the
border. Both are compiled, for all seeds at once. All figures are of one run.
"""

import time

import jax
import jax.numpy as jnp
from absl import app, flags

from benchmarks.timing import median_seconds
from haemsa_jax.data.batches import shuffled_positions

_COUNTS = flags.DEFINE_list("counts", [1500, 7244, 16274], "Samples of the task.")
_SEEDS = flags.DEFINE_integer("seeds", 5, "Networks side by side.")
_BATCH = flags.DEFINE_integer("batch_size", 32, "Samples a step.")
MANY = 50  # calls a measurement


def sliced(key, step, size: int, count: int):
    """The same from two shuffled arrays; `size` is at most `count`."""
    start = step * size
    epochs = start // count + jnp.arange(2)
    orders = [jax.random.permutation(jax.random.fold_in(key, epoch), count) for epoch in epochs]
    return jax.lax.dynamic_slice(jnp.concatenate(orders), (start % count,), (size,))


def main(argv: list[str]) -> None:
    del argv
    keys = jax.random.split(jax.random.key(0), _SEEDS.value)
    steps = jnp.arange(_SEEDS.value)
    print(f"jax {jax.__version__} on {jax.local_devices()[0].device_kind}, {_SEEDS.value} seeds")
    print(f"{'samples':>9}{'enciphered, ms':>16}{'shuffled, ms':>14}{'compiling, s':>18}")
    for count in map(int, _COUNTS.value):
        took, compiling = [], []
        for draw in (shuffled_positions, sliced):
            size = _BATCH.value
            run = jax.jit(jax.vmap(lambda k, s, f=draw, n=count, b=size: f(k, s, b, n)))
            start = time.perf_counter()
            jax.block_until_ready(run(keys, steps))
            compiling.append(time.perf_counter() - start)
            seconds = median_seconds(
                lambda run=run: [jax.block_until_ready(run(keys, steps)) for _ in range(MANY)]
            )
            took.append(seconds / MANY * 1e3)
        print(f"{count:9}{took[0]:16.3f}{took[1]:14.2f}{compiling[0]:9.1f}{compiling[1]:9.1f}")


if __name__ == "__main__":
    app.run(main)
