"""Level 2: cross-modal links, and the summary that each modality sends upward."""

import math

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from haemsa_jax.models.haemsa.config import HaemsaConfig
from haemsa_jax.models.haemsa.declaration import link_module, situation_axis
from haemsa_jax.models.haemsa.registries import LINKS, choices
from haemsa_jax.models.layers import (
    Array,
    Attention,
    Dense,
    Dropout,
    Scalar,
    masked_mean,
    masked_softmax,
)
from haemsa_jax.structure.axes import plain
from haemsa_jax.structure.parts import Structure


@LINKS.register("attention")
class AttentionLink(nn.Module):
    """The target's tokens attend over the source's."""

    config: HaemsaConfig

    @nn.compact
    def __call__(
        self,
        target: Float[Array, "*batch target_tokens width"],
        source: Float[Array, "*batch source_tokens width"],
        mask: Bool[Array, "*batch source_tokens"],
    ) -> Float[Array, "*batch target_tokens width"]:
        """float[..., T, D], float[..., S, D], bool[..., S] -> float[..., T, D]."""
        config = self.config
        attend = Attention(config.width, config.link_width, config.heads, name="attend")
        return attend(target, source, mask)


class Links(nn.Module):
    """All directed links source -> target: cross-modal experts, opened and weighed.

    A link's weight is a sigmoid of both modalities' mean tokens and the situation. It is zero when
    the structure shuts the link or source or target is absent.
    """

    config: HaemsaConfig

    @nn.compact
    def __call__(
        self,
        tokens: dict[str, Float[Array, "*batch _tokens width"]],
        masks: dict[str, Bool[Array, "*batch _tokens"]],
        situation: Float[Array, "*batch situation"],
        structure: Structure,
        dropout: Scalar,
    ) -> tuple[dict[str, Float[Array, "*batch _tokens width"]], Float[Array, "*batch links"]]:
        """Tokens after transfer.

        Args:
          tokens: per modality float[..., T_m, D]; all links read these, none another's result.
          masks: per modality bool[..., T_m].
          situation: float[..., S].
          structure: which links are open, the sharpness of gates, and what links have to choose.
          dropout: rate on what a link adds.

        Returns:
          per modality float[..., T_m, D], and weights float[..., links], as they are declared.
        """
        config = self.config
        linked = {m for link in config.links for m in link}
        normed = {
            m: nn.LayerNorm(name=f"norm_{m}")(tokens[m]) * masks[m][..., None]
            for m in tokens
            if m in linked
        }
        means = {m: masked_mean(normed[m], masks[m]) for m in normed}
        weights, result = [], dict(tokens)
        rows = (*plain(2 * config.width), *situation_axis(config))
        for place, (source, target) in enumerate(config.links):
            if source not in tokens or target not in tokens:
                weights.append(jnp.zeros(situation.shape[:-1]))
                continue
            name = link_module(source, target)
            view = jnp.concatenate([means[target], means[source], situation], axis=-1)
            zeros = nn.initializers.zeros
            logit = Dense(1, kernel_init=zeros, rows=rows, name=f"gate_{name}")(view)
            present = masks[source].any(axis=-1) & masks[target].any(axis=-1)
            sharpness, opened = structure["sharpness/link"], structure["links"][place]
            weight = nn.sigmoid(sharpness * logit[..., 0]) * opened * present
            link = LINKS[config.link](config, name=name)
            own = choices(LINKS[config.link], f"links/{source}>{target}", structure)
            added = link(normed[target], normed[source], masks[source], **own)
            added = Dropout(shared_axes=(-2,))(added * masks[target][..., None], dropout)
            result[target] = result[target] + weight[..., None, None] * added
            weights.append(weight)
        if not weights:
            return result, jnp.zeros((*situation.shape[:-1], 0))
        return result, jnp.stack(weights, axis=-1)


class Summary(nn.Module):
    """One vector a modality: the mean of the target utterance's tokens beside an attentive pool.

    The pool sees every token, context included; the mean keeps the target itself in focus.
    """

    config: HaemsaConfig

    def products(
        self,
        x: Float[Array, "*batch tokens width"],
        mask: Bool[Array, "*batch tokens"],
        offset: Int[Array, "*batch tokens"],
    ) -> int:
        """Operations of its products without parameters."""
        return 2 * math.prod(x.shape)

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "*batch tokens width"],
        mask: Bool[Array, "*batch tokens"],
        offset: Int[Array, "*batch tokens"],
    ) -> Float[Array, "*batch width"]:
        """float[..., T, D], bool[..., T], int[..., T] -> float[..., D]."""
        config = self.config
        logits = Dense(config.heads, name="scores")(nn.LayerNorm(name="norm")(x))
        weights = masked_softmax(jnp.swapaxes(logits, -1, -2), mask[..., None, :])
        value = Dense(config.width, name="value")(x)
        value = value.reshape(*value.shape[:-1], config.heads, -1)
        pooled = jnp.einsum("...ht,...thd->...hd", weights, value)
        pooled = pooled.reshape(*pooled.shape[:-2], config.width)
        target = masked_mean(x, mask & (offset == 0))
        return Dense(config.width, name="out")(jnp.concatenate([target, pooled], axis=-1))
