"""HAEMSA: hierarchical adaptive experts. Levels from tokens to tasks, one file each."""

from haemsa_jax.models.haemsa.config import FUSION_OPERATORS, LOCAL_EXPERTS, SHARING, HaemsaConfig
from haemsa_jax.models.haemsa.network import Haemsa
from haemsa_jax.models.haemsa.registries import EXPERTS, LINKS, OPERATORS

__all__ = [
    "EXPERTS",
    "FUSION_OPERATORS",
    "LINKS",
    "LOCAL_EXPERTS",
    "OPERATORS",
    "SHARING",
    "Haemsa",
    "HaemsaConfig",
]
