"""Configurations as plain JSON and back, which is how they travel beside a checkpoint."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from haemsa_jax.config.network import NetworkConfig, Parts
from haemsa_jax.config.task import TaskSpec
from haemsa_jax.config.text import EncoderConfig, TextConfig
from haemsa_jax.config.train import TrainConfig


def to_json(config: Any) -> dict[str, Any]:
    """A configuration as plain JSON values."""
    return dataclasses.asdict(config)


def task_from_json(values: Mapping[str, Any]) -> TaskSpec:
    """Inverse of `to_json` for a `TaskSpec`."""
    span = values.get("range")
    return TaskSpec(
        name=values["name"],
        kind=values["kind"],
        metrics=tuple(values["metrics"]),
        classes=tuple(values.get("classes", ())),
        range=tuple(span) if span is not None else None,
    )


def network_from_json(values: Mapping[str, Any]) -> NetworkConfig:
    """Inverse of `to_json` for a `NetworkConfig`."""
    tasks = {task_id: task_from_json(spec) for task_id, spec in values["tasks"].items()}
    context = {dataset: tuple(window) for dataset, window in values["context"].items()}
    parts = parts_from_json(values["parts"]) if values.get("parts") else None
    text = text_from_json(values["text"]) if values.get("text") else None
    given = {"tasks": tasks, "context": context, "parts": parts, "text": text}
    return NetworkConfig(**{**values, **given})


def text_from_json(values: Mapping[str, Any]) -> TextConfig:
    """Inverse of `to_json` for a `TextConfig`."""
    given = {"datasets": tuple(values["datasets"]), "shapes": EncoderConfig(**values["shapes"])}
    return TextConfig(**{**values, **given})


def parts_from_json(values: Mapping[str, Any]) -> Parts:
    """Inverse of `to_json` for `Parts`."""
    return Parts(
        modalities={task_id: tuple(names) for task_id, names in values["modalities"].items()},
        local={m: tuple(tuple(block) for block in blocks) for m, blocks in values["local"].items()},
        links=tuple((source, target) for source, target in values["links"]),
        fusion=tuple(values["fusion"]),
        specific=tuple(values["specific"]),
        imputed=tuple(values["imputed"]),
    )


def train_from_json(values: Mapping[str, Any]) -> TrainConfig:
    """Inverse of `to_json` for a `TrainConfig`."""
    return TrainConfig(**values)
