"""Models: HAEMSA, what it is compared with, and the protocol that any other can follow."""

from haemsa_jax.models.bc_lstm import BcLstm, BcLstmConfig
from haemsa_jax.models.dialogue_rnn import DialogueRnn, DialogueRnnConfig
from haemsa_jax.models.emt import Emt, EmtConfig
from haemsa_jax.models.gated_attention import GatedAttention, GatedAttentionConfig
from haemsa_jax.models.haemsa import Haemsa, HaemsaConfig
from haemsa_jax.models.late_fusion import LateFusion, LateFusionConfig
from haemsa_jax.models.lmf import Lmf, LmfConfig
from haemsa_jax.models.mfn import Mfn, MfnConfig
from haemsa_jax.models.misa import Misa, MisaConfig
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
from haemsa_jax.models.mult import Mult, MultConfig
from haemsa_jax.models.recurrent import Recurrent, RecurrentConfig
from haemsa_jax.models.self_mm import SelfMm, SelfMmConfig
from haemsa_jax.models.tfn import Tfn, TfnConfig
from haemsa_jax.structure.parts import default_structure

__all__ = [
    "BcLstm",
    "BcLstmConfig",
    "DialogueRnn",
    "DialogueRnnConfig",
    "Emt",
    "EmtConfig",
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
    "Misa",
    "MisaConfig",
    "Model",
    "Mult",
    "MultConfig",
    "Outputs",
    "Rates",
    "Recurrent",
    "RecurrentConfig",
    "SelfMm",
    "SelfMmConfig",
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
