"""Configuration: frozen dataclasses, validated once when they are made, free of jax.

A run is described by three of them: which tasks (`TaskSpec`), which network (`NetworkConfig`) and
which training (`TrainConfig`). All turn to plain JSON and back (`to_json`, `network_from_json`).
"""

from haemsa_jax.config.encoder import MODES, PRECISIONS, EncoderSpec, Shapes
from haemsa_jax.config.frozen import FrozenMapping
from haemsa_jax.config.names import encoder_name, head_name, is_encoder, slug, stem_name
from haemsa_jax.config.network import MODALITIES, SPEAKERS, NetworkConfig, in_order
from haemsa_jax.config.plain import from_json, network_from_json, to_json
from haemsa_jax.config.task import TaskSpec, dataset_of
from haemsa_jax.config.train import (
    IMBALANCE,
    OPTIONS,
    SHARING_LOSSES,
    TASK_WEIGHTINGS,
    TrainConfig,
    check_together,
)

__all__ = [
    "IMBALANCE",
    "MODALITIES",
    "MODES",
    "OPTIONS",
    "PRECISIONS",
    "SHARING_LOSSES",
    "SPEAKERS",
    "TASK_WEIGHTINGS",
    "EncoderSpec",
    "FrozenMapping",
    "NetworkConfig",
    "Shapes",
    "TaskSpec",
    "TrainConfig",
    "check_together",
    "dataset_of",
    "encoder_name",
    "from_json",
    "head_name",
    "in_order",
    "is_encoder",
    "network_from_json",
    "slug",
    "stem_name",
    "to_json",
]
