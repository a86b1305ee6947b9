"""The network: stems, local experts, cross-modal links, shared parts, global experts, heads.

    (parameters, constants, architecture, sample) -> Outputs

A pure function of arrays. All modules take any leading axes; training maps it over samples so that
every sample has its own random key and results do not depend on how a batch is cut over devices.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from haemsa_jax.config import NetworkConfig, head_name, stem_name
from haemsa_jax.models.architecture import Architecture, default_architecture
from haemsa_jax.models.encoder import Encoder, encode_prefix, split_adapters
from haemsa_jax.models.experts import LocalBank
from haemsa_jax.models.fusion import Fusion
from haemsa_jax.models.heads import Head
from haemsa_jax.models.layers import Array, Dropout, places, spread
from haemsa_jax.models.sharing import Imputer, SpecificPath, TwoParts
from haemsa_jax.models.stems import Stem
from haemsa_jax.models.transfer import Links, Summary, presence_of
from haemsa_jax.sample import Sample


@struct.dataclass
class Rates:
    """Dropout rates, float[] each; without a `dropout` random stream they do nothing."""

    inner: Array | float = 0.0
    inputs: Array | float = 0.0
    encoder: Array | float = 0.0


@struct.dataclass
class Outputs:
    """What the network says, and what a person wants to look at.

    Attributes:
      predictions: per task id of the data set float[..., C]: label units for a regression, logits
        otherwise. It is meant for the samples whose `task` it is.
      auxiliary: per task id float[..., M, C], the same from each modality alone.
      presence: bool[..., M], modalities that were there and that the task may read.
      local_gates: float[..., M, L, E], zeros for an absent modality.
      link_weights: float[..., M, M], target by source.
      fusion_gates: float[..., F].
      specific_gates: float[..., M], how much of each specific part is heard past the global
        experts; zeros where summaries are not split.
      summaries: float[..., M, D], zeros for an absent modality.
      shared, specific: float[..., M, D], their two parts, likewise.
      guesses: float[..., M, D], every shared part as guessed from those of the other modalities;
        zeros where none is.
      joined: float[..., D].
    """

    predictions: dict[str, Array]
    auxiliary: dict[str, Array]
    presence: Array
    local_gates: Array
    link_weights: Array
    fusion_gates: Array
    specific_gates: Array
    summaries: Array
    shared: Array
    specific: Array
    guesses: Array
    joined: Array


ENCODER = "encoder"


class Haemsa(nn.Module):
    """Hierarchical adaptive experts over any set of modalities, data sets and tasks."""

    config: NetworkConfig

    def setup(self):
        config = self.config
        self.stems = {
            (dataset, modality): Stem(config, name=stem_name(dataset, modality))
            for dataset in config.widths
            for modality in config.stems_of(dataset)
        }
        if any(config.encodes(dataset) for dataset in config.widths):
            self.encoder = Encoder(
                config.text.shapes, config.text.rank if config.adapts else 0,
                config.text.precision, config.marks, name=ENCODER,
            )  # fmt: skip
            # Encoders differ tenfold in the scale of what they say.
            self.encoder_norm = nn.LayerNorm(use_scale=False, use_bias=False)
        self.banks = {
            (modality, layer): LocalBank(config, experts, name=f"local_{modality}_{layer}")
            for modality, blocks in config.built.local.items()
            for layer, experts in enumerate(blocks)
        }
        self.links = Links(config, name="links")
        self.summaries = {
            modality: Summary(config, name=f"summary_{modality}")
            for modality in config.built_modalities
        }
        if config.splits:
            self.parts = TwoParts(config, name="parts")
        if config.built.specific:
            self.specific_path = SpecificPath(config, name="specific")
        if config.built.imputed:
            self.imputer = Imputer(config, name="imputer")
        self.fusion = Fusion(config, name="fusion")
        self.queries = self.param(
            "queries",
            nn.initializers.normal(config.width**-0.5),
            (len(config.tasks), config.width),
        )
        self.dropout = Dropout()
        self.heads = {
            task_id: Head(task.outputs, config.width, name=head_name(task_id))
            for task_id, task in config.tasks.items()
        }
        self.modality_heads = {
            (task_id, modality): Head(task.outputs, name=head_name(task_id, modality))
            for task_id, task in config.tasks.items()
            for modality in config.built.modalities[task_id]
        }

    def __call__(
        self, sample: Sample, architecture: Architecture, rates: Rates, dataset: str,
        longest: Array | None = None,
    ) -> Outputs:  # fmt: skip
        """Run one data set's samples.

        Args:
          sample: with any leading axes.
          architecture: what is open.
          rates: of dropout.
          dataset: which stems and heads are meant.
          longest: int[], no sample has more text tokens; saves a text encoder work.
        """
        # Loaded ones are NumPy's, which a traced task could not index.
        architecture = jax.tree.map(jnp.asarray, architecture)
        # What the task may not read is, for it, absent: masked before anything else.
        config, readable = self.config, architecture.modalities[sample.task]
        masks = {
            m: sample.masks[m] & (readable[..., config.modalities.index(m), None] > 0)
            for m in config.stems_of(dataset)
        }
        if any(config.context_of(dataset)):
            past, future = jnp.moveaxis(architecture.context[sample.task], -1, 0)[..., None]
            for m, mask in masks.items():
                offset = sample.offsets[m]
                masks[m] = mask & (-offset <= past) & (offset <= future)
        presence = presence_of(masks, config.built_modalities)
        query = jnp.asarray(self.queries)[sample.task]
        situation = jnp.concatenate([presence.astype(query.dtype), query], axis=-1)

        features = dict(sample.features)
        if config.encodes(dataset) and "text" in masks:
            ids = features["text"][..., 0].astype(jnp.int32)
            said = encode_prefix(
                self.encoder, ids, masks["text"], rates.encoder, longest,
                sample.offsets["text"] == 0, architecture.adapters,
            )  # fmt: skip
            features["text"] = self.encoder_norm(said)
        tokens = {
            m: self.stems[dataset, m](features[m], mask, sample.offsets[m], rates.inputs)
            for m, mask in masks.items()
        }
        tokens, local_gates = self._local(tokens, masks, situation, presence, architecture, rates)
        tokens, link_weights = self.links(
            tokens, masks, situation, architecture.links, architecture.sharpness[1], rates.inner
        )
        summaries = {m: self.summaries[m](tokens[m], masks[m], sample.offsets[m]) for m in tokens}
        summaries = self._stack(summaries, presence)
        upward, known, shared, specific, guesses = self._share(
            summaries, presence, readable, architecture, dataset
        )
        joined, fusion_gates = self.fusion(
            upward, known, situation, sample.task, query,
            architecture.fusion[sample.task], architecture.sharpness[2],
        )  # fmt: skip
        specific_gates = jnp.zeros((*presence.shape[:-1], len(config.modalities)))
        if config.built.specific:
            own, specific_gates = self.specific_path(
                specific, presence, situation, architecture.specific[sample.task]
            )
            joined = joined + own
        joined = self.dropout(joined, rates.inner)
        predictions, auxiliary = {}, {}
        there = places(config.built_modalities, config.modalities)
        presence = spread(presence, there, len(config.modalities))
        summaries, shared, specific, guesses = (
            spread(x, there, len(config.modalities), axis=-2)
            for x in (summaries, shared, specific, guesses)
        )
        for task_id in config.tasks_of(dataset):
            predictions[task_id] = self.heads[task_id](joined, rates.inner)
            auxiliary[task_id] = self._alone(task_id, summaries, rates)
        return Outputs(
            predictions, auxiliary, presence, local_gates, link_weights, fusion_gates,
            specific_gates, summaries, shared, specific, guesses, joined,
        )  # fmt: skip

    def _local(self, tokens, masks, situation, presence, architecture, rates):
        """Level 1 on every modality there is; gate weights as float[..., M, L, E]."""
        silent = jnp.zeros((*presence.shape[:-1], architecture.local.shape[-1]))
        gates = []
        for index, modality in enumerate(self.config.modalities):
            for layer in range(self.config.depth):
                if modality not in tokens or (modality, layer) not in self.banks:
                    gates.append(silent)
                    continue
                active = architecture.depth[index, layer]
                tokens[modality], weights = self.banks[modality, layer](
                    tokens[modality], masks[modality], situation, architecture.local[index, layer],
                    architecture.sharpness[0], active, rates.inner,
                )  # fmt: skip
                there = masks[modality].any(axis=-1, keepdims=True)
                gates.append(weights * there * active)
        stacked = jnp.stack(gates, axis=-2)
        shape = (len(self.config.modalities), self.config.depth, stacked.shape[-1])
        return tokens, stacked.reshape(*stacked.shape[:-2], *shape)

    def _stack(self, summaries, presence):
        """One vector a modality that is built, float[..., U, D]; zeros where absent."""
        empty = jnp.zeros((*presence.shape[:-1], self.config.width))
        rows = [summaries.get(m, empty) for m in self.config.built_modalities]
        return jnp.where(presence[..., None], jnp.stack(rows, axis=-2), 0.0)

    def _share(self, summaries, presence, readable, architecture, dataset):
        """What the global experts read and of which modalities, and the parts of summaries."""
        config, nothing = self.config, jnp.zeros_like(summaries)
        if not config.splits:
            return summaries, presence, nothing, nothing, nothing
        shared, specific = self.parts(summaries, presence)
        if not config.built.imputed:
            return shared, presence, shared, specific, nothing
        # What a guess reads learns nothing from it: or audio would learn to sound like the text.
        guesses = self.imputer(jax.lax.stop_gradient(shared), presence)
        # Guessed is what the data set has and the task may read, but is not there.
        here = np.array([m in config.stems_of(dataset) for m in config.built_modalities])
        there = places(config.built_modalities, config.modalities)
        wanted = here & (readable[..., there] > 0) & (architecture.imputed[there] > 0)
        guessed = ~presence & wanted & presence.any(axis=-1, keepdims=True)
        upward = jnp.where(guessed[..., None], guesses, shared)
        return upward, presence | guessed, shared, specific, guesses

    def _alone(self, task_id, summaries, rates):
        """What each modality alone would say, float[..., M, C]; zeros where there is none."""
        empty = jnp.zeros((*summaries.shape[:-2], self.config.tasks[task_id].outputs))
        said = [
            self.modality_heads[task_id, m](summaries[..., index, :], rates.inner)
            if (task_id, m) in self.modality_heads
            else empty
            for index, m in enumerate(self.config.modalities)
        ]
        return jnp.stack(said, axis=-2)


def init_variables(network: Haemsa, key: Array) -> tuple[dict, dict]:
    """Fresh parameters and the constants' placeholders, for all data sets of the network.

    Pure; under `jit` only the initialisers are compiled. `variables_of` puts both together for
    `Haemsa.apply`.
    """

    def visit(module):
        for dataset, widths in network.config.widths.items():
            sample = Sample(
                features={m: jnp.zeros((1, width)) for m, width in widths.items()},
                masks={m: jnp.ones(1, bool) for m in widths},
                offsets={m: jnp.zeros(1, jnp.int32) for m in widths},
                task=jnp.zeros((), jnp.int32),
            )
            module(sample, default_architecture(network.config), Rates(), dataset)

    variables = network.init({"params": key}, method=visit)
    params, constants = dict(variables["params"]), dict(variables["constants"])
    if network.config.adapts:
        adapters, constants[ENCODER] = split_adapters(params.pop(ENCODER))
        params |= {ENCODER: adapters} if adapters else {}
    return params, constants


def variables_of(params: Mapping[str, Any], constants: Mapping[str, Any]) -> dict[str, Any]:
    """What `Haemsa.apply` takes; an adapted encoder's own weights are constants until here."""
    if ENCODER not in constants:
        return {"params": params, "constants": constants}
    rest = {name: value for name, value in constants.items() if name != ENCODER}
    whole = {**params, ENCODER: overlaid(constants[ENCODER], params.get(ENCODER, {}))}
    return {"params": whole, "constants": rest}


def overlaid(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """A tree of arrays in which those of another take their places, or are added."""
    merged = dict(below)
    for name, value in above.items():
        nested = isinstance(value, Mapping) and name in below
        merged[name] = overlaid(below[name], value) if nested else value
    return merged
