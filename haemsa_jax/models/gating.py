"""Gates: how much each expert that the architecture allows is heard, for this sample."""

import flax.linen as nn

from haemsa_jax.models.layers import Array, Dense, masked_softmax


class Gate(nn.Module):
    """Softmax gate over a bank.

    It starts at zero logits: all allowed experts are heard alike, and learning tells them apart.
    """

    experts: int

    @nn.compact
    def __call__(self, view: Array, allowed: Array, sharpness: Array) -> Array:
        """float[..., S], {0, 1}[E], float[] -> weights float[..., E], summing to 1."""
        logits = Dense(self.experts, kernel_init=nn.initializers.zeros)(view)
        return masked_softmax(sharpness * logits, allowed)


class TaskGate(nn.Module):
    """One softmax gate a task over one shared bank (Ma et al. 2018, multi-gate experts)."""

    tasks: int
    experts: int

    @nn.compact
    def __call__(self, view: Array, task: Array, allowed: Array, sharpness: Array) -> Array:
        """float[..., S], int[...], {0, 1}[..., E], float[] -> weights float[..., E]."""
        logits = Dense(self.tasks * self.experts, kernel_init=nn.initializers.zeros)(view)
        logits = logits.reshape(*logits.shape[:-1], self.tasks, self.experts)
        own = nn.one_hot(task, self.tasks, dtype=logits.dtype)
        return masked_softmax(sharpness * (logits * own[..., None]).sum(axis=-2), allowed)
