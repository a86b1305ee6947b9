"""Whisper's encoder of sound: log-mel spectrogram, Linen module, published weights."""

from haemsa_jax.encoders.speech.family import WHISPER, Pretrained, WhisperFamily
from haemsa_jax.encoders.speech.module import Whisper, WhisperConfig
from haemsa_jax.encoders.speech.weights import read_params

__all__ = ["WHISPER", "Pretrained", "Whisper", "WhisperConfig", "WhisperFamily", "read_params"]
