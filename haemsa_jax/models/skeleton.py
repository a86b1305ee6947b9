"""What models share that join modalities in one vector: inputs before, heads behind."""

from collections.abc import Mapping
from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Int

from haemsa_jax.config import NetworkConfig
from haemsa_jax.models.heads import Readout
from haemsa_jax.models.inputs import Inputs, Tokens
from haemsa_jax.models.layers import Array, Dropout
from haemsa_jax.models.model import Outputs, Rates
from haemsa_jax.sample import Sample
from haemsa_jax.structure.parts import Structure


@dataclass(frozen=True)
class JoiningConfig(NetworkConfig):
    """Of a model that derives from `Joining`."""

    @property
    def representations(self) -> tuple[str, ...]:
        """Names of what `Outputs.representations` offers."""
        return ("summaries",)


class Joining(nn.Module):
    """A model; what derives from it declares its parts and says how modalities are joined."""

    config: JoiningConfig

    def join(
        self, inputs: Tokens, structure: Mapping[str, Array], rates: Rates, dataset: str
    ) -> tuple[Array, Array, dict[str, Array]]:
        """Of one data set's samples what the heads read, summaries and gates.

        Returns:
          float[..., D]; by modality that is built float[..., U, E], zeros where absent, which heads
          of single modalities read; and the gates that the model declares, float[..., parts].
        """
        raise NotImplementedError

    @nn.compact
    def __call__(
        self,
        sample: Sample,
        structure: Structure,
        rates: Rates,
        dataset: str,
        longest: Mapping[str, Int[Array, ""]] | None = None,
    ) -> Outputs:
        """Run one data set's samples, with any leading axes."""
        chosen = jax.tree.map(jnp.asarray, dict(structure))
        reader, readout = Inputs(self.config, name="inputs"), Readout(self.config, name="readout")
        nn.share_scope(self, reader)
        nn.share_scope(self, readout)
        inputs = reader(sample, chosen, rates, dataset, longest)
        joined, summaries, gates = self.join(inputs, chosen, rates, dataset)
        joined = Dropout()(joined, rates.inner)
        representations = {"summaries": summaries}
        return readout(joined, representations, inputs.presence, gates, rates.inner, dataset)


def powers_of_two(most: int) -> tuple[str, ...]:
    """Labels of a choice: the powers of two below a number, and the number."""
    return (*(str(2**n) for n in range(most.bit_length()) if 2**n < most), str(most))
