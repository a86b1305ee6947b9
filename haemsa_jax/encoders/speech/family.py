"""Whisper's encoder as an encoder of sound, 16,000 samples a second, frozen or pooled."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np
from jaxtyping import Float

from haemsa_jax.encoders.interface import register
from haemsa_jax.encoders.speech.module import FAMILY, FRAMES, MODALITY, Whisper, WhisperConfig
from haemsa_jax.encoders.speech.weights import read_params
from haemsa_jax.errors import InputError
from haemsa_jax.extraction.media import RATE
from haemsa_jax.extraction.words import Recogniser, files_of

HOP, WINDOW = RATE // 100, RATE // 40


@dataclass(frozen=True)
class Spectra:
    """N sounds as tokens of two frames: float32[N, T, 2 bands], bool[N, T]."""

    values: np.ndarray
    mask: np.ndarray


@dataclass(frozen=True)
class Pretrained:
    """The encoder with its weights."""

    folder: Path
    config: WhisperConfig
    params: Mapping[str, Any]
    fingerprint: str
    family: ClassVar[str] = FAMILY

    @functools.cached_property
    def placed(self) -> Mapping[str, Any]:
        """The parameters on the device."""
        return jax.device_put(dict(self.params))

    def tokenise(self, raw: Sequence[np.ndarray], max_tokens: int) -> Spectra:
        """Sounds float32[samples] to log-mel spectra, cut off after `max_tokens` of 20 ms."""
        step, longest = FRAMES * HOP, min(max_tokens, self.config.positions)
        # A window around the first place behind a sound still hears its end.
        ends = [len(sound) and len(sound) + WINDOW // 2 for sound in raw]
        lengths = np.array([min(-(-end // step), longest) for end in ends], int)
        values = np.zeros((len(raw), max(1, *lengths), FRAMES * self.config.bands), np.float32)
        for row, sound, length in zip(values, raw, lengths, strict=True):
            whole = np.zeros(self.config.positions * step, np.float32)
            sound = sound[: length * step]
            whole[: len(sound)] = sound
            spectrum = log_mel(whole, self.config.bands).reshape(self.config.positions, -1)
            row[:length] = spectrum[:length]
        return Spectra(values, np.arange(values.shape[1]) < lengths[:, None])


def log_mel(
    samples: Float[np.ndarray, " samples"], bands: int
) -> Float[np.ndarray, "frames bands"]:
    """Whisper's spectrum: log10 of mel energies, cut 8 below the loudest.

    Hann windows of 25 ms every 10 ms; mel bands are Slaney's (1998), of area one, up to 8 kHz.
    """
    padded = np.pad(samples, WINDOW // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP][:-1]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    energy = np.abs(np.fft.rfft(frames * window)).astype(np.float32) ** 2
    logs = np.log10(np.maximum(energy @ _mel(bands), 1e-10))
    return ((np.maximum(logs, logs.max() - 8.0) + 4.0) / 4.0).astype(np.float32)


@functools.cache
def _mel(bands: int) -> np.ndarray:
    """float32[bins, bands]: triangles, linear up to 1 kHz and logarithmic above."""
    mels = np.linspace(0, 15 + np.log(RATE / 2000) / (np.log(6.4) / 27), bands + 2)
    above = 1000 * np.exp((mels - 15) * np.log(6.4) / 27)
    edges = np.where(mels < 15, mels * 200 / 3, above)
    bins = np.fft.rfftfreq(WINDOW, 1 / RATE)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    triangles = np.maximum(0, np.minimum(rising, falling))
    return (triangles * 2 / (edges[2:] - edges[:-2])).astype(np.float32)


class WhisperFamily:
    """What `encoders.interface.Encoder` asks for; never within a network, so without adapters."""

    family, modality, raw = FAMILY, MODALITY, "sound"
    modes: tuple[str, ...] = ("frozen", "pooled")
    shapes: type = WhisperConfig

    def read(self, name: str | Path) -> Pretrained:
        """A folder of Hugging Face's or of CTranslate2, or a packaged one by its name."""
        config, params = read_params(files_of(str(name)))
        return Pretrained(Path(name), config, params, Recogniser(str(name)).fingerprint)

    def has_raw(self, dataset: Any) -> bool:
        """Prepared data sets hold no sound."""
        return False

    def raw_of(self, split: Any) -> list[np.ndarray]:
        """None."""
        return [np.zeros(0, np.float32)] * len(split)

    def given(self, value: Any, speaker: str) -> np.ndarray | None:
        """float[samples]."""
        if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind == "f":
            if not np.isfinite(value).all():
                raise InputError("audio holds samples that are no finite numbers")
            return value.astype(np.float32)
        return None

    def module(self, shapes, *, rank=0, precision="float32", marks=False, name=None) -> Whisper:
        """`module.Whisper`."""
        return Whisper(shapes, name=name)

    def encode(self, module, values, mask, **_: Any):
        """One after the other: attention over 30 s takes much memory."""
        flat = values.reshape(-1, *values.shape[-2:]), mask.reshape(-1, mask.shape[-1])
        module, variables = module.unbind()
        encoded = jax.lax.map(lambda one: module.apply(variables, *one), flat)
        return encoded.reshape(*mask.shape, -1)

    def split(self, params: Mapping[str, Any]) -> tuple[dict, dict]:
        """Nothing adapts."""
        return {}, dict(params)

    def fold(self, params: Mapping[str, Any], weight: float = 1.0) -> dict:
        """There are no adapters."""
        return dict(params)

    def unmark(self, params: Mapping[str, Any]) -> dict:
        """There is no mark."""
        return dict(params)

    def slow(self, updates: Mapping[str, Any], rate: float, decay: float) -> dict:
        """All alike."""
        return jax.tree.map(lambda x: rate * x, dict(updates))


WHISPER = register(WhisperFamily())
