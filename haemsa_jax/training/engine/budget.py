"""How large steps are and how long a training lasts, from the size of the data."""

import dataclasses
from collections.abc import Mapping

from haemsa_jax.config import TrainConfig
from haemsa_jax.config.checks import require
from haemsa_jax.training.engine.drawing import batch_sizes, steps_per_epoch, usual_batch

EPOCHS = 12  # what plain training wants of data that are not few
# Steps. A hint rather than a measurement: 72 generated samples, on which 306 were no better than a
# ridge regression and 900 were, looked at on test.
FEWEST = 900
VALIDATIONS = 30
MOST_STEPS = 100_000_000


def fitted(config: TrainConfig, counts: Mapping[str, int], devices: int = 1) -> TrainConfig:
    """The training with numbers for whatever follows the size of the data; the others stay.

    Args:
      config: `batch_size`, `epochs` and `evaluate_every` are 0 where they follow the data.
      counts: labelled training samples of every task.
      devices: of which the batch size is a multiple.

    Raises:
      InputError: there would be more than `MOST_STEPS` steps.
    """
    batch = config.batch_size or usual_batch(counts, devices)
    config = dataclasses.replace(config, batch_size=batch)
    per_epoch = steps_per_epoch(counts, batch_sizes(counts, config, devices))
    epochs = config.epochs or max(EPOCHS, -(-FEWEST // per_epoch))
    every = config.evaluate_every or max(1, epochs // VALIDATIONS)
    require(
        epochs * per_epoch <= MOST_STEPS,
        f"training: epochs={epochs} of {per_epoch:,} steps each are more than {MOST_STEPS:,} steps",
    )
    return dataclasses.replace(config, epochs=epochs, evaluate_every=every)
