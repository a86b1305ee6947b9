"""Pretrained text encoders: reading published folders, tokenising, embedding transcripts.

Needs `tokenizers` and `safetensors`, which the rest of the library does not.
"""

from haemsa_jax.text.embedding import embed, with_text, with_tokens
from haemsa_jax.text.pretrained import (
    Pretrained,
    Tokenised,
    check_like,
    find_folder,
    read_pretrained,
)
from haemsa_jax.text.saving import write_pretrained

__all__ = [
    "Pretrained",
    "Tokenised",
    "check_like",
    "embed",
    "find_folder",
    "read_pretrained",
    "with_text",
    "with_tokens",
    "write_pretrained",
]
