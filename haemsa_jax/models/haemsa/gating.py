"""Gates: how much each expert that the structure allows weighs, for this sample."""

import flax.linen as nn
from jaxtyping import Float, Int

from haemsa_jax.models.layers import Array, Dense, Scalar, masked_softmax
from haemsa_jax.structure.axes import Axis, each, outer


class Gate(nn.Module):
    """Softmax gate over a bank.

    It starts at zero logits: all allowed experts weigh the same, and learning tells them apart.

    Attributes:
      experts: names of the parts that it weighs.
      rows: segments of what it sees.
    """

    experts: tuple[str, ...]
    rows: Axis = ()

    @nn.compact
    def __call__(
        self,
        view: Float[Array, "*batch view"],
        allowed: Float[Array, " experts"],
        sharpness: Scalar,
    ) -> Float[Array, "*batch experts"]:
        """float[..., S], {0, 1}[E], float[] -> weights float[..., E], summing to 1."""
        logits = Dense(
            len(self.experts),
            kernel_init=nn.initializers.zeros,
            rows=self.rows,
            columns=each(self.experts),
            name="logits",
        )(view)
        return masked_softmax(sharpness * logits, allowed)


class TaskGate(nn.Module):
    """One softmax gate a task over one shared bank (Ma et al. 2018, multi-gate experts).

    Attributes:
      tasks, experts: names of the parts.
      rows: segments of what it sees.
    """

    tasks: tuple[str, ...]
    experts: tuple[str, ...]
    rows: Axis = ()

    @nn.compact
    def __call__(
        self,
        view: Float[Array, "*batch view"],
        task: Int[Array, "*batch"],
        allowed: Float[Array, "*batch experts"],
        sharpness: Scalar,
    ) -> Float[Array, "*batch experts"]:
        """float[..., S], int[...], {0, 1}[..., E], float[] -> weights float[..., E]."""
        tasks, experts = len(self.tasks), len(self.experts)
        logits = Dense(
            tasks * experts,
            kernel_init=nn.initializers.zeros,
            rows=self.rows,
            columns=outer(self.tasks, self.experts),
            name="logits",
        )(view)
        logits = logits.reshape(*logits.shape[:-1], tasks, experts)
        own = nn.one_hot(task, tasks, dtype=logits.dtype)
        return masked_softmax(sharpness * (logits * own[..., None]).sum(axis=-2), allowed)
