"""Echoed data: planted data whose third modality repeats the other two, with noise."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from haemsa_datasets.builder import HaemsaBuilder
from haemsa_datasets.planted import bayes, generator, planted_dataset_builder
from haemsa_datasets.samples import Card, Sample

SEED = 2026
ECHO = 0.8  # correlation of what vision carries with what text and audio carry

CARD: Card = dataclasses.replace(
    planted_dataset_builder.CARD,
    description="planted samples in which vision echoes text and audio",
    provenance={
        **planted_dataset_builder.CARD.provenance,
        "vision": "generated; the marked token carries an echo of u, the trend one of v",
    },
)


class Builder(HaemsaBuilder):
    """Generated data in which an absent modality can be guessed from another.

    Tasks, text and audio are those of `planted`. Vision carries two values that correlate by 0.8
    with u and with v and are, given these, independent of both labels: where text and audio are
    there it adds nothing, and where one is absent it stands in for it. The metadata are those of
    `planted`.
    """

    VERSION = tfds.core.Version("1.0.0")

    card = CARD

    def read(self, raw_dir: Path | None) -> dict[str, list[Sample]]:
        return generator.generate(SEED, ECHO)

    def details(self, splits: Mapping[str, list[Sample]]) -> dict[str, Any]:
        planted = {**planted_dataset_builder.PLANTED, "seed": SEED, "distractors": [], "echo": ECHO}
        return {"planted": planted, **bayes.details(ECHO)}
