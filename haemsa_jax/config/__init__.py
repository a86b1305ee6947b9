"""Configuration: frozen dataclasses, validated once when they are made, free of jax.

A run is described by three of them: which tasks (`TaskSpec`), which network (`NetworkConfig`) and
which training (`TrainConfig`). All turn to plain JSON and back (`to_json`, `network_from_json`).
"""

from haemsa_jax.config.names import head_name, slug, stem_name
from haemsa_jax.config.network import (
    FUSION_OPERATORS,
    LOCAL_EXPERTS,
    MODALITIES,
    SHARING,
    NetworkConfig,
    Parts,
    in_order,
)
from haemsa_jax.config.plain import (
    network_from_json,
    parts_from_json,
    task_from_json,
    text_from_json,
    to_json,
    train_from_json,
)
from haemsa_jax.config.task import KINDS, METRICS, TaskSpec, dataset_of
from haemsa_jax.config.text import ACTIVATIONS, PRECISIONS, TEXT_MODES, EncoderConfig, TextConfig
from haemsa_jax.config.train import (
    IMBALANCE,
    OPTIONS,
    SHARING_LOSSES,
    TASK_WEIGHTINGS,
    TrainConfig,
    check_together,
)

__all__ = [
    "ACTIVATIONS", "FUSION_OPERATORS", "IMBALANCE", "KINDS", "LOCAL_EXPERTS", "METRICS",
    "MODALITIES", "OPTIONS", "PRECISIONS", "SHARING", "SHARING_LOSSES", "TASK_WEIGHTINGS",
    "TEXT_MODES", "EncoderConfig", "NetworkConfig", "Parts", "TaskSpec", "TextConfig",
    "TrainConfig", "check_together", "dataset_of", "head_name", "in_order",
    "network_from_json",
    "parts_from_json", "slug", "stem_name", "task_from_json", "text_from_json", "to_json",
    "train_from_json",
]  # fmt: skip
