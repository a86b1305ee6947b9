"""Whisper's encoder as published: a folder of Hugging Face's, or a `model.bin` of CTranslate2."""

import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import unflatten_dict

from haemsa_jax.encoders.speech.module import WhisperConfig
from haemsa_jax.encoders.text.weights import Tensors, read_json
from haemsa_jax.errors import InputError

BINARY = 6  # version of CTranslate2's format
KINDS = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
Get = Callable[[str], np.ndarray]
# Of a layer: here, Hugging Face's name, CTranslate2's.
DENSE = (
    ("out", "self_attn.out_proj", "self_attention/linear_1"),
    ("wide", "fc1", "ffn/linear_0"),
    ("narrow", "fc2", "ffn/linear_1"),
)
NORMS = (
    ("attention_norm", "self_attn_layer_norm", "self_attention/layer_norm"),
    ("perceptron_norm", "final_layer_norm", "ffn/layer_norm"),
)
QKV = ("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj")


def read_params(files: Mapping[str, list[Path]]) -> tuple[WhisperConfig, dict[str, Any]]:
    """Shapes and parameters of `Whisper`.

    Args:
      files: by name the files of a model, the parts of each in their order.

    Raises:
      InputError: there is neither kind of weights, or they are damaged or quantised.
    """
    try:
        if "model.bin" in files:
            held = read_binary(b"".join(path.read_bytes() for path in files["model.bin"]))
            heads = int(held["encoder/num_heads"])
            return _assembled(held.__getitem__, "encoder/", ("gamma", "beta"), heads, _of_binary)
        folder = files["config.json"][0].parent
        heads = read_json(folder / "config.json")["encoder_attention_heads"]
        with Tensors(folder) as tensors:
            prefix = "model." if "model.encoder.conv1.weight" in tensors else ""

            def get(name: str) -> np.ndarray:
                if prefix + name not in tensors:
                    raise KeyError(name)
                return np.asarray(tensors.get(prefix + name), np.float32)

            return _assembled(get, "encoder.", ("weight", "bias"), heads, _of_folder)
    except (KeyError, ValueError, struct.error, IndexError) as error:
        raise InputError(f"the weights of Whisper's encoder cannot be read: {error!r}") from error


def _assembled(get: Get, at: str, norm: tuple[str, str], heads: int, layer: Callable):
    sign = at[-1]
    positions = "position_encodings/encodings" if sign == "/" else "embed_positions.weight"
    flat: dict[tuple[str, ...], np.ndarray] = {
        ("positions",): get(at + positions).astype(np.float32)
    }
    for name in ("conv1", "conv2"):  # [outputs, inputs, places] there, reversed here
        flat[name, "kernel"] = get(f"{at}{name}{sign}weight").astype(np.float32).T
        flat[name, "bias"] = get(f"{at}{name}{sign}bias").astype(np.float32)
    for here, there in zip(("scale", "bias"), norm, strict=True):
        flat["norm", here] = get(f"{at}layer_norm{sign}{there}").astype(np.float32)
    layers, count = [], 0
    while True:
        try:
            layers.append(dict(layer(get, count, norm)))
        except KeyError:
            if not layers:
                raise
            break
        count += 1
    for path in layers[0]:
        flat["layers", *path] = np.stack([each[path] for each in layers]).astype(np.float32)
    bands, width = flat["conv1", "kernel"].shape[1:]
    config = WhisperConfig(bands, len(flat["positions",]), width, count, heads)
    return config, unflatten_dict(flat)


def _of_folder(get: Get, layer: int, norm: tuple[str, str]):
    at = f"encoder.layers.{layer}."
    for name, there in QKV:
        kernel = get(f"{at}self_attn.{there}.weight").T
        yield (name, "kernel"), kernel
        none = np.zeros(kernel.shape[1], np.float32)  # keys have no bias
        yield (name, "bias"), none if name == "key" else get(f"{at}self_attn.{there}.bias")
    for name, there, _ in DENSE:
        yield (name, "kernel"), get(f"{at}{there}.weight").T
        yield (name, "bias"), get(f"{at}{there}.bias")
    for name, there, _ in NORMS:
        for here, part in zip(("scale", "bias"), norm, strict=True):
            yield (name, here), get(f"{at}{there}.{part}")


def _of_binary(get: Get, layer: int, norm: tuple[str, str]):
    at = f"encoder/layer_{layer}/"
    joined = [np.split(get(f"{at}self_attention/linear_0/{x}"), 3) for x in ("weight", "bias")]
    for (name, _), kernel, bias in zip(QKV, *joined, strict=True):
        yield (name, "kernel"), kernel.T
        yield (name, "bias"), bias
    for name, _, there in DENSE:
        yield (name, "kernel"), get(f"{at}{there}/weight").T
        yield (name, "bias"), get(f"{at}{there}/bias")
    for name, _, there in NORMS:
        for here, part in zip(("scale", "bias"), norm, strict=True):
            yield (name, here), get(f"{at}{there}/{part}")


def read_binary(content: bytes) -> dict[str, np.ndarray]:
    """Tensors by name of a model file of CTranslate2, of numbers that are not quantised.

    Its format: a version, the name and revision of a specification, a count of tensors; of each its
    name, rank, sizes, kind of numbers, bytes (`ModelSpec._serialize` of CTranslate2 4).

    Raises:
      InputError: it is of another version, or quantised.
    """
    place = 0

    def take(kind: str) -> int:
        nonlocal place
        (value,) = struct.unpack_from(f"<{kind}", content, place)
        place += struct.calcsize(kind)
        return value

    def text() -> str:
        nonlocal place
        length = take("H")
        place += length
        return content[place - length : place].rstrip(b"\0").decode()

    if (version := take("I")) != BINARY:
        raise InputError(f"model.bin has version {version} of CTranslate2's format, not {BINARY}")
    text(), take("I")
    tensors = {}
    for _ in range(take("I")):
        name, shape = text(), [take("I") for _ in range(take("B"))]
        kind, size = KINDS[take("B")], take("I")
        if kind == np.int8 and len(shape) > 1 and name.startswith("encoder/"):
            raise InputError(f"model.bin is quantised ({name}); take one of float16 or float32")
        tensors[name] = np.frombuffer(content[place : place + size], kind).reshape(shape)
        place += size
    return tensors
