"""Losses of a batch: of every task, of single modalities, of hidden views, of shared parts."""

import functools
import operator
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from haemsa_jax.config import SHARING_LOSSES, NetworkConfig, TrainConfig, head_name
from haemsa_jax.models import Outputs, Rates, build, variables_of
from haemsa_jax.models.model import Truth, model_of
from haemsa_jax.sample import Sample
from haemsa_jax.tasks import kind_of
from haemsa_jax.training.objective.representation_losses import make_representation_losses
from haemsa_jax.training.random_streams import sample_keys

Array = jax.Array


@struct.dataclass
class Losses:
    """Of a batch, or of a device's share of it: then their mean over devices is the batch's.

    Attributes:
      main: float[K], weighted means over each task's samples of the loss of its predictions.
      auxiliary: float[K], of the predictions from single modalities.
      distillation: float[K], between both views of a sample.
      whole: float[], weighed sum of the losses that compare samples: those on shared and specific
        parts, and the model's own.
      drawn: float[K], 1 where a task has any weight in the batch.
      rightness: float[M] twice: summed over the samples that have a modality, how right it is
        alone, and their number.
    """

    main: Array
    auxiliary: Array
    distillation: Array
    whole: Array
    drawn: Array
    rightness: tuple[Array, Array]


def make_losses(
    network: NetworkConfig, config: TrainConfig, axis: str | None = None
) -> Callable[..., Losses]:
    """Losses of a batch, of which each device of `axis` holds a share.

    Returns:
      losses(params, state, batch, views, rng) -> `Losses`; of the `TrainState` all but its own
      parameters is used, `views` are by data set what `make_views` returns, `rng` is the key of the
      step.
    """
    module = build(network)
    representation_losses = make_representation_losses(network, config)
    compares = any(name in SHARING_LOSSES for name in config.options)
    own_losses = getattr(model_of(network), "losses", None)

    def losses(params, state, batch, views: Mapping[str, tuple[Sample, ...]], rng) -> Losses:
        variables = variables_of(params, state.constants)
        settings = state.settings
        rates = Rates(settings.dropout, settings.input_dropout, config.encoder_dropout)
        by_task, compared = {}, jnp.zeros(())
        right = jnp.zeros((2, len(network.modalities)))
        for dataset, seen in views.items():
            longest = (batch.longest or {}).get(dataset)
            if longest is None:
                # Before anything is hidden: members of a population see the same batch, of which
                # each hides its own part, and an encoder's branches would all be computed.
                longest = longest_tokens(network, dataset, batch.samples[dataset])

            def forward(sample, key, dataset=dataset, longest=longest):
                rngs = {"dropout": key}
                return module.apply(
                    variables, sample, state.structure, rates, dataset, longest, rngs=rngs
                )

            keys = sample_keys(rng, "dropout", batch.place[dataset])
            outputs = _of_views(jax.vmap(forward), seen, keys)
            if compares or own_losses:
                whole, rows, truth = _of_batch(outputs, batch, dataset, network, state, axis)
                if compares:
                    more = representation_losses(params, settings, whole[-1], rows)
                    compared += more / len(views)
                if own_losses:
                    compared += sum(own_losses(network, whole, truth).values()) / len(views)
            for task_id in network.tasks_of(dataset):
                if task_id in batch.labels:
                    head = state.constants[head_name(task_id)]
                    by_task[task_id], rightness = _of_task(
                        network, config, settings, head, task_id, outputs, batch, axis
                    )
                    right += rightness
        nothing = jnp.zeros(4)
        stacked = jnp.stack([by_task.get(task_id, nothing) for task_id in network.tasks], axis=1)
        main, auxiliary, distillation, drawn = stacked
        return Losses(main, auxiliary, distillation, compared, drawn, (right[0], right[1]))

    return losses


