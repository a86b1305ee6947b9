"""Whisper's encoder: equal to the reference, whichever way its weights are published."""

import importlib.util
import json
import os
import struct
from pathlib import Path

import jax
import numpy as np
import pytest
from launchers import ROOT

from haemsa_jax.encoders import embed, encoder_named, specify
from haemsa_jax.encoders.speech import WHISPER
from haemsa_jax.encoders.speech.family import log_mel
from haemsa_jax.encoders.speech.weights import read_binary
from haemsa_jax.errors import InputError
from haemsa_jax.extraction import media, vectors, words

REAL = Path(os.environ.get("HAEMSA_DATA") or Path(__file__).parents[2] / "shared" / "data")
CLIPS = REAL / "cmu_mosi" / "raw" / "Raw" / "Audio" / "WAV_16000" / "Segmented"
MODEL = words.PACKAGES["whisper"]
EXPECTED = json.loads((ROOT / "tests/fixtures/outputs/whisper.json").read_text())
BANDS, POSITIONS, WIDTH, LAYERS = 8, 20, 6, 2


def published():
    """Tensors as Hugging Face has them, small and random; CTranslate2's are made of them."""
    rng = np.random.default_rng(0)

    def some(*shape):
        return rng.normal(0, 0.3, shape).astype(np.float32)

    hf = {
        "conv1.weight": some(WIDTH, BANDS, 3), "conv1.bias": some(WIDTH),
        "conv2.weight": some(WIDTH, WIDTH, 3), "conv2.bias": some(WIDTH),
        "embed_positions.weight": some(POSITIONS, WIDTH),
        "layer_norm.weight": 1 + some(WIDTH), "layer_norm.bias": some(WIDTH),
    }  # fmt: skip
    for layer in range(LAYERS):
        at = f"layers.{layer}."
        for name in ("q", "k", "v", "out"):
            hf[f"{at}self_attn.{name}_proj.weight"] = some(WIDTH, WIDTH)
            if name != "k":
                hf[f"{at}self_attn.{name}_proj.bias"] = some(WIDTH)
        for name, shape in (("fc1", (4 * WIDTH, WIDTH)), ("fc2", (WIDTH, 4 * WIDTH))):
            hf[f"{at}{name}.weight"], hf[f"{at}{name}.bias"] = some(*shape), some(shape[0])
        for name in ("self_attn_layer_norm", "final_layer_norm"):
            hf[f"{at}{name}.weight"], hf[f"{at}{name}.bias"] = 1 + some(WIDTH), some(WIDTH)
    return hf


def binary(hf):
    """The same as CTranslate2 writes it."""
    held = {"encoder/num_heads": np.int16(2), "encoder/position_encodings/encodings": None}
    for name in ("conv1", "conv2"):
        for part in ("weight", "bias"):
            held[f"encoder/{name}/{part}"] = hf[f"{name}.{part}"]
    held["encoder/position_encodings/encodings"] = hf["embed_positions.weight"]
    norms = {
        "": "layer_norm",
        "self_attention/": "self_attn_layer_norm",
        "ffn/": "final_layer_norm",
    }
    places = [("encoder/", "", [""])]
    places += [
        (f"encoder/layer_{n}/", f"layers.{n}.", ["self_attention/", "ffn/"]) for n in range(LAYERS)
    ]
    for at, there, inner in places:
        for part in inner:
            held[f"{at}{part}layer_norm/gamma"] = hf[f"{there}{norms[part]}.weight"]
            held[f"{at}{part}layer_norm/beta"] = hf[f"{there}{norms[part]}.bias"]
        if not there:
            continue
        none = {f"{there}self_attn.k_proj.bias": np.zeros(WIDTH, np.float32)}
        for part in ("weight", "bias"):
            qkv = [{**hf, **none}[f"{there}self_attn.{x}_proj.{part}"] for x in "qkv"]
            held[f"{at}self_attention/linear_0/{part}"] = np.concatenate(qkv)
            held[f"{at}self_attention/linear_1/{part}"] = hf[f"{there}self_attn.out_proj.{part}"]
            for number, name in enumerate(("fc1", "fc2")):
                held[f"{at}ffn/linear_{number}/{part}"] = hf[f"{there}{name}.{part}"]
    kinds = {"float32": 0, "int8": 1, "int16": 2}

    def text(word):
        return struct.pack("<H", len(word) + 1) + word.encode() + b"\0"

    content = struct.pack("<I", 6) + text("WhisperSpec") + struct.pack("<II", 3, len(held))
    for name, x in held.items():
        content += text(name) + struct.pack(f"<B{x.ndim}I", x.ndim, *x.shape)
        content += struct.pack("<BI", kinds[str(x.dtype)], x.nbytes) + x.tobytes()
    return content


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """One encoder in both forms."""
    from safetensors.numpy import save_file

    hf, root = published(), tmp_path_factory.mktemp("whisper")
    for name in ("hf", "ct2"):
        (root / name).mkdir()
        (root / name / "config.json").write_text('{"encoder_attention_heads": 2}')
        (root / name / "tokenizer.json").write_text("{}")
    save_file({f"model.encoder.{k}": x for k, x in hf.items()}, root / "hf" / "model.safetensors")
    (root / "ct2" / "model.bin").write_bytes(binary(hf))
    return root / "hf", root / "ct2"


