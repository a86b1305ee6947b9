"""Encoders of raw input, such as words, behind one interface; families register themselves."""

from haemsa_jax.encoders.interface import (
    ENCODERS,
    Encoder,
    Pretrained,
    Tokenised,
    built,
    check_like,
    encoder_named,
    encoder_of,
    parted,
    register,
    specify,
)
from haemsa_jax.encoders.places import EncoderFolders, read_like, relocated
from haemsa_jax.encoders.reading import embed, with_tokens, with_vectors

__all__ = [
    "ENCODERS",
    "Encoder",
    "EncoderFolders",
    "Pretrained",
    "Tokenised",
    "built",
    "check_like",
    "embed",
    "encoder_named",
    "encoder_of",
    "parted",
    "read_like",
    "register",
    "relocated",
    "specify",
    "with_tokens",
    "with_vectors",
]