def _of_task(
    network: NetworkConfig,
    config: TrainConfig,
    settings: Any,
    head: Mapping[str, Array],
    task_id: str,
    outputs: list[Outputs],
    batch: Any,
    axis: str | None,
) -> tuple[Array, Array]:
    """float[4], main, auxiliary, distillation and whether it was drawn; and rightness float[2, M].

    `outputs` are those of every view.
    """
    task, weight = network.tasks[task_id], batch.weights[task_id]
    label = _label(batch, task_id)
    total = weight.sum() if axis is None else jax.lax.pmean(weight.sum(), axis)
    share = weight / jnp.where(total > 0, total, 1.0)
    kind = kind_of(task.kind)
    loss = functools.partial(kind.loss, task, config, settings, head)
    main = _mean([share @ jax.vmap(loss)(view.predictions[task_id], label) for view in outputs])
    auxiliary, distillation, right = jnp.zeros(()), jnp.zeros(()), jnp.zeros(())
    if all(task_id in view.auxiliary for view in outputs):
        alone = [view.auxiliary[task_id] for view in outputs]
        each = jax.vmap(jax.vmap(loss, (0, None)))
        by_view = [
            share @ _over_present(each(of, label), view.presence)
            for of, view in zip(alone, outputs, strict=True)
        ]
        auxiliary = _mean(by_view)
        if config.balances:
            true = functools.partial(kind.rightness, task, head)
            values = jax.vmap(jax.vmap(true, (0, None)))(alone[-1], label)
            present = weight[:, None] * outputs[-1].presence
            right = jnp.stack([(values * present).sum(0), present.sum(0)])
    if config.distillation:
        teach = functools.partial(kind.distillation_loss, task, head)
        distillation = share @ jax.vmap(teach)(*[view.predictions[task_id] for view in outputs])
    drawn = (total > 0).astype(main.dtype)
    return jnp.stack([main, auxiliary, distillation, drawn]), right


def _of_views(forward, views: tuple[Sample, ...], keys: Array) -> list[Outputs]:
    """Outputs of every view. All views of a sample share its key, and so their dropout."""
    if len(views) == 1:
        return [forward(views[0], keys)]
    together = jax.tree.map(lambda *x: jnp.stack(x), *views)
    outputs = jax.vmap(forward, (0, None))(together, keys)
    return [jax.tree.map(lambda x, k=view: x[k], outputs) for view in range(len(views))]


def _of_batch(
    views: list[Outputs], batch: Any, dataset: str, network: NetworkConfig, state: Any, axis: Any
) -> tuple[list[Outputs], Array, Truth]:
    """Outputs, numbers of utterances and labels of all devices: they are compared within a batch.

    Rows without any weight, such as those that fill a batch up, count as absent.
    """
    tasks = [task_id for task_id in network.tasks_of(dataset) if task_id in batch.labels]
    labels = {task_id: _label(batch, task_id) for task_id in tasks}
    weights = {task_id: batch.weights[task_id] for task_id in tasks}
    own = views, batch.utterance[dataset], labels, weights
    if axis is not None:
        own = jax.lax.all_gather(own, axis, tiled=True)
    views, utterance, labels, weights = own
    drawn = (jnp.stack([*weights.values()]) > 0).any(axis=0)[:, None]
    heads = {task_id: state.constants[head_name(task_id)] for task_id in tasks}
    views = [view.replace(presence=view.presence & drawn) for view in views]
    return views, utterance, Truth(labels, weights, heads)


def _label(batch: Any, task_id: str) -> Array:
    """Labels of a task; where nothing weighs they may be anything, NaN too, and are zeros."""
    label, weight = batch.labels[task_id], batch.weights[task_id]
    return jnp.where(weight.reshape(-1, *[1] * (label.ndim - 1)) > 0, label, 0)


def _mean(values: list[Array]) -> Array:
    return functools.reduce(operator.add, values) / len(values)


def _over_present(values: Array, presence: Array) -> Array:
    """float[B], means over the modalities that are present, of float[B, M]."""
    return jnp.where(presence, values, 0.0).sum(-1) / jnp.maximum(presence.sum(-1), 1)


def longest_tokens(network: NetworkConfig, dataset: str, samples: Sample) -> dict[str, Array]:
    """By modality int[], most tokens of any sample, where an encoder within asks for it."""
    return {m: samples.masks[m].sum(axis=-1).max() for m in network.encoded(dataset)}
