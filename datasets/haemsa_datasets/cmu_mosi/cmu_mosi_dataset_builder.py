"""CMU-MOSI: `standard` (words), `contextual`, `misa`, `mmsa_aligned` and `mmsa_unaligned`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from haemsa_datasets.builder import HaemsaBuilder, builder_configs
from haemsa_datasets.cmu_mosi import contextual, misa, standard
from haemsa_datasets.mmsa import reading as mmsa
from haemsa_datasets.samples import Card, Sample
from haemsa_datasets.sentiment import SENTIMENT

CITATION = (
    "A. Zadeh, R. Zellers, E. Pincus, L.-P. Morency: Multimodal sentiment intensity analysis in "
    "videos: facial gestures and verbal messages. IEEE Intelligent Systems 31(6), 2016."
)


PUBLISHED = 1284, 229, 686  # samples of MMSA's pickles by split
MMSA_WIDTHS = {"text": 768, "audio": 5, "vision": 20}
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
    "standard": Card(
        description="CMU-MOSI, words of the standard split",
        widths={},
        tasks=(SENTIMENT,),
        provenance={},
        conversational=True,
        source=standard.SOURCE,
        citation=CITATION,
    ),
    "misa": Card(
        description="CMU-MOSI, the word-aligned features that MISA makes",
        widths=misa.WIDTHS,
        tasks=(SENTIMENT,),
        provenance={"audio": "74 COVAREP, a mean a word", "vision": "47 Facet, a mean a word"},
        conversational=True,
        source=misa.SOURCE,
        citation=CITATION,
    ),
    **{
        f"mmsa_{kind}": mmsa.card("MOSI", kind, MMSA_WIDTHS, (SENTIMENT,), CITATION)
        for kind in ("aligned", "unaligned")
    },
}


class Builder(HaemsaBuilder):
    """Task `sentiment`: the official label in [-3, 3]. A video is a group, a clip a turn.

    Configurations:
      contextual: bc-LSTM's CSV files, 1193/254/752 utterances of 52/10/31 videos. Compares with
        bc-LSTM and its successors only; its validation split is weak (see `contextual`).
      standard: words and labels of 1284/229/686 clips; a text encoder makes features of them.
      misa: MISA's pickles; words, audio and vision of the standard split.
      mmsa_aligned, mmsa_unaligned: MMSA's pickles, the standard 1284/229/686 utterances.
    """

    VERSION = tfds.core.Version("1.1.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"{standard.SOURCE}; or {misa.SOURCE}; or {mmsa.source('MOSI')}"
    BUILDER_CONFIGS = builder_configs(CARDS)

    @property
    def card(self) -> Card:
        return CARDS[self.builder_config.name]

    def read(self, raw_dir: Path | None) -> dict[str, list[Sample]]:
        if self.builder_config.name == "contextual":
            return contextual.read_contextual(raw_dir)
        if self.builder_config.name == "standard":
            return standard.read_standard(raw_dir)
        if self.builder_config.name == "misa":
            return misa.read_misa(raw_dir)
        return mmsa.read_mmsa(raw_dir, self.builder_config.name, self.card)

    def details(self, splits: Mapping[str, list[Sample]]) -> dict[str, Any]:
        if not self.builder_config.name.startswith("mmsa_"):
            return {}
        return mmsa.unlike(splits, PUBLISHED, self.card)
