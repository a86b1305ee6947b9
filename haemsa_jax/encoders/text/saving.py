"""An encoder as a folder in the format in which encoders are published.

What was trained here can so be read by Hugging Face's transformers, and as `--text` by any other
training: with its vectors frozen and the dialogue as context, or in another mode.
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from haemsa_jax.encoders.text.family import BERT
from haemsa_jax.encoders.text.layouts import KINDS, prefix_of
from haemsa_jax.encoders.text.pretrained import CONFIG, TOKENIZER, Pretrained
from haemsa_jax.encoders.text.weights import WEIGHTS, Tensors
from haemsa_jax.errors import InputError

# What transformers wants of a tokeniser, where the published folder has it.
BESIDE = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
)


def write_pretrained(
    pretrained: Pretrained, params: Mapping[str, Any], folder: str | os.PathLike
) -> None:
    """Writes an encoder with other weights than those it was published with.

    Poolers and heads beside the encoder stay as they were published. A vector that marks a target's
    tokens among its context joins the positions: every token of a text by itself is the target's.

    Args:
      pretrained: as published; its folder is read again.
      params: NumPy parameters of `Bert(pretrained.config)`, without adapters.
      folder: is made, whole or not at all.

    Raises:
      InputError: it is there already, or cannot be written.
    """
    import safetensors.numpy

    folder, params = Path(folder), BERT.unmark(params)
    if folder.exists():
        raise InputError(f"{folder} is there already; name a folder that is not")
    scratch = folder.with_name(f"{folder.name}.{os.getpid()}")
    try:
        scratch.mkdir(parents=True)
        tensors = _tensors(pretrained, params)
        (scratch / WEIGHTS).write_bytes(safetensors.numpy.save(tensors, {"format": "pt"}))
        settings = json.loads((pretrained.folder / CONFIG).read_text(encoding="utf-8"))
        settings = {name: x for name, x in settings.items() if name not in ("dtype", "torch_dtype")}
        (scratch / CONFIG).write_text(json.dumps(settings | {"dtype": "float32"}, indent=2) + "\n")
        for name in (TOKENIZER, *BESIDE):
            if (pretrained.folder / name).is_file():
                shutil.copyfile(pretrained.folder / name, scratch / name)
        scratch.rename(folder)
    except OSError as error:
        shutil.rmtree(scratch, ignore_errors=True)
        raise InputError(f"cannot write {folder}: {error.strerror}; name another") from error


def _tensors(pretrained: Pretrained, params: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """All that was published, the encoder's own in its new state."""
    with Tensors(pretrained.folder) as published:
        prefix = prefix_of(published)
        own = {prefix + name: x for name, x in pretrained.layout.tensors(params).items()}
        tensors = {name: own[name] if name in own else published.get(name) for name in published}
    if pretrained.layout.kinds:
        # The first kind is within the positions; what tells the others from it stays.
        table = np.asarray(tensors[prefix + KINDS], np.float32)
        tensors[prefix + KINDS] = table - table[0]
    return tensors
