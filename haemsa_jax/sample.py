"""The word that data and models share: a sample on the device."""

import jax
from flax import struct


class Sample(struct.PyTreeNode):
    """What the network reads, for one sample or, with leading axes, any batch of them.

    Attributes:
      features: per modality float[..., T_m, d_m], raw scale.
      masks: per modality bool[..., T_m]; a modality without a token is absent.
      offsets: per modality int[..., T_m]: 0 for the target's tokens, -1 for the utterance before.
      task: int[...], place of the asked task on the task axis.
    """

    features: dict[str, jax.Array]
    masks: dict[str, jax.Array]
    offsets: dict[str, jax.Array]
    task: jax.Array
