"""Runs an exported network. Needs jax and numpy alone, and flatbuffers, which jax.export reads
with; a copy of this file lies beside the export.

    model = load("exported")
    said = model(text=text, audio=audio)        # float[B, T, d] each, T from 1 to `model.tokens`
    said["ui"]["mean"], said["ui"]["spread"]    # float[B]; float[B, classes] of a classification

`spread` is the sample standard deviation over networks, None where the export holds one.

Shorter arrays are padded, which changes nothing; samples of different lengths are padded with
anything, and their masks, bool[B, T], say which tokens count: `model(text=text, text_mask=mask)`. A
modality that a sample lacks is left out, or has an all-False row in its mask. `model.reads` says
which modalities each task reads; what none of them reads is ignored, and a task that finds nothing
it reads says the same of every sample. Where the network reads context, arrays are float[B, U, T,
d]: U utterances, `model.past` before the target, the target, those after it. Where
`model.speakers` is true, `speaker` may name who speaks, [B, U], empty where nobody knows.
"""

import json
import math
import os

import jax
import jax.export
import numpy as np

MODEL, WEIGHTS, CONFIG = "model.stablehlo", "weights.safetensors", "config.json"


def load(directory):
    """The network in a directory that launch.export wrote."""
    with open(os.path.join(directory, CONFIG), encoding="utf-8") as file:
        config = json.load(file)
    with open(os.path.join(directory, MODEL), "rb") as file:
        exported = jax.export.deserialize(bytearray(file.read()))
    return Model(config["interface"], exported, read_safetensors(os.path.join(directory, WEIGHTS)))


class Model:
    """An exported network; see the top of this file."""

    def __init__(self, interface, exported, weights):
        self.widths, self.tokens = interface["widths"], interface["tokens"]
        self.past, self.future = interface["context"]
        self.tasks, self.reads = interface["tasks"], interface["reads"]
        self.speakers = interface.get("speakers", False)  # earlier versions did not write it
        self._call = jax.jit(exported.call)  # compiled once for each batch size
        self._weights = jax.device_put(weights)

    def __call__(self, **arrays):
        """By task `mean` and `spread` over the networks, as NumPy arrays; None for one's spread."""
        given = {name: np.asarray(x) for name, x in arrays.items() if x is not None}
        names = given.pop("speaker", None) if self.speakers else None
        unknown = {*given} - {*self.widths} - {f"{m}_mask" for m in self.widths}
        if unknown or not {*given} & {*self.widths}:
            raise ValueError(f"got {sorted(given)}; expected some of {sorted(self.widths)}")
        read = sorted({m for task in self.reads.values() for m in task})
        if not {*given} & {*read}:
            raise ValueError(f"got {sorted(given)}, of which nothing is read; give some of {read}")
        batch = len(next(iter(given.values())))
        features, masks = {}, {}
        for m in self.widths:
            shape = (batch, self.past + 1 + self.future, self.tokens[m], self.widths[m])
            features[m], masks[m] = self._padded(m, given.get(m), given.get(f"{m}_mask"), shape)
        told = [_numbered(names, shape[:2])] if self.speakers else []
        return jax.tree.map(np.asarray, self._call(self._weights, features, masks, *told))

    def _padded(self, name, values, mask, shape):
        full, valid = np.zeros(shape, np.float32), np.zeros(shape[:3], bool)
        if values is None:
            return full, valid
        self._check_shape(name, values, shape)
        inner = (*shape[:2], values.shape[-2])
        mask = np.ones(inner, bool) if mask is None else mask.astype(bool)
        if mask.shape not in (inner, values.shape[:-1]):
            wanted = values.shape[:-1]
            raise ValueError(f"{name}_mask has shape {mask.shape}; expected {wanted}, as {name}")
        values, mask = values.reshape(*inner, shape[3]), mask.reshape(inner)
        values = np.where(mask[..., None], values, 0.0)
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            raise ValueError(
                f"{name} is {values[tuple(bad[0])]} at sample, utterance, token, column "
                f"{bad[0].tolist()}; replace values that are not finite, or mask them"
            )
        full[:, :, : values.shape[2]] = values
        valid[:, :, : values.shape[2]] = mask
        return full, valid

    def _check_shape(self, name, values, shape):
        """Speaks of the array as it was given, and tells what is too long from what is wrong."""
        batch, utterances, most, width = shape
        inner = "T" if utterances == 1 else f"{utterances}, T"
        expected = f"({batch}, {inner}, {width}), T from 1 to {most} tokens"
        if utterances > 1:
            expected += f", {self.past} utterances before the target, it, {self.future} after it"
        depths = (3, 4) if utterances == 1 else (4,)
        fits = values.ndim in depths and values.shape[-1] == width and values.shape[0] == batch
        fits = fits and (values.ndim == 3 or values.shape[1] == utterances)
        if not fits or not 1 <= values.shape[-2] <= most:
            longer = "; cut it, or export again with more --tokens" if fits else ""
            if fits and utterances > 1:
                longer = "; cut it: with context the limit is that of training"
            raise ValueError(f"{name} has shape {values.shape}; expected {expected}{longer}")


def _numbered(names, shape):
    """int32[B, U], equal of the same speaker, -1 where it is not known."""
    if names is None:
        return np.full(shape, -1, np.int32)
    if names.shape != shape or names.dtype.kind not in "UO":
        raise ValueError(
            f"speaker is {names.dtype}{list(names.shape)}; expected names {list(shape)}"
        )
    every, numbers = np.unique(names.astype(str), return_inverse=True)
    return np.where(every == "", -1, np.arange(len(every)))[numbers].reshape(shape).astype(np.int32)


def read_safetensors(path):
    """By name the arrays of a file: its header is JSON, the rest their bytes."""
    with open(path, "rb") as file:
        head = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        body = file.read()
    kinds = {"F32": np.float32, "F16": np.float16, "I32": np.int32, "BOOL": np.bool_}
    tensors = {}
    for name, of in head.items():
        if name == "__metadata__":
            continue
        start, end = of["data_offsets"]
        kind = np.dtype(kinds[of["dtype"]])
        if len(body[start:end]) != kind.itemsize * math.prod(of["shape"]):
            raise ValueError(f"{path} is damaged at {name}")
        tensors[name] = np.frombuffer(body[start:end], kind).reshape(of["shape"])
    return tensors
