"""Level 4: one head a task, and a light one per task and modality."""

import flax.linen as nn
import jax.numpy as jnp

from haemsa_jax.models.layers import Array, Dense, Dropout


class Head(nn.Module):
    """From a summary to a task's raw output.

    The collection `constants` holds `offset` and `scale`, float[C]: training mean and standard
    deviation of a regression's labels, log-odds of the classes otherwise. An untrained head thus
    predicts what a constant would, and losses of tasks on different scales are comparable.

    Attributes:
      outputs: C.
      hidden: width of the hidden layer; 0 for a linear head.
    """

    outputs: int
    hidden: int = 0

    @nn.compact
    def __call__(self, x: Array, dropout: Array | float) -> Array:
        """float[..., D] -> float[..., C]: label units for a regression, logits otherwise."""
        offset = self.variable("constants", "offset", jnp.zeros, self.outputs).value
        scale = self.variable("constants", "scale", jnp.ones, self.outputs).value
        if self.hidden:
            x = Dropout()(nn.gelu(Dense(self.hidden)(x)), dropout)
        small = nn.initializers.variance_scaling(0.01, "fan_in", "truncated_normal")
        return offset + scale * Dense(self.outputs, kernel_init=small)(x)
