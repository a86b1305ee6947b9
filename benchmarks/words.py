"""Word error rate of a speech model on clips whose words people wrote down.

  python -m benchmarks.words --input=~/raw/cmu_mosi/raw/Raw/Audio/WAV_16000/Segmented \
    --labels=~/raw/cmu_mosi/label.csv [--words=whisper] [--language=en] [--record=NAME]

The rate is the words to be inserted, deleted or replaced over all words of the table (Levenshtein
1966), of all clips together; letters are small and punctuation counts for nothing. Clips in which
nobody is heard count with all their words. `seconds` are those of the clips over those it took.
"""

import re
import time
from pathlib import Path

import numpy as np
from absl import app, flags, logging

from haemsa_datasets.mmsa import extracting
from haemsa_jax.extraction import media
from haemsa_jax.extraction.words import Recogniser
from haemsa_jax.results import record
from launch import cli

_INPUT = flags.DEFINE_string("input", None, "Folder of recordings.", required=True)
_LABELS = flags.DEFINE_string("labels", None, "Table of their words.", required=True)
_WORDS = flags.DEFINE_string("words", "whisper", "Speech model, as launch.extract takes it.")
_LANGUAGE = flags.DEFINE_string("language", None, "Language that is spoken.")
_RESULTS = flags.DEFINE_string("results_dir", "results", "Where results are kept.")
_RECORD = flags.DEFINE_string("record", None, "Name of a result to write there.")


def plain(text: str) -> list[str]:
    """Words alone: transcripts have no apostrophes."""
    return re.sub(r"[^\w ]", " ", text.lower().replace("'", "")).split()


def distance(reference: list[str], hypothesis: list[str]) -> int:
    """Words to be inserted, deleted or replaced."""
    row = np.arange(len(hypothesis) + 1)
    for number, word in enumerate(reference, start=1):
        last, row = row, np.full(len(hypothesis) + 1, number)
        for place, other in enumerate(hypothesis, start=1):
            row[place] = min(last[place] + 1, row[place - 1] + 1, last[place - 1] + (word != other))
    return int(row[-1])


def main(_) -> None:
    find = extracting.find_recordings(Path(_INPUT.value).expanduser())
    clips = extracting.read_clips(Path(_LABELS.value).expanduser())
    recogniser = Recogniser(_WORDS.value, _LANGUAGE.value)
    logging.set_verbosity(logging.WARNING)  # faster-whisper tells of every clip
    begin, errors, total, seconds, exact, count = time.monotonic(), 0, 0, 0.0, 0, 0
    for clip in clips:
        if (path := find(clip)) is None:
            continue
        pieces = [samples for _, samples in media.stretches(path)]
        hypothesis = plain(" ".join(recogniser.transcribe(samples).text for samples in pieces))
        reference = plain(clip.words)
        wrong = distance(reference, hypothesis)
        errors, total, count = errors + wrong, total + len(reference), count + 1
        exact, seconds = exact + (not wrong), seconds + sum(map(len, pieces)) / media.RATE
    took = time.monotonic() - begin
    row = {
        "wer": [errors / total],
        "exact": [exact / count],
        "clips": [count],
        "seconds": [seconds / took],
    }
    print(f"{recogniser.origin}: {row}")
    if _RECORD.value:
        made = record.make_record(
            _RECORD.value, data="cmu_mosi/raw", split="train, validation", selected="nothing",
            rows={"words": {recogniser.origin: row}}, commands=[" ".join(cli.command())],
            seconds=took,
        )  # fmt: skip
        print(record.write(Path(_RESULTS.value), made))


if __name__ == "__main__":
    app.run(main)
