"""What a network reads of a recording: one path for preparing data and for predicting."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from haemsa_jax.data import recordings
from haemsa_jax.data.arrays import read_arrays
from haemsa_jax.errors import InputError
from haemsa_jax.extraction import media
from haemsa_jax.extraction.vectors import Vectors
from haemsa_jax.extraction.words import Recogniser, Words
from haemsa_jax.writing import draft_of


@dataclass(frozen=True)
class Stretch:
    """What is heard in a recording, or in a stretch of it.

    Attributes:
      start, end: seconds.
      words: that are said; empty where nobody speaks, or where nobody listened for words.
      language: of the words; empty likewise.
      audio: float32[T, d], T = 0 where it is silent or there is no recipe of it.
    """

    start: float
    end: float
    words: str
    language: str
    audio: np.ndarray


@dataclass(frozen=True)
class Recipe:
    """What is to be made of recordings.

    Attributes:
      recogniser: of the words; None for none.
      audio: features as `recordings.provenance` says them, or what makes vectors; None for none.
    """

    recogniser: Recogniser | None = None
    audio: str | Vectors | None = None

    @property
    def provenance(self) -> dict[str, str]:
        """What a data set says of what was made."""
        words = {"words": self.recogniser.origin} if self.recogniser else {}
        made = self.audio.origin if isinstance(self.audio, Vectors) else self.audio
        return words | ({"audio": made} if made else {})

    def check(self) -> None:
        """Refuses what cannot be made of any recording here.

        Raises:
          InputError: a package or a model is missing.
        """
        media.decoder()
        _ = self.provenance
        if self.recogniser:
            self.recogniser.package()

    def stretches(self, path: Path) -> Iterator[Stretch]:
        """A recording piece by piece; each is made when it is asked for.

        Raises:
          InputError: it cannot be decoded, a package is missing, or there is silence throughout.
        """
        silent = True
        for start, samples in media.stretches(path):
            transcript, audio = Words("", ""), np.zeros((0, 0))
            if not media.is_silent(samples):
                silent = False
                if isinstance(self.audio, Vectors):
                    audio = self.audio.of(samples)
                elif self.audio:
                    audio = recordings.features(samples, media.RATE, self.audio, str(path))
                if self.recogniser:
                    transcript = self.recogniser.transcribe(samples)
            end = start + len(samples) / media.RATE
            yield Stretch(
                start, end, transcript.text, transcript.language, audio.astype(np.float32)
            )
        if silent:
            raise InputError(f"{path} holds silence; leave it out")

    def whole(self, path: Path, cache: Path | None = None) -> Stretch:
        """A recording as one utterance: all its words, its functionals' mean.

        Args:
          path: the recording.
          cache: folder of earlier results, by the recording's content and this recipe.

        Raises:
          InputError: as `stretches` raises it.
        """
        kept = cache and path.is_file() and cache / self._key / f"{_digest(path)}.npz"
        if kept and (stretch := _read(kept)):
            return stretch
        stretch = _joined(self.stretches(path), self.provenance.get("audio", ""))
        if kept:
            kept.parent.mkdir(parents=True, exist_ok=True)
            with draft_of(kept) as draft:
                np.savez(draft, **vars(stretch))
        return stretch

    @property
    def _key(self) -> str:
        return hashlib.sha256(json.dumps(self.provenance).encode()).hexdigest()[:16]


def _joined(stretches: Iterable[Stretch], name: str) -> Stretch:
    parts = list(stretches)
    languages = [part.language for part in parts if part.language]
    weighed = [(part.end - part.start, part.audio) for part in parts]
    return Stretch(
        0.0,
        parts[-1].end,
        " ".join(part.words for part in parts if part.words),
        max(languages, key=languages.count, default=""),
        recordings.joined(weighed, name),
    )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def _read(path: Path) -> Stretch | None:
    """An earlier result; None where there is none, or a damaged one, which is made again."""
    try:
        values: dict[str, Any] = {
            name: x if x.ndim else x.item() for name, x in read_arrays(path).items()
        }
        return Stretch(**values)
    except (OSError, InputError, TypeError):
        return None
