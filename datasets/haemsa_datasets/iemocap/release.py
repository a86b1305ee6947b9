"""The official tree of IEMOCAP, as USC's SAIL sends it: words, speakers, emotions, dimensions.

`Session*/dialog/EmoEvaluation/DIALOGUE.txt` has a line for every utterance,
`[6.2901 - 8.2357]	Ses01F_impro01_F000	neu	[2.5000, 2.5000, 2.5000]` (seconds, id, the emotion of
the majority, valence, activation and dominance), `Session*/dialog/transcriptions/DIALOGUE.txt` its
words, `Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.`
"""

import re
from collections.abc import Iterator
from pathlib import Path

from haemsa_datasets.files import read_text
from haemsa_datasets.iemocap.conversational import EMOTION
from haemsa_datasets.iemocap.utterances import DIMENSIONS
from haemsa_datasets.samples import Sample
from haemsa_jax.errors import InputError

SOURCE = "IEMOCAP_full_release, which USC's SAIL sends on request (sail.usc.edu/iemocap)"
EMOTIONS = {
    "hap": "happy",
    "sad": "sad",
    "neu": "neutral",
    "ang": "angry",
    "exc": "excited",
    "fru": "frustrated",
}
# Of these, the last of which has no majority, the dimensions alone are read.
OTHERS = ("fea", "sur", "dis", "oth", "xxx")
TEST = "Ses05"
# The published split's dialogues for validation (of GitHub declare-lab/conv-emotion, 6128ca2).
VALIDATION = (
    "Ses01M_impro01", "Ses01M_script03_1", "Ses02F_impro02", "Ses02F_impro07",
    "Ses02M_script01_2", "Ses03F_impro01", "Ses03M_impro02", "Ses03M_impro08a",
    "Ses03M_script02_2", "Ses03M_script03_2", "Ses04F_impro07", "Ses04F_script02_1",
)  # fmt: skip
EVALUATION = re.compile(
    r"\[(N) - N\]\t(\w+)_([FM])(\w+)\t(\w+)\t\[(N), (N), (N)\]".replace("N", r"\d+(?:\.\d+)?")
)
WORDS = re.compile(r"(\w+_[FM]\w+) \[[\d.]+-[\d.]+\]: ?(.*)")


def read_release(raw_dir: Path) -> dict[str, list[Sample]]:
    """All utterances by split; a dialogue's in the order of their starts.

    Args:
      raw_dir: the tree, or the directory that holds it.

    Raises:
      InputError: the tree or a transcript is not there, or a line is not understood.
    """
    roots = [raw_dir, raw_dir / "IEMOCAP_full_release"]
    paths = [
        path
        for root in roots
        for path in sorted(root.glob("Session*/dialog/EmoEvaluation/Ses*.txt"))
    ]
    if not paths:
        raise InputError(
            f"{raw_dir} has no Session*/dialog/EmoEvaluation/Ses*.txt; expected {SOURCE}"
        )
    splits: dict[str, list[Sample]] = {"train": [], "validation": [], "test": []}
    for path in paths:
        held = "validation" if path.stem in VALIDATION else "train"
        split = "test" if path.stem.startswith(TEST) else held
        splits[split] += _dialogue(path)
    return splits


def _dialogue(path: Path) -> Iterator[Sample]:
    words = _transcript(path.parents[1] / "transcriptions" / path.name)
    utterances = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        # Lines of single annotators, comments and blanks stand between those of utterances.
        if line.startswith("[%") or not (line.startswith("[") or f"{path.stem}_" in line):
            continue
        match = EVALUATION.fullmatch(line.strip())
        if match is None:
            raise InputError(f"{path}, line {number}: {line.strip()[:80]!r} is no utterance")
        utterances.append((float(match[1]), number, match))
    for turn, (_, number, match) in enumerate(sorted(utterances, key=lambda x: x[:2])):
        name, origin = f"{match[2]}_{match[3]}{match[4]}", f"{path}, line {number}"
        if name not in words:
            raise InputError(f"{origin}: the transcript of {path.stem} has no {name}")
        labels: dict = {
            task.name: float(value)
            for task, value in zip(DIMENSIONS, match.groups()[5:], strict=True)
        }
        if match[5] not in (*EMOTIONS, *OTHERS):
            raise InputError(
                f"{origin}: the emotion {match[5]!r} is none of {', '.join([*EMOTIONS, *OTHERS])}"
            )
        if match[5] in EMOTIONS:
            labels[EMOTION.name] = EMOTION.classes.index(EMOTIONS[match[5]])
        yield Sample(
            id=name,
            group=path.stem,
            turn=turn,
            features={},
            labels=labels,
            words=words[name],
            speaker=match[3],
            origin=origin,
        )


def _transcript(path: Path) -> dict[str, str]:
    """Words by utterance; asides of people who are not recorded have no id, and are left out."""
    if not path.is_file():
        raise InputError(f"{path} is missing; copy the whole tree of {SOURCE}")
    words: dict[str, str] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        match = WORDS.fullmatch(line.strip())
        if match and words.setdefault(match[1], match[2].strip()) != match[2].strip():
            raise InputError(
                f"{path}, line {number}: {match[1]} has other words than before; keep one line"
            )
    return words
