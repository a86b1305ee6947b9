"""Models: HAEMSA, what it is compared with, and the protocol that any other can follow."""

from haemsa_jax.models.haemsa import Haemsa, HaemsaConfig
from haemsa_jax.models.late_fusion import LateFusion, LateFusionConfig
from haemsa_jax.models.model import (
    Model,
    Outputs,
    Rates,
    build,
    constant_axes,
    constants_at,
    init_variables,
    overlaid,
    readable,
    register,
    variables_of,
)
from haemsa_jax.models.recurrent import Recurrent, RecurrentConfig
from haemsa_jax.structure.parts import default_structure

__all__ = [
    "Haemsa",
    "HaemsaConfig",
    "LateFusion",
    "LateFusionConfig",
    "Model",
    "Outputs",
    "Rates",
    "Recurrent",
    "RecurrentConfig",
    "build",
    "constant_axes",
    "constants_at",
    "default_structure",
    "init_variables",
    "overlaid",
    "readable",
    "register",
    "variables_of",
]
