"""The word that data and models share: a sample on the device."""

import jax
from flax import struct
from jaxtyping import Bool, Float, Int

UNKNOWN, SAME, OTHER = range(3)  # who speaks: the speaker of the target, or another


class Sample(struct.PyTreeNode):
    """What the network reads, for one sample or, with leading axes, any batch of them.

    Attributes:
      features: per modality float[..., T_m, d_m], raw scale.
      masks: per modality bool[..., T_m]; a modality without a token is absent.
      offsets: per modality int[..., T_m]: 0 for the target's tokens, -1 for the utterance before.
      task: int[...], place of the asked task on the task axis.
      speakers: per modality int[..., T_m], `SAME`, `OTHER` or `UNKNOWN` for the speaker of each
        token; empty where no speaker of the data set is known.
    """

    features: dict[str, Float[jax.Array, "*batch _tokens _features"]]
    masks: dict[str, Bool[jax.Array, "*batch _tokens"]]
    offsets: dict[str, Int[jax.Array, "*batch _tokens"]]
    task: Int[jax.Array, "*batch"]
    speakers: dict[str, Int[jax.Array, "*batch _tokens"]] = struct.field(default_factory=dict)
