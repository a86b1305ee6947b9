"""HAEMSA in JAX: hierarchical adaptive experts for multimodal sentiment and emotion."""

from haemsa_jax.config import NetworkConfig, TaskSpec, TrainConfig
from haemsa_jax.data import Dataset, Split
from haemsa_jax.errors import InputError
from haemsa_jax.inference import Prediction, Predictor
from haemsa_jax.models import (
    Haemsa,
    HaemsaConfig,
    Outputs,
    Rates,
    build,
    default_structure,
    init_variables,
    variables_of,
)
from haemsa_jax.sample import Sample
from haemsa_jax.training.engine.batch import Batch, make_batch
from haemsa_jax.training.engine.loop import make_train
from haemsa_jax.training.engine.state import (
    MEMBER_AXES,
    TrainState,
    init_params,
    init_state,
    settings_from_config,
)
from haemsa_jax.training.engine.step import make_train_step
from haemsa_jax.training.measurement.evaluation import evaluate
from haemsa_jax.training.measurement.normalization import make_constants
from haemsa_jax.training.persistence.trained import Trained, load_trained
from haemsa_jax.version import __version__

__all__ = [
    "MEMBER_AXES",
    "Batch",
    "Dataset",
    "Haemsa",
    "HaemsaConfig",
    "InputError",
    "NetworkConfig",
    "Outputs",
    "Prediction",
    "Predictor",
    "Rates",
    "Sample",
    "Split",
    "TaskSpec",
    "TrainConfig",
    "TrainState",
    "Trained",
    "__version__",
    "build",
    "default_structure",
    "evaluate",
    "init_params",
    "init_state",
    "init_variables",
    "load_trained",
    "make_batch",
    "make_constants",
    "make_train",
    "make_train_step",
    "settings_from_config",
    "variables_of",
]
