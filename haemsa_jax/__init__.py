"""HAEMSA in JAX: hierarchical adaptive experts for multimodal sentiment and emotion."""

from haemsa_jax.config import NetworkConfig, TaskSpec, TrainConfig
from haemsa_jax.data import Dataset, Split
from haemsa_jax.errors import InputError
from haemsa_jax.inference import Prediction, Predictor
from haemsa_jax.models.architecture import Architecture, default_architecture
from haemsa_jax.models.haemsa import Haemsa, Outputs, Rates, init_variables
from haemsa_jax.sample import Sample
from haemsa_jax.training.checkpoint import load_trained
from haemsa_jax.training.evaluation import evaluate
from haemsa_jax.training.loop import make_train

__all__ = [
    "Architecture",
    "Dataset",
    "Haemsa",
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
    "default_architecture",
    "evaluate",
    "init_variables",
    "load_trained",
    "make_train",
]
