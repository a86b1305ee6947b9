"""What models share that join modalities in one vector: inputs before, heads behind."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

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


class Joined(NamedTuple):
    """What a model makes of its inputs.

    Attributes:
      joined: float[..., D], what the heads read.
      summaries: by modality that is built float[..., U, E], zeros where absent, which heads of
        single modalities read.
      gates: those that the model declares, float[..., parts].
      alike: other representations by name, of modalities as summaries are.
      others: representations by name that are of no single modality.
    """

    joined: Array
    summaries: Array
    gates: Mapping[str, Array] = {}
    alike: Mapping[str, Array] = {}
    others: Mapping[str, Array] = {}


class Joining(nn.Module):
    """A model; what derives from it declares its parts and says how modalities are joined."""

    config: JoiningConfig

    def join(
        self, inputs: Tokens, structure: Mapping[str, Array], rates: Rates, dataset: str
    ) -> Joined | tuple:
        """`Joined`, or the first of it, of one data set's samples."""
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
        own = Joined(*self.join(inputs, chosen, rates, dataset))
        joined = Dropout()(own.joined, rates.inner)
        alike = {"summaries": own.summaries, **own.alike}
        out = readout(joined, alike, inputs.presence, dict(own.gates), rates.inner, dataset)
        return out.replace(representations={**out.representations, **own.others})


def by_modality(
    inputs: Tokens, config: NetworkConfig, of: Mapping[str, Float[Array, "*batch width"]]
) -> Float[Array, "*batch modalities width"]:
    """Vectors of the modalities that are built, side by side; zeros where absent."""
    empty = jnp.zeros((*inputs.presence.shape[:-1], config.width))
    rows = [of.get(m, empty) for m in config.built_modalities]
    return jnp.where(inputs.presence[..., None], jnp.stack(rows, axis=-2), 0.0)


def powers_of_two(most: int) -> tuple[str, ...]:
    """Labels of a choice: the powers of two below a number, and the number."""
    return (*(str(2**n) for n in range(most.bit_length()) if 2**n < most), str(most))
