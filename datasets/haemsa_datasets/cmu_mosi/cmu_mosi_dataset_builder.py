"""CMU-MOSI in three configurations: `contextual`, `mmsa_aligned` and `mmsa_unaligned`."""

from pathlib import Path

import tensorflow_datasets as tfds

from haemsa_datasets.builder import HaemsaBuilder
from haemsa_datasets.cmu_mosi import contextual, mmsa
from haemsa_datasets.samples import Card, Sample
from haemsa_jax.config import TaskSpec

SENTIMENT = TaskSpec(
    "sentiment",
    "regression",
    (
        "mae", "corr", "acc7", "acc5", "acc3",
        "acc2_has0", "f1_has0", "acc2_non0", "f1_non0",
    ),
    range=(-3.0, 3.0),
)  # fmt: skip

CITATION = (
    "A. Zadeh, R. Zellers, E. Pincus, L.-P. Morency: Multimodal sentiment intensity analysis in "
    "videos: facial gestures and verbal messages. IEEE Intelligent Systems 31(6), 2016."
)


def _mmsa_card(kind: str) -> Card:
    return Card(
        description=f"CMU-MOSI, standard split, MMSA's {kind} features",
        widths=mmsa.WIDTHS,
        tasks=(SENTIMENT,),
        provenance={
            "text": "768 BERT (base, uncased), a vector a token",
            "audio": f"5 COVAREP, {kind}, as MMSA selects them",
            "vision": f"20 Facet, {kind}, as MMSA selects them",
        },
        conversational=True,
        source=mmsa.SOURCE,
        citation=CITATION,
    )


CARDS = {
    "contextual": Card(
        description="CMU-MOSI, bc-LSTM's features and split by video, one vector an utterance",
        widths=contextual.WIDTHS,
        tasks=(SENTIMENT,),
        provenance={
            "text": "100 from a CNN on word vectors, trained on the training videos' labels",
            "audio": "73 openSMILE functionals",
            "vision": "100 from a 3D-CNN, trained on the training videos' labels",
        },
        conversational=True,
        source=contextual.SOURCE,
        citation=CITATION,
    ),
    "mmsa_aligned": _mmsa_card("word-aligned"),
    "mmsa_unaligned": _mmsa_card("unaligned"),
}


class Builder(HaemsaBuilder):
    """Task `sentiment`: the official label in [-3, 3]. A video is a group, a clip a turn.

    Configurations:
      contextual: bc-LSTM's CSV files, 1193/254/752 utterances of 52/10/31 videos. Compares with
        bc-LSTM and its successors only; its validation split is weak (see `contextual`).
      mmsa_aligned, mmsa_unaligned: MMSA's pickles, the standard 1284/229/686 utterances.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"{contextual.SOURCE}; or {mmsa.SOURCE}"
    BUILDER_CONFIGS = [  # noqa: RUF012 (TFDS reads it from the class)
        tfds.core.BuilderConfig(name=name, description=card.description)
        for name, card in CARDS.items()
    ]

    @property
    def card(self) -> Card:
        return CARDS[self.builder_config.name]

    def read(self, raw_dir: Path | None) -> dict[str, list[Sample]]:
        if self.builder_config.name == "contextual":
            return contextual.read_contextual(raw_dir)
        return mmsa.read_mmsa(raw_dir, f"{self.builder_config.name.removeprefix('mmsa_')}_50.pkl")
