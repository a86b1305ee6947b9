"""What every model begins with: what a task may read, as tokens of width D and their masks."""

from collections.abc import Mapping
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from haemsa_jax.config import SPEAKERS, NetworkConfig, encoder_name, stem_name
from haemsa_jax.encoders.interface import built, encoder_of
from haemsa_jax.models.layers import Array, Scalar, masked_mean
from haemsa_jax.models.model import Rates
from haemsa_jax.models.stems import Stem
from haemsa_jax.sample import UNKNOWN, Sample
from haemsa_jax.structure import interface
from haemsa_jax.structure.parts import Structure, task_choices, task_masks, task_numbers


class Tokens(NamedTuple):
    """A sample as a model sees it.

    Attributes:
      tokens: per modality that the data set's tasks read float[..., T_m, D], zeros where masked.
      masks: per modality bool[..., T_m], without what the task may not read.
      offsets: per modality int[..., T_m].
      presence: bool[..., U] over the modalities that are built.
      readable: bool[..., U], what the task may read, be it there or not.
    """

    tokens: dict[str, Float[Array, "*batch _tokens width"]]
    masks: dict[str, Bool[Array, "*batch _tokens"]]
    offsets: dict[str, Int[Array, "*batch _tokens"]]
    presence: Bool[Array, "*batch modalities"]
    readable: Bool[Array, "*batch modalities"]


class Inputs(nn.Module):
    """Stems of all data sets and the encoders of raw input that are within.

    Meant to share the scope of the model that has it (`nn.share_scope`), so that stems are named
    alike in all models.
    """

    config: NetworkConfig

    def setup(self):
        config = self.config
        self.stems = {
            (dataset, m): Stem(config, name=stem_name(dataset, m))
            for dataset in config.widths
            for m in config.stems_of(dataset)
        }
        self.encoders = {m: built(config, m) for m in config.encoded()}
        # Encoders differ tenfold in the scale of their vectors.
        self.encoder_norms = {
            m: nn.LayerNorm(use_scale=False, use_bias=False, name=f"norm_of_{encoder_name(m)}")
            for m in config.encoded()
        }

    def __call__(
        self,
        sample: Sample,
        structure: Structure,
        rates: Rates,
        dataset: str,
        longest: Mapping[str, Int[Array, ""]] | None = None,
    ) -> Tokens:
        """Tokens of one data set's samples, with any leading axes."""
        config = self.config
        names, built = config.stems_of(dataset), config.built_modalities
        # What the task may not read is, for it, absent: masked before anything else.
        readable = task_masks(config, structure, "modalities", built)[sample.task] > 0
        masks = {m: sample.masks[m] & readable[..., built.index(m), None] for m in names}
        if any(config.context_of(dataset)):
            past, future = (
                task_numbers(config, structure, side)[sample.task][..., None]
                for side in ("past", "future")
            )
            for m, mask in masks.items():
                offset = sample.offsets[m]
                masks[m] = mask & (-offset <= past) & (offset <= future)
        features = dict(sample.features)
        for m in config.encoded(dataset):
            vectors = encoder_of(config.encoders[m]).encode(
                self.encoders[m],
                features[m],
                masks[m],
                dropout=rates.encoder,
                longest=(longest or {}).get(m),
                marked=sample.offsets[m] == 0,
                adapters=1.0 * jnp.asarray(structure.get(interface.encoder(m), 1.0)),
            )
            features[m] = self.encoder_norms[m](vectors)
        speakers = self._speakers(sample, structure, dataset)
        tokens = {
            m: self.stems[dataset, m](
                features[m], mask, sample.offsets[m], rates.inputs, speakers.get(m)
            )
            for m, mask in masks.items()
        }
        absent = jnp.zeros(sample.task.shape, bool)
        presence = jnp.stack(
            [masks[m].any(axis=-1) if m in masks else absent for m in built], axis=-1
        )
        offsets = {m: sample.offsets[m] for m in names}
        return Tokens(tokens, masks, offsets, presence, readable)

    def _speakers(self, sample: Sample, structure: Structure, dataset: str) -> dict[str, Array]:
        """Of the context, per modality int[..., T_m]; nothing where no task is told."""
        config = self.config
        if not config.reads_speakers(dataset):
            return {}
        read = task_choices(config, structure, "speakers", SPEAKERS[-1])[sample.task]
        return {
            m: jnp.where(
                read[..., None] & (sample.offsets[m] != 0), sample.speakers.get(m, UNKNOWN), UNKNOWN
            )
            for m in config.stems_of(dataset)
        }


def pooled(inputs: Tokens, m: str) -> Float[Array, "*batch width"]:
    """Mean token of the target's utterance plus that of all that is read; zeros where absent."""
    tokens, mask = inputs.tokens[m], inputs.masks[m]
    return masked_mean(tokens, mask & (inputs.offsets[m] == 0)) + masked_mean(tokens, mask)


def utterances(
    inputs: Tokens, config: NetworkConfig, dataset: str, steps: Scalar = 1, most: int = 1
) -> tuple[
    dict[str, Float[Array, "*batch steps width"]],
    dict[str, Bool[Array, "*batch steps"]],
]:
    """The window utterance by utterance, each of them cut into steps that all modalities share.

    Args:
      inputs: tokens of samples.
      config: the network's.
      dataset: whose samples they are.
      steps: int[], into how many steps of about as many tokens an utterance is cut.
      most: what `steps` is at most; the steps beyond are empty.

    Returns:
      By modality that is built the mean token of each step, float[..., U * most, D], and whether
      there is any; zeros where there is none.
    """
    past, future = config.context_of(dataset)
    offsets, leading = np.arange(-past, future + 1), inputs.presence.shape[:-1]
    count = len(offsets) * most
    vectors = {m: jnp.zeros((*leading, count, config.width)) for m in config.built_modalities}
    known = {m: jnp.zeros((*leading, count), bool) for m in config.built_modalities}
    for m, tokens in inputs.tokens.items():
        own = inputs.masks[m][..., None, :] & (inputs.offsets[m][..., None, :] == offsets[:, None])
        if most > 1:
            place, total = jnp.cumsum(own, axis=-1) - 1, own.sum(axis=-1, keepdims=True)
            step = place * steps // jnp.maximum(total, 1)
            own = own[..., None, :] & (step[..., None, :] == np.arange(most)[:, None])
            own = own.reshape(*leading, count, -1)
        vectors[m], known[m] = masked_mean(tokens[..., None, :, :], own), own.any(axis=-1)
    return vectors, known
