"""Makes a prepared data set of recordings and a table of their labels.

  python -m launch.extract --input=clips --labels=clips/label.csv --name=mine --data_dir=data
  python -m launch.train --tasks=mmsa/mine --text=minilm --run_dir=runs/mine

INPUT is a folder with a recording for each row of LABELS, `VIDEO/CLIP.mp4` or `VIDEO_CLIP.wav`, in
any container. LABELS has MMSA's columns: video_id, clip_id (or id), text, label, mode (train,
valid, test), and label_T, label_A, label_V where they are known. Words are those of the column
text, or, with --words, what a speech model hears. Recordings that cannot be read are reported, left
out and counted. What is made of each is kept under DATA_DIR/extracted: a command that was stopped
goes on.
"""

import os
import sys
from pathlib import Path

from absl import flags
from tqdm import tqdm

import haemsa_datasets
from haemsa_datasets.catalog import prepared_path
from haemsa_datasets.mmsa import extracting
from haemsa_datasets.summary import to_table
from haemsa_jax.data import recordings
from haemsa_jax.errors import InputError
from haemsa_jax.extraction.clips import Recipe, Stretch
from haemsa_jax.extraction.many import hear_all
from haemsa_jax.extraction.vectors import Vectors
from haemsa_jax.extraction.words import PACKAGES

from . import hearing, program

_INPUT = flags.DEFINE_string("input", None, "Folder of recordings.", required=True)
_LABELS = flags.DEFINE_string("labels", None, "Table of labels; by default INPUT/label.csv.")
_NAME = flags.DEFINE_string("name", None, "The data set becomes mmsa/NAME.", required=True)
_DATA_DIR = flags.DEFINE_string("data_dir", "data", "Directory for prepared data sets.")
_AUDIO = flags.DEFINE_string(
    "audio",
    "eGeMAPSv02",
    "Feature set of openSMILE whose functionals are made; whisper, or the folder of a Whisper "
    "model, of whose encoder five vectors a second are made; none for none.",
)
_JOBS = flags.DEFINE_integer(
    "jobs", os.cpu_count(), "Processes that share the work.", lower_bound=1
)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Build again what is already prepared.")
hearing.define_flags(words="")


def main() -> None:
    folder, data_dir, name = Path(_INPUT.value), Path(_DATA_DIR.value), f"mmsa/{_NAME.value}"
    path = prepared_path(name, data_dir)
    clips = extracting.read_clips(Path(_LABELS.value or folder / "label.csv"))
    find = extracting.find_recordings(folder)
    recipe = Recipe(hearing.recogniser(threads=0 if _JOBS.value == 1 else 1), _audio())
    recordings = [(clip, place) for clip in clips if (place := find(clip))]
    if not recordings:
        raise InputError(f"--input={folder}: of {clips[0].id.replace('$_$', '/')} and all other "
                         f"{len(clips) - 1} clips of the table no recording is there")  # fmt: skip
    extracted: dict[int, Stretch] = {}

    def readable(clip: extracting.Clip, result: Stretch) -> bool:
        """Of a data set with features each sample has some."""
        return bool(len(result.audio) if recipe.audio else result.words or clip.words)

    with tqdm(total=len(recordings), desc=name, unit="clip", dynamic_ncols=True) as bar:
        for row, result in hear_all(
            [p for _, p in recordings], recipe, data_dir / "extracted", _JOBS.value
        ):
            if isinstance(result, Stretch) and not readable(recordings[row][0], result):
                result = f"{recordings[row][1]}: it is too short, or nobody speaks; leave it out"
            if isinstance(result, str):
                tqdm.write(f"left out: {result}", file=sys.stderr)
            else:
                extracted[row] = result
            bar.update()
    if not extracted:
        raise InputError(f"--input={folder}: none of {len(recordings)} recordings can be read")
    absent, left_out = len(clips) - len(recordings), len(recordings) - len(extracted)
    print(
        f"{name}: {len(extracted)} of {len(clips)} clips; {absent} have no recording, "
        f"{left_out} were left out"
    )
    pickle = data_dir / "extracted" / f"{_NAME.value}.pkl"
    rows = [(recordings[row][0], extracted[row]) for row in sorted(extracted)]
    extracting.write_pickle(pickle, rows, recipe.provenance)
    summary = haemsa_datasets.prepare(name, pickle, data_dir, _OVERWRITE.value, report=print)
    print(to_table(name, summary, path))


def _audio() -> str | Vectors | None:
    name = _AUDIO.value
    if name == "none":
        return None
    if name in PACKAGES or Path(name).is_dir():
        return Vectors(name)
    return recordings.provenance(name, resampled=True)


def run() -> None:
    """The program as a command."""
    program.run(main)


if __name__ == "__main__":
    run()
