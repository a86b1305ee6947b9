"""Level 2: cross-modal links, and the summary that each modality sends upward."""

import flax.linen as nn
import jax.numpy as jnp

from haemsa_jax.config import NetworkConfig
from haemsa_jax.models.layers import Array, Attention, Dense, Dropout, masked_mean, masked_softmax


class Links(nn.Module):
    """All directed links source -> target: cross-attention experts, opened and weighed.

    A link's weight is a sigmoid of both modalities' mean tokens and the situation. It is zero when
    the architecture shuts the link or source or target is absent.
    """

    config: NetworkConfig

    @nn.compact
    def __call__(
        self, tokens: dict[str, Array], masks: dict[str, Array], situation: Array,
        open_links: Array, sharpness: Array, dropout: Array | float,
    ) -> tuple[dict[str, Array], Array]:  # fmt: skip
        """Tokens after transfer.

        Args:
          tokens: per modality float[..., T_m, D]; all links read these, none another's result.
          masks: per modality bool[..., T_m].
          situation: float[..., S].
          open_links: {0, 1}[M, M], target by source.
          sharpness: float[].
          dropout: rate on what a link adds.

        Returns:
          per modality float[..., T_m, D], and weights float[..., M, M].
        """
        config, names = self.config, self.config.modalities
        linked = {m for link in config.built.links for m in link}
        normed = {
            m: nn.LayerNorm(name=f"norm_{m}")(tokens[m]) * masks[m][..., None]
            for m in tokens
            if m in linked
        }
        means = {m: masked_mean(normed[m], masks[m]) for m in normed}
        weights = {}
        result = dict(tokens)
        for row, target in enumerate(names):
            for column, source in enumerate(names):
                if (source, target) not in config.built.links:
                    continue
                if source not in tokens or target not in tokens:
                    continue
                name = f"{source}_to_{target}"
                view = jnp.concatenate([means[target], means[source], situation], axis=-1)
                logit = Dense(1, kernel_init=nn.initializers.zeros, name=f"gate_{name}")(view)
                there = masks[source].any(axis=-1) & masks[target].any(axis=-1)
                weight = nn.sigmoid(sharpness * logit[..., 0]) * open_links[row, column] * there
                link = Attention(config.width, config.link_width, config.heads, name=name)
                said = link(normed[target], normed[source], masks[source])
                said = Dropout(shared_axes=(-2,))(said * masks[target][..., None], dropout)
                result[target] = result[target] + weight[..., None, None] * said
                weights[row, column] = weight
        empty = jnp.zeros(situation.shape[:-1])
        size = range(len(names))
        rows = [jnp.stack([weights.get((r, c), empty) for c in size], axis=-1) for r in size]
        return result, jnp.stack(rows, axis=-2)


class Summary(nn.Module):
    """One vector a modality: the mean of the target utterance's tokens beside an attentive pool.

    The pool sees every token, context included; the mean keeps the target itself in focus.
    """

    config: NetworkConfig

    @nn.compact
    def __call__(self, x: Array, mask: Array, offset: Array) -> Array:
        """float[..., T, D], bool[..., T], int[..., T] -> float[..., D]."""
        config = self.config
        logits = Dense(config.heads)(nn.LayerNorm()(x))
        weights = masked_softmax(jnp.swapaxes(logits, -1, -2), mask[..., None, :])
        value = Dense(config.width)(x)
        value = value.reshape(*value.shape[:-1], config.heads, -1)
        pooled = jnp.einsum("...ht,...thd->...hd", weights, value)
        pooled = pooled.reshape(*pooled.shape[:-2], config.width)
        target = masked_mean(x, mask & (offset == 0))
        return Dense(config.width)(jnp.concatenate([target, pooled], axis=-1))


def presence_of(masks: dict[str, Array], names: tuple[str, ...]) -> Array:
    """bool[..., M] in the order of `names`; modalities that a data set lacks are absent."""
    any_mask = next(iter(masks.values()))
    nothing = jnp.zeros(any_mask.shape[:-1], bool)
    return jnp.stack([masks[m].any(axis=-1) if m in masks else nothing for m in names], axis=-1)
