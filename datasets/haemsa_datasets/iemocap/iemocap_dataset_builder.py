"""IEMOCAP: dialogues (`release`, `utterances`, `mmgcn`, `dialoguernn`) and utterances (`mult`)."""

from pathlib import Path

import tensorflow_datasets as tfds

from haemsa_datasets.builder import HaemsaBuilder, builder_configs
from haemsa_datasets.iemocap import conversational, mult, release, utterances
from haemsa_datasets.samples import Card, Sample

CITATION = (
    "C. Busso, M. Bulut, C. Lee, A. Kazemzadeh, E. Mower, S. Kim, J. Chang, S. Lee, S. Narayanan: "
    "IEMOCAP: interactive emotional dyadic motion capture database. LREC 42(4), 2008."
)


def _card(line: str, text: str, audio: int, vision: int, width: int) -> Card:
    return Card(
        description=f"IEMOCAP, {line}'s features and split, session 5 as test",
        widths={"text": width, "audio": audio, "vision": vision},
        tasks=(conversational.EMOTION, conversational.EMOTION4),
        provenance={
            "text": f"{width} {text}",
            "audio": f"{audio} openSMILE",
            "vision": f"{vision} of a network for faces or videos",
        },
        conversational=True,
        source=conversational.SOURCE,
        citation=CITATION,
    )


CARDS = {
    "release": Card(
        description="IEMOCAP, words of the official release, session 5 as test",
        widths={},
        tasks=(conversational.EMOTION, *utterances.DIMENSIONS),
        provenance={},
        conversational=True,
        source=release.SOURCE,
        citation=CITATION,
    ),
    "utterances": Card(
        description="IEMOCAP, words and Whisper's vectors of sound, session 5 as test",
        widths={"audio": 1024},
        tasks=(conversational.EMOTION, *utterances.DIMENSIONS),
        provenance={"audio": "1024 of Whisper base, mean and deviation over time"},
        conversational=True,
        source=utterances.SOURCE,
        citation=CITATION,
    ),
    "mmgcn": _card("MMGCN", "TextCNN", 1582, 342, 100),
    "dialoguernn": _card("DialogueRNN", "TextCNN", 100, 512, 100),
    "mult": Card(
        description="IEMOCAP, MulT's features and split",
        widths={"text": 300, "audio": 74, "vision": 35},
        tasks=(mult.EMOTIONS,),
        provenance={
            "text": "300 GloVe, a vector a word",
            "audio": "74 COVAREP",
            "vision": "35 Facet",
        },
        conversational=False,
        source=mult.SOURCE,
        citation=CITATION,
    ),
}


class Builder(HaemsaBuilder):
    """Emotions.

    Configurations:
      release: the official tree; tasks as of `utterances`, words and speakers.
      utterances: tasks `emotion` (six classes), `valence`, `activation` and `dominance`; words and
        speakers of every utterance. A dialogue is a group.
      mmgcn, dialoguernn: tasks `emotion` (six classes) and `emotion4` (happy with excited, sad,
        neutral, angry). A dialogue is a group.
      mult: task `emotions`, four questions of yes or no, as MulT and its successors report; all
        answered with no score high in accuracy.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = "; or ".join(
        x.SOURCE for x in (release, utterances, conversational, mult)
    )
    BUILDER_CONFIGS = builder_configs(CARDS)

    @property
    def card(self) -> Card:
        return CARDS[self.builder_config.name]

    def read(self, raw_dir: Path | None) -> dict[str, list[Sample]]:
        if self.builder_config.name == "mult":
            return mult.read_mult(raw_dir, self.card.widths)
        if self.builder_config.name == "release":
            return release.read_release(raw_dir)
        if self.builder_config.name == "utterances":
            return utterances.read_utterances(raw_dir, self.card.widths)
        return conversational.read_conversational(raw_dir, self.card.widths)
