"""CH-SIMS: words of `standard` and of `v2`, in Chinese or in a machine's English."""

from pathlib import Path

import tensorflow_datasets as tfds

from haemsa_datasets.builder import HaemsaBuilder, builder_configs
from haemsa_datasets.samples import Card, Sample
from haemsa_datasets.sentiment import SIMS_METRICS, read_labels
from haemsa_jax.config import TaskSpec

SENTIMENT = TaskSpec("sentiment", "regression", SIMS_METRICS, range=(-1.0, 1.0))
SOURCE = "label.csv of CH-SIMS, or label_v2.csv of v2(s), as GitHub zeroQiaoba/MERTools shares them"
CITATION = (
    "W. Yu, H. Xu, F. Meng, Y. Zhu, Y. Ma, J. Wu, J. Zou, K. Yang: CH-SIMS: a Chinese multimodal "
    "sentiment analysis dataset with fine-grained annotation of modality. ACL 2020."
)
# File and column of the words.
FILES = {
    "standard": ("label.csv", "text"),
    "standard_english": ("label.csv", "english"),
    "v2": ("label_v2.csv", "text"),
    "v2_english": ("label_v2.csv", "english"),
}
CARDS = {
    name: Card(
        description=f"CH-SIMS, {file}, words of the column {column}, official split",
        widths={},
        tasks=(SENTIMENT,),
        provenance={},
        # Every video has clips in all splits, so that test clips would be the context of others.
        conversational=False,
        source=SOURCE,
        citation=CITATION,
    )
    for name, (file, column) in FILES.items()
}


class Builder(HaemsaBuilder):
    """Task `sentiment`: the label in [-1, 1]. The official splits share their videos.

    Configurations:
      standard, v2: Chinese words.
      standard_english, v2_english: the machine's English of the column `english`.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = SOURCE
    BUILDER_CONFIGS = builder_configs(CARDS)

    @property
    def card(self) -> Card:
        return CARDS[self.builder_config.name]

    def read(self, raw_dir: Path | None) -> dict[str, list[Sample]]:
        file, column = FILES[self.builder_config.name]
        splits: dict[str, list[Sample]] = {"train": [], "validation": [], "test": []}
        for row in read_labels(raw_dir, SOURCE, file=file, words=column):
            splits[row.split].append(row.sample)
        return splits
