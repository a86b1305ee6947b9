"""MELD: 13,708 utterances with 7 emotions and 3 sentiments; words and speakers."""

from collections.abc import Iterator
from pathlib import Path
from string import whitespace  # of ASCII; others may be letters of cp1252

import tensorflow_datasets as tfds

from haemsa_datasets.builder import HaemsaBuilder
from haemsa_datasets.files import find_file, read_table
from haemsa_datasets.samples import Card, Sample
from haemsa_jax.config import TaskSpec
from haemsa_jax.data.values import whole_number
from haemsa_jax.errors import InputError

SOURCE = "{train,dev,test}_sent_emo.csv in data/MELD/ of GitHub declare-lab/MELD"
EMOTION = TaskSpec(
    "emotion",
    "classification",
    ("f1_weighted", "accuracy", "f1_macro"),
    ("neutral", "joy", "surprise", "anger", "sadness", "disgust", "fear"),
)
SENTIMENT = TaskSpec(
    "sentiment",
    "classification",
    ("f1_weighted", "accuracy", "f1_macro"),
    ("negative", "neutral", "positive"),
)
FILES = {"train": "train", "validation": "dev", "test": "test"}
COLUMNS = ("Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID")


class Builder(HaemsaBuilder):
    """Tasks `emotion` and `sentiment`. A dialogue is a group, an utterance a turn."""

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = SOURCE

    @property
    def card(self) -> Card:
        return Card(
            description="MELD, words of the official splits",
            widths={},
            tasks=(EMOTION, SENTIMENT),
            provenance={},
            conversational=True,
            source=SOURCE,
            citation=(
                "S. Poria, D. Hazarika, N. Majumder, G. Naik, E. Cambria, R. Mihalcea: MELD: a "
                "multimodal multi-party dataset for emotion recognition in conversations. ACL 2019."
            ),
        )

    def read(self, raw_dir: Path | None) -> dict[str, list[Sample]]:
        return {
            split: list(_read(find_file([raw_dir / f"{name}_sent_emo.csv"], SOURCE), split))
            for split, name in FILES.items()
        }


def _read(path: Path, split: str) -> Iterator[Sample]:
    for origin, row in read_table(path, COLUMNS):
        dialogue, turn = row["Dialogue_ID"], row["Utterance_ID"]
        if not (whole_number(dialogue) and whole_number(turn)):
            raise InputError(
                f"{origin}: Dialogue_ID {dialogue!r} and Utterance_ID {turn!r} must be numbers"
            )
        # Dialogues are numbered anew in every file.
        yield Sample(
            id=f"{split}_{dialogue}_{turn}",
            group=f"{split}_{int(dialogue):04d}",
            turn=int(turn),
            features={},
            labels={
                "emotion": _class(EMOTION, row["Emotion"], origin),
                "sentiment": _class(SENTIMENT, row["Sentiment"], origin),
            },
            words=row["Utterance"].strip(whitespace),
            speaker=row["Speaker"].strip(),
            origin=origin,
        )


def _class(task: TaskSpec, name: str, origin: str) -> int:
    if name not in task.classes:
        raise InputError(f"{origin}: {task.name} {name!r} is none of {', '.join(task.classes)}")
    return task.classes.index(name)
