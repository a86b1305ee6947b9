"""Acoustic features of a recording by openSMILE, named so that a network knows its own again.

Needs the packages of the extra `audio`: `opensmile`, which has the feature sets within it, and
`audiofile`.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from haemsa_jax.errors import InputError
from haemsa_jax.extraction import media

LEVELS = {"functionals": "Functionals", "low-level descriptors": "LowLevelDescriptors"}
_MADE = rf", {media.RATE} Hz, opensmile "
NAMED = re.compile(rf"(\d+) openSMILE (\w+) ({'|'.join(LEVELS)})(?:{_MADE}([\w.]+))?")


def provenance(feature_set: str, level: str = "functionals", resampled: bool = False) -> str:
    """What a data set says of its audio, such as `384 openSMILE IS09 functionals`.

    Args:
      feature_set: of `opensmile.FeatureSet`, such as `eGeMAPSv02`, `IS09` or `ComParE_2016`.
      level: `functionals`, one vector a recording, or `low-level descriptors`, one every 10 ms.
      resampled: whether they are of 16,000 samples a second, whatever the recording has; then
        openSMILE's version is said, too.

    Raises:
      InputError: there is no such set or level, or opensmile is not installed.
    """
    made = f"{_MADE}{_opensmile().__version__}" if resampled else ""
    return f"{_smile(feature_set, level).num_features} openSMILE {feature_set} {level}{made}"


def features(samples: np.ndarray, rate: int, wanted: str, origin: str) -> np.ndarray:
    """Features of float32[samples], float32[T, d]; T is 0 where they are too short or silent.

    Args:
      samples, rate: the sound, and how many of it make a second.
      wanted: as `provenance` says it.
      origin: for messages.

    Raises:
      InputError: openSMILE cannot make these features, or fails.
    """
    named = NAMED.fullmatch(wanted)
    if named is None:
        raise InputError(
            f"{origin} is a recording, but the audio wanted is {wanted!r}, which cannot be made "
            "from one here; give features made as those were"
        )
    width, feature_set, level, version = named.groups()
    smile, here = _smile(feature_set, level), _opensmile().__version__
    if smile.num_features != int(width) or version not in (None, here):
        raise InputError(
            f"{origin}: {wanted!r} is wanted, but openSMILE's {feature_set} has "
            f"{smile.num_features} {level} in version {here}; install the version that made them"
        )
    try:
        made = smile.process_signal(samples, rate).to_numpy(np.float32)
    except Exception as error:  # of openSMILE, which has no class of errors
        raise InputError(f"{origin} cannot be read as a recording: {error}") from error
    return made if np.isfinite(made).all() else made[:0]


def extract(path: str | os.PathLike, wanted: str) -> np.ndarray:
    """Features of one recording, float32[T, d], of its channels' mean.

    Args:
      path: a `.wav` file, or another that libsndfile reads.
      wanted: a feature set such as `eGeMAPSv02`, whose functionals are made, or words for features
        as `provenance` says them, which a data set has kept.

    Raises:
      InputError: the recording cannot be read or holds nothing, or the features are others than
        openSMILE's.
    """
    path, name = Path(path), wanted
    if re.fullmatch(r"\w+", wanted) and wanted in _feature_sets():
        name = provenance(wanted)
    named = NAMED.fullmatch(name)
    if named and named[4]:
        pieces = media.stretches(path)
        made = joined([(len(x), features(x, media.RATE, name, str(path))) for _, x in pieces], name)
    else:
        samples, rate = _heard(path) if named else (np.zeros(0, np.float32), media.RATE)
        made = features(samples, rate, name, str(path))
    if not len(made):
        raise InputError(f"{path} is too short or holds no sound; leave audio out")
    return made


def joined(parts: Sequence[tuple[float, np.ndarray]], name: str) -> np.ndarray:
    """Features of stretches of one recording as its own: one after the other, or their mean.

    Args:
      parts: of each stretch its seconds, by which functionals weigh, and float[T, d], its features.
      name: of the features.
    """
    known = [(length, made) for length, made in parts if len(made)]
    if len(known) < 2 or " functionals" not in name:
        return np.concatenate([made for _, made in known] or [parts[0][1]])
    lengths, made = zip(*known, strict=True)
    return np.average(made, axis=0, weights=lengths).astype(np.float32)


def _heard(path: Path) -> tuple[np.ndarray, int]:
    """The mean of a recording's channels, float32[samples] within 16 bits, and samples a second."""
    import audiofile

    if not path.is_file():
        raise InputError(f"there is no recording {path}")
    try:
        channels, rate = audiofile.read(str(path), always_2d=True)
    except Exception as error:  # of libsndfile or ffmpeg, which have no common class
        raise InputError(f"{path} cannot be read as a recording: {error}") from error
    if not np.isfinite(channels).all():
        raise InputError(
            f"{path} holds samples that are no finite numbers; record or save it again"
        )
    mean = channels.mean(axis=0, dtype=np.float64)
    # openSMILE makes 16 bits of them, in which what is louder would change its sign.
    return np.clip(mean, -1.0, 1.0 - 2.0**-15).astype(np.float32), rate


def _feature_sets() -> list[str]:
    return [one.name for one in _opensmile().FeatureSet]


def _opensmile():
    try:
        import opensmile
    except ImportError as error:
        raise InputError(
            "recordings need the package opensmile: pip install opensmile (the extra `audio`)"
        ) from error
    return opensmile


def _smile(feature_set: str, level: str):
    opensmile, sets = _opensmile(), _feature_sets()
    if feature_set not in sets:
        raise InputError(f"openSMILE has no {feature_set!r}; choose from {', '.join(sets)}")
    if level not in LEVELS:
        raise InputError(f"level={level!r} is unknown; choose from {', '.join(LEVELS)}")
    return opensmile.Smile(opensmile.FeatureSet[feature_set], opensmile.FeatureLevel[LEVELS[level]])
