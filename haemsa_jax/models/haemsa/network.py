"""HAEMSA: stems, local experts, cross-modal links, shared parts, global experts, heads.

    (parameters, constants, structure, sample) -> Outputs

A pure function of arrays. All modules take any leading axes; training maps it over samples so that
every sample has its own random key and results do not depend on how a batch is cut over devices.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from haemsa_jax.models.haemsa import declaration
from haemsa_jax.models.haemsa.config import HaemsaConfig
from haemsa_jax.models.haemsa.cross_modal import Links, Summary
from haemsa_jax.models.haemsa.experts import LocalBank
from haemsa_jax.models.haemsa.fusion import Fusion, fold_missing
from haemsa_jax.models.haemsa.registries import EXPERTS, choices
from haemsa_jax.models.haemsa.sharing import Imputer, SpecificPath, TwoParts
from haemsa_jax.models.heads import Readout
from haemsa_jax.models.inputs import Inputs
from haemsa_jax.models.layers import Array, Dropout, places
from haemsa_jax.models.model import Outputs, Rates, register
from haemsa_jax.sample import Sample
from haemsa_jax.structure.axes import Axis, each
from haemsa_jax.structure.interface import task
from haemsa_jax.structure.parts import Declaration, Structure, task_masks


@register
class Haemsa(nn.Module):
    """Hierarchical adaptive experts over any set of modalities, data sets and tasks."""

    config: HaemsaConfig

    @staticmethod
    def declare(config: HaemsaConfig) -> Declaration:
        """Genes, parts and gates of a configuration."""
        return declaration.declare(config)

    @staticmethod
    def fold(config: HaemsaConfig, small: HaemsaConfig, params: dict[str, Any]) -> dict[str, Any]:
        """Parameters with the constant contribution of removed modalities folded in."""
        return {**params, "fusion": fold_missing(config, small, params["fusion"])}

    def param_axes(self) -> dict[str, tuple[Axis, ...]]:
        """Segments of the tasks' queries."""
        return {"queries": (each(map(task, self.config.tasks)),)}

    def setup(self):
        config = self.config
        self.inputs, self.readout = Inputs(config), Readout(config)
        nn.share_scope(self, self.inputs)
        nn.share_scope(self, self.readout)
        situation = declaration.situation_axis(config)
        self.banks = {
            (m, layer): LocalBank(
                config,
                experts,
                tuple(f"local/{m}/{layer}/{name}" for name in experts),
                situation,
                name=declaration.block_module(m, layer),
            )
            for m in config.built_modalities
            for layer, experts in enumerate(config.blocks(m))
        }
        self.links = Links(config, name="links")
        self.summaries = {m: Summary(config, name=f"summary_{m}") for m in config.built_modalities}
        if config.splits:
            self.parts = TwoParts(config, name="parts")
        if config.built_specific:
            self.specific_path = SpecificPath(config, name="specific")
        if config.imputed:
            self.imputer = Imputer(config, name="imputer")
        self.fusion = Fusion(config, name="fusion")
        self.queries = self.param(
            "queries",
            nn.initializers.normal(config.width**-0.5),
            (len(config.tasks), config.width),
        )
        self.dropout = Dropout()

    def __call__(
        self,
        sample: Sample,
        structure: Structure,
        rates: Rates,
        dataset: str,
        longest: Mapping[str, Int[Array, ""]] | None = None,
    ) -> Outputs:
        """Run one data set's samples.

        Args:
          sample: with any leading axes.
          structure: what is open.
          rates: of dropout.
          dataset: which stems and heads are meant.
          longest: by modality int[], no sample has more tokens; saves an encoder work.
        """
        config = self.config
        # Loaded ones are NumPy's, which a traced task could not index.
        structure = jax.tree.map(jnp.asarray, dict(structure))
        inputs = self.inputs(sample, structure, rates, dataset, longest)
        presence, masks = inputs.presence, inputs.masks
        query = jnp.asarray(self.queries)[sample.task]
        situation = jnp.concatenate([presence.astype(query.dtype), query], axis=-1)
        tokens, gates = self._local(inputs.tokens, masks, situation, structure, rates)
        tokens, links = self.links(tokens, masks, situation, structure, rates.inner)
        if config.links:
            gates["links"] = links
        summaries = {m: self.summaries[m](tokens[m], masks[m], inputs.offsets[m]) for m in tokens}
        summaries = self._stack(summaries, presence)
        upward, known, parts = self._share(summaries, inputs, structure, dataset)
        operators = config.built_operators
        joined, gates["fusion"] = self.fusion(
            upward,
            known,
            situation,
            sample.task,
            query,
            task_masks(config, structure, "fusion", operators)[sample.task],
            structure,
        )
        if config.built_specific:
            allowed = task_masks(config, structure, "specific", config.built_specific)
            own, gates["specific"] = self.specific_path(
                parts["specific"], presence, situation, allowed[sample.task]
            )
            joined = joined + own
        joined = self.dropout(joined, rates.inner)
        representations = {"summaries": summaries, **parts}
        return self.readout(joined, representations, presence, gates, rates.inner, dataset)

    def _local(self, tokens, masks, situation, structure, rates):
        """Level 1 on every modality there is, and the weights of every block's gate."""
        tokens, gates = dict(tokens), {}
        for m in self.config.built_modalities:
            for layer, experts in enumerate(self.config.blocks(m)):
                name = f"local/{m}/{layer}"
                if m not in tokens:  # the data set lacks it
                    gates[name] = jnp.zeros((*situation.shape[:-1], len(experts)))
                    continue
                active = self._active(m, layer, structure)
                own = {x: choices(EXPERTS[x], f"{name}/{x}", structure) for x in experts}
                tokens[m], weights = self.banks[m, layer](
                    tokens[m],
                    masks[m],
                    situation,
                    structure[name],
                    structure["sharpness/local"],
                    active,
                    rates.inner,
                    own,
                )
                gates[name] = weights * masks[m].any(axis=-1, keepdims=True) * active
        return tokens, gates

    def _active(self, m: str, layer: int, structure: Structure) -> Array:
        """float[], whether a block is in use."""
        depths = jnp.asarray([float(x) for x in self.config.depths(m)])
        return 1.0 * (depths[structure[f"depth/{m}"]] > layer)

    def _stack(self, summaries, presence):
        """One vector a modality that is built, float[..., U, D]; zeros where absent."""
        empty = jnp.zeros((*presence.shape[:-1], self.config.width))
        rows = [summaries.get(m, empty) for m in self.config.built_modalities]
        return jnp.where(presence[..., None], jnp.stack(rows, axis=-2), 0.0)

    def _share(self, summaries, inputs, structure, dataset):
        """What the global experts read and of which modalities, and the parts of summaries."""
        config, presence = self.config, inputs.presence
        if not config.splits:
            return summaries, presence, {}
        shared, specific = self.parts(summaries, presence)
        parts = {"shared": shared, "specific": specific}
        if not config.imputed:
            return shared, presence, parts
        # What it reads learns nothing from imputing: or audio would learn to sound like the text.
        imputed = self.imputer(jax.lax.stop_gradient(shared), presence)
        # Imputed is what the data set has and the task may read, but is not there.
        built = config.built_modalities
        has = np.array([m in config.stems_of(dataset) for m in built])
        opened = jnp.zeros(len(built)).at[places(config.imputed, built)].set(structure["imputed"])
        wanted = has & inputs.readable & (opened > 0)
        taken = ~presence & wanted & presence.any(axis=-1, keepdims=True)
        upward = jnp.where(taken[..., None], imputed, shared)
        return upward, presence | taken, {**parts, "imputed": imputed}
