"""Level 4: one head a task, and a light one per task and modality."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Bool, Float

from haemsa_jax.config import NetworkConfig, head_name
from haemsa_jax.models.layers import Array, Dense, Dropout, Scalar, places, spread
from haemsa_jax.models.model import Outputs


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
    def __call__(
        self, x: Float[Array, "*batch width"], dropout: Scalar
    ) -> Float[Array, "*batch outputs"]:
        """float[..., D] -> float[..., C]: label units for a regression, logits otherwise."""
        offset = self.variable("constants", "offset", jnp.zeros, self.outputs).value
        scale = self.variable("constants", "scale", jnp.ones, self.outputs).value
        if self.hidden:
            x = Dropout()(nn.gelu(Dense(self.hidden, name="hidden")(x)), dropout)
        small = nn.initializers.variance_scaling(0.01, "fan_in", "truncated_normal")
        return offset + scale * Dense(self.outputs, kernel_init=small, name="out")(x)


class Readout(nn.Module):
    """The end of every model: a head per task, a light one per task and modality, the outputs.

    Meant to share the scope of the model that has it (`nn.share_scope`), so that heads are named
    alike in all models.
    """

    config: NetworkConfig

    def setup(self):
        config = self.config
        self.heads = {
            task_id: Head(spec.outputs, config.width, name=head_name(task_id))
            for task_id, spec in config.tasks.items()
        }
        self.modality_heads = {
            (task_id, m): Head(spec.outputs, name=head_name(task_id, m))
            for task_id, spec in config.tasks.items()
            for m in config.reads(task_id)
        }

    def __call__(
        self,
        joined: Float[Array, "*batch width"],
        representations: dict[str, Float[Array, "*batch modalities width"]],
        presence: Bool[Array, "*batch modalities"],
        gates: dict[str, Float[Array, "*batch _parts"]],
        rate: Scalar,
        dataset: str,
    ) -> Outputs:
        """Outputs of one data set's samples.

        Args:
          joined: float[..., D].
          representations: by name float[..., U, D] over the modalities that are built; `summaries`
            must be among them.
          presence: bool[..., U].
          gates: as the model declares them.
          rate: of dropout.
          dataset: which heads are meant.
        """
        config, tasks = self.config, self.config.tasks_of(dataset)
        where = places(config.built_modalities, config.modalities)
        count = len(config.modalities)
        whole = {name: spread(x, where, count, axis=-2) for name, x in representations.items()}
        return Outputs(
            predictions={task_id: self.heads[task_id](joined, rate) for task_id in tasks},
            auxiliary={t: self._alone(t, whole["summaries"], rate) for t in tasks},
            presence=spread(presence, where, count),
            gates=gates,
            representations={**whole, "joined": joined},
        )

    def _alone(self, task_id: str, summaries: Array, rate: Scalar) -> Array:
        """Predictions of each modality alone, float[..., M, C]; zeros where there is none."""
        empty = jnp.zeros((*summaries.shape[:-2], self.config.tasks[task_id].outputs))
        rows = [
            self.modality_heads[task_id, m](summaries[..., index, :], rate)
            if (task_id, m) in self.modality_heads
            else empty
            for index, m in enumerate(self.config.modalities)
        ]
        return jnp.stack(rows, axis=-2)
