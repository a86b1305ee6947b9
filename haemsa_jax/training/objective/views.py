"""How a step sees its samples: with modalities, utterances and frames hidden at random."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from haemsa_jax.config import NetworkConfig, TrainConfig
from haemsa_jax.data.presence import drop_frames, drop_modalities, drop_utterances
from haemsa_jax.models import readable
from haemsa_jax.sample import Sample
from haemsa_jax.training.objective.modality_balance import hiding_rates
from haemsa_jax.training.random_streams import sample_keys

Array = jax.Array


def make_views(network: NetworkConfig, config: TrainConfig) -> Callable[..., tuple[Sample, ...]]:
    """Hiding, by the settings that are on.

    Returns:
      views(dataset, samples, place, rng, structure, settings, ratio) -> the samples with modalities
      hidden and, where the hidden ones learn from them or are compared with them, as they are.
      `place` is int[B], `rng` the key of the step, `ratio` float[M], how far modalities are ahead.
    """

    def views(
        dataset: str,
        samples: Sample,
        place: Array,
        rng: Array,
        structure: Any,
        settings: Any,
        ratio: Array,
    ) -> tuple[Sample, ...]:
        context, rate = network.context_of(dataset), settings.modality_dropout
        if config.prediction_balance:
            rates = hiding_rates(rate, ratio, settings.prediction_balance)
            rate = rates[jnp.array([network.modalities.index(m) for m in samples.masks])]
        opened = _readable(network, structure, dataset, tuple(samples.masks))[samples.task]
        # Of what a task may read one always stays, so what it may not goes first.
        hide = jax.vmap(drop_modalities, (0, 0, None, 0))
        hidden = hide(sample_keys(rng, "presence", place), samples, rate, opened)
        if config.utterance_dropout:
            drop = functools.partial(
                drop_utterances, rate=settings.utterance_dropout, context=context
            )
            hidden = jax.vmap(drop)(sample_keys(rng, "utterances", place), hidden)
        if config.frame_dropout:
            drop = functools.partial(drop_frames, rate=settings.frame_dropout, context=context)
            hidden = jax.vmap(drop)(sample_keys(rng, "frames", place), hidden)
        return (hidden, samples) if config.distillation or network.compares_views else (hidden,)

    return views


def _readable(
    network: NetworkConfig, structure: Any, dataset: str, modalities: tuple[str, ...]
) -> Array:
    """bool[K, n], what each task may read; nothing for tasks of other data sets."""
    nothing = jnp.zeros(len(modalities), bool)
    rows = []
    for task_id in network.tasks:
        if task_id in network.tasks_of(dataset):
            of_task = readable(network, structure, task_id)
            rows.append(jnp.stack([of_task[m] for m in modalities]))
        else:
            rows.append(nothing)
    return jnp.stack(rows)
