"""Text encoders of the BERT family: reading published folders, tokenising, saving.

Reading needs `tokenizers` and `safetensors`, which the rest of the library does not; they are
imported where they are used.
"""

from haemsa_jax.encoders.text.config import FAMILY, MODALITY, BertConfig
from haemsa_jax.encoders.text.family import BERT
from haemsa_jax.encoders.text.pretrained import (
    Pretrained,
    Tokenised,
    find_folder,
    read_pretrained,
)
from haemsa_jax.encoders.text.saving import write_pretrained

__all__ = [
    "BERT",
    "FAMILY",
    "MODALITY",
    "BertConfig",
    "Pretrained",
    "Tokenised",
    "find_folder",
    "read_pretrained",
    "write_pretrained",
]
