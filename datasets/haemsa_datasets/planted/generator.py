"""Draws planted samples: what is hidden, and how features carry it.

Hidden are two independent standard normals, `u` and `v`. Text carries u, audio carries v, vision
carries two further values that no label depends on:

  text    one token is marked by a high value in one direction, and u is its value in another; the
          other tokens have decoy values there.
  audio   one direction rises by v / `PACE` from token to token, from an offset drawn anew.
  vision  both of these at once, with values of its own.

The remaining directions hold small noise, and an orthogonal matrix, fixed for the data set, mixes
all directions of a modality. So u and v can be recovered exactly, by finding the marked token or
comparing neighbours, while the mean over tokens says little of u and nothing of v.

What vision carries is independent of everything, or, with an `echo`, noisy copies of u and v, of
that correlation.
"""

from dataclasses import dataclass

import numpy as np

from haemsa_datasets.samples import Sample

SIZES = {"train": 1500, "validation": 400, "test": 800}
WIDTHS = {"text": 16, "audio": 8, "vision": 12}
LENGTHS = {"text": (6, 12), "audio": (10, 20), "vision": (8, 16)}

AUDIO_WEIGHT = 0.8  # sentiment = u + AUDIO_WEIGHT v + LABEL_NOISE e, clipped to RANGE
LABEL_NOISE = 0.3
RANGE = (-3.0, 3.0)
FLIPPED = 0.05  # share of the agreement labels that are turned round
ABSENT = 0.1  # chance that a modality is missing; drawn again where all are

MARKER = 3.0  # height of the marked token, above noise of scale NUISANCE
DECOY = 0.7  # scale of the values at the other tokens
PACE = 2.5  # tokens in which the trend rises by its rate
NUISANCE = 0.2  # scale of the directions that carry nothing

VALUE, MARK, TREND = 0, 1, 2  # directions before mixing


@dataclass(frozen=True)
class Hidden:
    """What lies behind N samples.

    Attributes:
      u, v: float64[N], carried by text and by audio.
      beside: float64[N, 2], carried by vision.
      presence: bool[N, 3], text, audio, vision.
      sentiment: float64[N], in `RANGE`.
      agreement: int[N], 1 where the signs of u and v agree, `FLIPPED` of them turned round.
    """

    u: np.ndarray
    v: np.ndarray
    beside: np.ndarray
    presence: np.ndarray
    sentiment: np.ndarray
    agreement: np.ndarray


def draw_hidden(rng: np.random.Generator, count: int, echo: float = 0.0) -> Hidden:
    """Latent values, presence and labels of `count` samples.

    `echo` is the correlation of what vision carries with u and v.
    """
    u, v, noise = rng.standard_normal((3, count))
    agrees = (u > 0) == (v > 0)
    flipped = rng.random(count) < FLIPPED
    return Hidden(
        u=u,
        v=v,
        beside=echo * np.stack([u, v], axis=1)
        + np.sqrt(1.0 - echo**2) * rng.standard_normal((count, 2)),
        presence=_draw_presence(rng, count),
        sentiment=np.clip(u + AUDIO_WEIGHT * v + LABEL_NOISE * noise, *RANGE),
        agreement=(agrees ^ flipped).astype(int),
    )


def generate(seed: int, echo: float = 0.0) -> dict[str, list[Sample]]:
    """All samples by split, a function of the arguments; every split has its own random stream."""
    streams = np.random.SeedSequence(seed).spawn(1 + len(SIZES))
    mixing = draw_mixing(np.random.Generator(np.random.PCG64(streams[0])))
    splits = {}
    for (split, count), stream in zip(SIZES.items(), streams[1:], strict=True):
        rng = np.random.Generator(np.random.PCG64(stream))
        hidden = draw_hidden(rng, count, echo)
        splits[split] = [
            _sample(rng, f"{split}-{row:04d}", hidden, row, mixing) for row in range(count)
        ]
    return splits


def draw_mixing(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Per modality an orthogonal matrix float64[d, d]; `features @ matrix.T` undoes it."""
    return {
        modality: np.linalg.qr(rng.standard_normal((width, width)))[0]
        for modality, width in WIDTHS.items()
    }


def _draw_presence(rng: np.random.Generator, count: int) -> np.ndarray:
    presence = np.zeros((count, len(WIDTHS)), bool)
    while (missing := ~presence.any(axis=1)).any():
        presence[missing] = rng.random((missing.sum(), len(WIDTHS))) >= ABSENT
    return presence


def _sample(
    rng: np.random.Generator, name: str, hidden: Hidden, row: int, mixing: dict[str, np.ndarray]
) -> Sample:
    tokens = {
        modality: NUISANCE * rng.standard_normal((rng.integers(low, high, endpoint=True), width))
        for (modality, (low, high)), width in zip(LENGTHS.items(), WIDTHS.values(), strict=True)
    }
    _mark(rng, tokens["text"], hidden.u[row])
    _tilt(rng, tokens["audio"], hidden.v[row])
    _mark(rng, tokens["vision"], hidden.beside[row, 0])
    _tilt(rng, tokens["vision"], hidden.beside[row, 1])
    features = {
        modality: (values @ mixing[modality]).astype(np.float32)[: len(values) * present]
        for (modality, values), present in zip(tokens.items(), hidden.presence[row], strict=True)
    }
    labels = {"sentiment": hidden.sentiment[row], "agreement": hidden.agreement[row]}
    return Sample(name, name, 0, features, labels, origin=f"planted sample {name}")


def _mark(rng: np.random.Generator, tokens: np.ndarray, value: float) -> None:
    """Hides `value` at one marked token, among decoys. Changes `tokens` [T, d]."""
    place = rng.integers(len(tokens))
    tokens[:, VALUE] = DECOY * rng.standard_normal(len(tokens))
    tokens[place, VALUE] = value
    tokens[place, MARK] += MARKER


def _tilt(rng: np.random.Generator, tokens: np.ndarray, rate: float) -> None:
    """Lets one direction rise by `rate` in `PACE` tokens. Changes `tokens` [T, d]."""
    time = np.arange(len(tokens)) - (len(tokens) - 1) / 2
    tokens[:, TREND] = rng.standard_normal() + rate * time / PACE
