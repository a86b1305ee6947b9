"""Using a trained network on samples that are not part of a data set."""

from haemsa_jax.inference.predictor import Predictor
from haemsa_jax.inference.results import Prediction, TaskPrediction

__all__ = ["Prediction", "Predictor", "TaskPrediction"]
