"""The sentiment task of the CMU data sets, and the `label.csv` in which their words are shared."""

from dataclasses import dataclass
from pathlib import Path
from string import whitespace  # of ASCII; others may be letters of cp1252

from haemsa_datasets.files import find_file, read_table
from haemsa_datasets.samples import Sample
from haemsa_jax.config import TaskSpec
from haemsa_jax.data.values import decimal, identifier
from haemsa_jax.errors import InputError

SENTIMENT = TaskSpec(
    "sentiment",
    "regression",
    (
        "mae",
        "corr",
        "acc7",
        "acc5",
        "acc3",
        "acc2_has0",
        "f1_has0",
        "acc2_non0",
        "f1_non0",
    ),
    range=(-3.0, 3.0),
)

# As MMSA reports CH-SIMS, whose labels lie in [-1, 1].
SIMS_METRICS = ("mae", "corr", "sims_acc2", "sims_acc3", "sims_acc5", "sims_f1")

MODES = {"train": "train", "dev": "validation", "valid": "validation", "test": "test"}


@dataclass(frozen=True)
class Labelled:
    """One row of a `label.csv`.

    Attributes:
      video: id of the video.
      clip: id of the clip, as in the file.
      words: its transcript.
      label: sentiment.
      split: `train`, `validation` or `test`.
      origin: file and row.
    """

    video: str
    clip: str
    words: str
    label: float
    split: str
    origin: str

    @property
    def sample(self) -> Sample:
        """Words and label alone; the turn has to be set by the order within the video."""
        return Sample(
            id=f"{self.video}_{self.clip}",
            group=self.video,
            turn=0,
            features={},
            labels={SENTIMENT.name: self.label},
            words=self.words,
            origin=self.origin,
        )


def read_labels(
    raw_dir: Path, source: str, *, file: str = "label.csv", words: str = "text"
) -> list[Labelled]:
    """The rows of `label.csv`: an `id` (VIDEO_CLIP) or `video_id` and `clip_id`, text, label, mode.

    Args:
      raw_dir: holds the file.
      source: where it can be had.
      file: its name.
      words: the column of the transcripts.

    Raises:
      InputError: the file or a column is missing, or a value does not fit.
    """
    path = find_file([raw_dir / file], source)
    rows = []
    rest = (words, "label", "mode")
    for origin, row in read_table(path, ("id", *rest), ("video_id", "clip_id", *rest)):
        if row["mode"] not in MODES:
            raise InputError(f"{origin}: mode {row['mode']!r} is none of {', '.join(MODES)}")
        label = decimal(row["label"], origin, "label")
        if "id" in row:
            video, _, clip = row["id"].rpartition("_")
            if not video or not clip:
                raise InputError(f"{origin}: id {row['id']!r} is not of the form VIDEO_CLIP")
        else:
            video, clip = (identifier(row[name], origin, name) for name in ("video_id", "clip_id"))
        mode = MODES[row["mode"]]
        rows.append(Labelled(video, clip, row[words].strip(whitespace), label, mode, origin))
    return rows
