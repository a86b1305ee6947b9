"""Acoustic features of a recording by openSMILE, named so that a network knows its own again.

Needs the packages of the extra `audio`: `opensmile`, which has the feature sets within it, and
`audiofile`.
"""

import os
import re
from pathlib import Path

import numpy as np

from haemsa_jax.errors import InputError

LEVELS = {"functionals": "Functionals", "low-level descriptors": "LowLevelDescriptors"}
NAMED = re.compile(rf"(\d+) openSMILE (\w+) ({'|'.join(LEVELS)})")


def provenance(feature_set: str, level: str = "functionals") -> str:
    """What a data set says of its audio, such as `384 openSMILE IS09 functionals`.

    Args:
      feature_set: of `opensmile.FeatureSet`, such as `eGeMAPSv02`, `IS09` or `ComParE_2016`.
      level: `functionals`, one vector a recording, or `low-level descriptors`, one every 10 ms.

    Raises:
      InputError: there is no such set or level, or opensmile is not installed.
    """
    return f"{_smile(feature_set, level).num_features} openSMILE {feature_set} {level}"


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
    if named is None:
        raise InputError(
            f"{path} is a recording, but the audio wanted is {wanted!r}, which cannot be made "
            "from one here; give features made as those were"
        )
    if not path.is_file():
        raise InputError(f"there is no recording {path}")
    width, feature_set, level = named.groups()
    smile = _smile(feature_set, level)
    if smile.num_features != int(width):
        raise InputError(
            f"{path}: {name!r} is wanted, but openSMILE's {feature_set} has "
            f"{smile.num_features} {level}; install the version that made them"
        )
    try:
        features = smile.process_signal(*_heard(path)).to_numpy(np.float32)
    except InputError:
        raise
    except Exception as error:  # of libsndfile, ffmpeg or openSMILE, which have no common class
        raise InputError(f"{path} cannot be read as a recording: {error}") from error
    if not len(features) or not np.isfinite(features).all():
        raise InputError(f"{path} is too short or holds no sound; leave audio out")
    return features


def _heard(path: Path) -> tuple[np.ndarray, int]:
    """The mean of a recording's channels, float32[samples] within 16 bits, and samples a second."""
    import audiofile

    channels, rate = audiofile.read(str(path), always_2d=True)
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
