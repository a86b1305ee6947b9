"""Planted data: two tasks on three modalities, with known structure and known best scores."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from haemsa_datasets.builder import HaemsaBuilder
from haemsa_datasets.planted import bayes, generator
from haemsa_datasets.samples import Card, Sample
from haemsa_jax.config import TaskSpec

SEED = 2025

CARD = Card(
    description="generated samples with planted structure and known best scores",
    widths=generator.WIDTHS,
    tasks=(
        TaskSpec(
            "sentiment",
            "regression",
            ("mae", "corr", "acc7", "acc2_non0", "f1_non0"),
            range=generator.RANGE,
        ),
        TaskSpec(
            "agreement",
            "classification",
            ("f1_weighted", "accuracy"),
            classes=("disagree", "agree"),
        ),
    ),
    provenance={
        "text": "generated; the marked token carries u",
        "audio": "generated; the trend of one direction carries v",
        "vision": "generated; distractor, carries nothing about any label",
    },
    conversational=False,
)


class Builder(HaemsaBuilder):
    """Generated data, for demonstrations and for tests that ask whether learning works.

    Tasks:
      sentiment: clip(u + 0.8 v + 0.3 e, -3, 3), with e standard normal.
      agreement: whether u and v have the same sign; 5 % of the labels are turned round.

    u lies in text and v in audio; how, says `generator`. Vision is as strongly structured and of
    equal scale, and independent of both labels. Each modality is absent from about 10 % of the
    samples. The metadata field `planted` repeats this as data, `bayes` holds the best scores that
    are possible under the natural presence, and `bayes_by_presence` those for each pattern.
    """

    VERSION = tfds.core.Version("1.1.0")

    card = CARD

    def read(self, raw_dir: Path | None) -> dict[str, list[Sample]]:
        return generator.generate(SEED)

    def details(self, splits: Mapping[str, list[Sample]]) -> dict[str, Any]:
        return {"planted": PLANTED, **bayes.details()}


PLANTED = {
    "seed": SEED,
    "carriers": {"sentiment": ["text", "audio"], "agreement": ["text", "audio"]},
    "distractors": ["vision"],
    "encoding": {"text": "marked token", "audio": "trend", "vision": "marked token and trend"},
    "sentiment": {
        "text": 1.0,
        "audio": generator.AUDIO_WEIGHT,
        "noise": generator.LABEL_NOISE,
        "range": list(generator.RANGE),
    },
    "agreement": {"flipped": generator.FLIPPED},
    "absent": generator.ABSENT,
}
