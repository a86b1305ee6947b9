"""CMU-MOSEI: `standard` (words), `mmsa_aligned` and `mmsa_unaligned`."""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from haemsa_datasets.builder import HaemsaBuilder, builder_configs
from haemsa_datasets.mmsa import reading as mmsa
from haemsa_datasets.samples import Card, Sample
from haemsa_datasets.sentiment import SENTIMENT, Labelled, read_labels
from haemsa_jax.config import TaskSpec
from haemsa_jax.errors import InputError

SOURCE = "label.csv of MOSEI as GitHub thuiar/MMSA shares it"
CITATION = (
    "A. Zadeh, P. P. Liang, S. Poria, E. Cambria, L.-P. Morency: Multimodal language analysis in "
    "the wild: CMU-MOSEI dataset and interpretable dynamic fusion graph. ACL 2018."
)
PUBLISHED = 16326, 1871, 4659  # samples of MMSA's pickles by split
EMOTIONS = TaskSpec(
    "emotions",
    "multilabel",
    ("f1_mean", "wacc_mean"),
    ("happy", "sad", "anger", "surprise", "disgust", "fear"),
)
CARDS = {
    "standard": Card(
        description="CMU-MOSEI, words of the standard split",
        widths={},
        tasks=(SENTIMENT,),
        provenance={},
        conversational=True,
        source=SOURCE,
        citation=CITATION,
    ),
    **{
        f"mmsa_{kind}{more}": mmsa.card(
            "MOSEI", kind, {"text": 768, "audio": 74, "vision": 35}, tasks, CITATION
        )
        for kind in ("aligned", "unaligned")
        for more, tasks in (("", (SENTIMENT,)), ("_emotions", (SENTIMENT, EMOTIONS)))
    },
}


class Builder(HaemsaBuilder):
    """Task `sentiment`: the label in [-3, 3]. A video is a group; clips in their order of time.

    Configurations:
      standard: words and labels; a text encoder makes features of them.
      mmsa_aligned, mmsa_unaligned: MMSA's pickles.
      mmsa_aligned_emotions, mmsa_unaligned_emotions: the same with a field `emotion_labels`, of
        which the task `emotions` is made.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"{SOURCE}; or {mmsa.source('MOSEI')}"
    BUILDER_CONFIGS = builder_configs(CARDS)

    @property
    def card(self) -> Card:
        return CARDS[self.builder_config.name]

    def read(self, raw_dir: Path | None) -> dict[str, list[Sample]]:
        if self.builder_config.name != "standard":
            return mmsa.read_mmsa(raw_dir, self.builder_config.name, self.card)
        splits: dict[str, list[Sample]] = {"train": [], "validation": [], "test": []}
        places: dict[str, int] = {}
        last: tuple[str, float] | None = None
        for row in sorted(read_labels(raw_dir, SOURCE), key=lambda row: (row.video, _time(row))):
            if (row.video, _time(row)) == last:
                raise InputError(
                    f"{row.origin}: clip {row.clip!r} of video {row.video} begins where another "
                    "clip of it does; every clip may occur once"
                )
            last = row.video, _time(row)
            places[row.video] = places.get(row.video, -1) + 1
            splits[row.split].append(dataclasses.replace(row.sample, turn=places[row.video]))
        return splits

    def details(self, splits: Mapping[str, list[Sample]]) -> dict[str, Any]:
        if self.builder_config.name == "standard":
            return {}
        return mmsa.unlike(splits, PUBLISHED, self.card)


def _time(row: Labelled) -> float:
    """A clip is named after the second where it starts, `82_7645` for 82.7645, or numbered."""
    if not re.fullmatch(r"[0-9]+([_.][0-9]+)?", row.clip):
        raise InputError(
            f"{row.origin}: clip {row.clip!r} of video {row.video} is neither a number nor a time "
            "such as 82_7645"
        )
    return float(row.clip.replace("_", "."))
