"""The sound of a recording in any container, decoded piece by piece.

Needs the package `av` (the extra `media`) or the program `ffmpeg`.
"""

import functools
import importlib.util
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float

from haemsa_jax.errors import InputError

RATE = 16_000  # samples a second
LONGEST = 30  # seconds of a stretch; Whisper reads as much at once
# Of several recordings of one clip the first, which has lost least.
SUFFIXES = (
    ".wav", ".flac", ".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".mpg", ".flv", ".m4a",
    ".mp3", ".ogg", ".opus", ".aac", ".wma",
)  # fmt: skip
LOWEST = 1000  # samples a second of a recording
_BLOCK = 1 << 16  # bytes that are read from ffmpeg at once
_LOUDEST = 2**15  # of full scale: beyond it, 16 bits of it wrap around
_SILENT = 2.0**-12  # of full scale: eight steps of 16 bits


def is_recording(path: Path) -> bool:
    """Whether a file is one by its name."""
    return path.suffix.lower() in SUFFIXES


def is_silent(samples: Float[np.ndarray, " samples"]) -> bool:
    """Whether there is nothing to hear, but for the noise of a converter."""
    return not len(samples) or float(np.abs(samples).max()) < _SILENT


def stretches(path: Path) -> Iterator[tuple[float, Float[np.ndarray, " samples"]]]:
    """A recording in stretches of at most 30 s, cut where it is quietest.

    No more than one stretch is held, however long the recording is.

    Yields:
      The second at which it begins, and the mean of the channels within [-1, 1], 16,000 a second.

    Raises:
      InputError: it is not there, has no sound, or cannot be decoded.
    """
    start, held, count = 0, [], 0
    for block in _blocks(path):
        held.append(block)
        count += len(block)
        while count > LONGEST * RATE:
            whole = np.concatenate(held)
            end = _pause(whole[: LONGEST * RATE])
            yield start / RATE, whole[:end]
            start, held, count = start + end, [whole[end:]], count - end
    if not start + count:
        raise InputError(f"{path} has no sound: its audio stream is empty; leave it out")
    if count:
        yield start / RATE, np.concatenate(held)


def _pause(samples: np.ndarray) -> int:
    """Where the quietest tenth of a second of the last third has its middle."""
    tenth, first = RATE // 10, len(samples) * 2 // 3
    rest = samples[first : first + (len(samples) - first) // tenth * tenth]
    loudness = np.square(rest.reshape(-1, tenth)).mean(axis=1)
    return first + int(loudness.argmin()) * tenth + tenth // 2


def _blocks(path: Path) -> Iterator[np.ndarray]:
    """float32[samples] one after the other, of 16 bits."""
    if not path.is_file():
        raise InputError(f"there is no recording {path}")
    yield from decoder()(path)


def decoder() -> Callable[[Path], Iterator[np.ndarray]]:
    """What decodes here.

    Raises:
      InputError: neither the package nor the program is installed.
    """
    if importlib.util.find_spec("av") is not None:
        return _by_av
    if program := shutil.which("ffmpeg"):
        return functools.partial(_by_ffmpeg, program)
    raise InputError(
        "recordings need the package av (pip install av, the extra `media`) or the program ffmpeg; "
        "beside it functionals (--audio) opensmile (the extra `audio`), and words that are to be "
        "heard (--words) faster-whisper (the extra `speech`)"
    )


def _by_av(path: Path) -> Iterator[np.ndarray]:
    import av

    try:
        with av.open(str(path), metadata_errors="ignore") as container:
            if not container.streams.audio:
                raise InputError(f"{path} has no sound: there is no audio stream; leave it out")
            # Of 16 bits: of floats, FFmpeg adds channels up and does not take their mean.
            resampler = av.AudioResampler("s16", "mono", RATE)
            for frame in container.decode(audio=0):
                _check(frame, path)
                yield from map(_floats, resampler.resample(frame))
            yield from map(_floats, resampler.resample(None))
    except (av.error.FFmpegError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path} cannot be decoded as a recording: {reason}") from error


def _check(frame, path: Path) -> None:
    """A damaged header may make hours of a second, and FFmpeg makes full scale of NaN."""
    if frame.sample_rate < LOWEST:
        raise InputError(
            f"{path} says {frame.sample_rate} samples a second, and sound has at least {LOWEST}; "
            "it is damaged, leave it out"
        )
    if not frame.format.name.startswith(("flt", "dbl")):
        return
    if not (np.abs(frame.to_ndarray()) < _LOUDEST).all():
        raise InputError(
            f"{path} holds samples that are no sound (NaN, or beyond {_LOUDEST} times full scale); "
            "leave it out"
        )


def _floats(frame) -> np.ndarray:
    return frame.to_ndarray()[0].astype(np.float32) / 2**15


def _by_ffmpeg(program: str, path: Path) -> Iterator[np.ndarray]:
    out = ["-map", "0:a:0", "-f", "s16le", "-ac", "1", "-ar", str(RATE), "-"]
    command = [program, "-nostdin", "-v", "error", "-i", f"file:{path}", *out]
    with (
        tempfile.TemporaryFile() as errors,  # a pipe that nobody reads fills up
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors) as process,
    ):
        assert process.stdout
        while block := process.stdout.read(_BLOCK):
            yield np.frombuffer(block[: len(block) // 2 * 2], "<i2").astype(np.float32) / 2**15
        process.wait()
        errors.seek(0)
        message = errors.read().decode(errors="replace").strip()
    if "matches no streams" in message:
        raise InputError(f"{path} has no sound: there is no audio stream; leave it out")
    if process.returncode:
        raise InputError(f"{path} cannot be decoded as a recording: {message}")