def test_both_forms_of_weights_are_one_encoder(folders):
    one, other = map(WHISPER.read, folders)
    assert one.config == other.config and one.config.layers == LAYERS
    jax.tree.map(np.testing.assert_array_equal, one.params, other.params)
    assert encoder_named("whisper") is WHISPER
    with pytest.raises(InputError, match="cannot be tuned; choose from frozen, pooled"):
        specify(one, "x", max_tokens=9, mode="tuned", datasets=())


def test_padding_is_heard_as_silence_is(folders):
    """A short sound says what it says with silence behind it, and alone as among others."""
    encoder, rng = WHISPER.read(folders[0]), np.random.default_rng(1)
    short = rng.normal(0, 0.1, 5 * 320).astype(np.float32)
    full = np.concatenate([short, np.zeros(15 * 320, np.float32)])
    vectors_of, mask = embed(encoder, [short, full, np.zeros(0, np.float32)], POSITIONS)
    assert mask.sum(axis=1).tolist() == [6, 20, 0]
    np.testing.assert_allclose(vectors_of[0, :6], vectors_of[1, :6], atol=5e-3)
    assert np.std(vectors_of[1].astype(np.float32)) > 0.1
    (alone,), _ = embed(encoder, [short], POSITIONS)
    np.testing.assert_allclose(alone[:6], vectors_of[0, :6], atol=5e-3)


def test_what_cannot_be_read(folders, tmp_path):
    content = (folders[1] / "model.bin").read_bytes()
    with pytest.raises(InputError, match="version 5 of CTranslate2's format, not 6"):
        read_binary(struct.pack("<I", 5) + content[4:])
    hf = published()
    hf["conv1.weight"] = hf["conv1.weight"].astype(np.int8)
    with pytest.raises(InputError, match=r"quantised \(encoder/conv1/weight\)"):
        read_binary(binary(hf))
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "model.bin").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="weights of Whisper's encoder cannot be read"):
        WHISPER.read(tmp_path)


@pytest.mark.skipif(not CLIPS.is_dir(), reason=f"no raw CMU-MOSI at {CLIPS}")
@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in (*MODEL, "av")),
    reason="the packages of Whisper base, or av, are missing",
)
def test_it_says_what_the_reference_says_of_a_real_clip():
    encoder = WHISPER.read("whisper")
    ((_, samples),) = media.stretches(CLIPS / f"{EXPECTED['clip']}.wav")
    whole = np.pad(samples, (0, 30 * media.RATE - len(samples)))
    spectrum = log_mel(whole, encoder.config.bands)[[0, 100, 200, 300], ::16]
    np.testing.assert_allclose(spectrum, EXPECTED["spectrum"], atol=1e-4)
    tokens = encoder.tokenise([samples], encoder.config.positions)
    apply = jax.jit(WHISPER.module(encoder.config).apply)
    said = apply({"params": encoder.placed}, tokens.values[0], tokens.mask[0])
    picked = np.asarray(said)[EXPECTED["tokens"]][:, EXPECTED["columns"]]
    np.testing.assert_allclose(picked, EXPECTED["vectors"], atol=1e-3)
    made = vectors.Vectors("whisper").of(samples)
    assert made.shape == (17, 512) and vectors.ORIGIN.fullmatch(vectors.Vectors("whisper").origin)
    np.testing.assert_allclose(made[1], np.asarray(said)[10:20].mean(axis=0), atol=2e-2)
