"""Models: HAEMSA, what it is compared with, and the protocol that any other can follow."""

from haemsa_jax.models.bc_lstm import BcLstm, BcLstmConfig
from haemsa_jax.models.gated_attention import GatedAttention, GatedAttentionConfig
from haemsa_jax.models.haemsa import Haemsa, HaemsaConfig
from haemsa_jax.models.late_fusion import LateFusion, LateFusionConfig
from haemsa_jax.models.lmf import Lmf, LmfConfig
from haemsa_jax.models.mfn import Mfn, MfnConfig
from haemsa_jax.models.model import (
    Model,
    Outputs,
    Rates,
    build,
    constant_axes,
    constants_at,
    fresh_variables,
    init_variables,
    overlaid,
    readable,
    register,
    variables_of,
)
from haemsa_jax.models.recurrent import Recurrent, RecurrentConfig
from haemsa_jax.models.tfn import Tfn, TfnConfig
from haemsa_jax.structure.parts import default_structure

__all__ = [
    "BcLstm",
    "BcLstmConfig",
    "GatedAttention",
    "GatedAttentionConfig",
    "Haemsa",
    "HaemsaConfig",
    "LateFusion",
    "LateFusionConfig",
    "Lmf",
    "LmfConfig",
    "Mfn",
    "MfnConfig",
    "Model",
    "Outputs",
    "Rates",
    "Recurrent",
    "RecurrentConfig",
    "Tfn",
    "TfnConfig",
    "build",
    "constant_axes",
    "constants_at",
    "default_structure",
    "fresh_variables",
    "init_variables",
    "overlaid",
    "readable",
    "register",
    "variables_of",
]
