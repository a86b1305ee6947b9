"""Hazumi: 10,361 exchanges of 125 people with a dialogue system, in three modalities."""

from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from haemsa_datasets.builder import HaemsaBuilder
from haemsa_datasets.folds import read_folds
from haemsa_datasets.hazumi.folds import FOLDS
from haemsa_datasets.hazumi.sessions import BERT_WIDTH, COLUMNS, Session, read_corpus
from haemsa_datasets.samples import Card, Sample
from haemsa_jax.config import MODALITIES, TaskSpec
from haemsa_jax.errors import InputError

MIDDLE = 4  # of the annotators' scale, 1 to 7

CARD = Card(
    description="Hazumi 2010, 2012 and 2105: on-line dialogues in Japanese, one row an exchange",
    widths={modality: COLUMNS[modality][1] for modality in MODALITIES},
    tasks=(
        TaskSpec("ui", "regression", ("mae", "corr"), range=(-3.0, 3.0)),
        TaskSpec("tc", "regression", ("mae", "corr"), range=(-3.0, 3.0)),
    ),
    provenance={
        "text": "17 part-of-speech counts (Stanza) + 768 BERT (Japanese), mean over the utterance",
        "audio": "384 openSMILE IS09 functionals",
        "vision": "48 landmark motions + 18 action units (OpenFace), over the exchange",
    },
    conversational=True,
    source=(
        "the folders Hazumi2010, Hazumi2012 and Hazumi2105 (or .tar.xz archives of them) of the "
        "GitHub organisation ouktlab"
    ),
    citation=(
        "K. Komatani, S. Okada: Multimodal human-agent dialogue corpus with annotations at "
        "utterance and dialogue levels. ACII 2021."
    ),
)


class Builder(HaemsaBuilder):
    """Tasks are user impression (`ui`, the sentiment) and topic continuance (`tc`).

    A label is the mean of five annotators minus the scale's middle. A participant is a group and
    belongs to one split. There are no words, only features of them. A modality whose vector is all
    zero is absent; for text that is the BERT vector. (The published counts of such exchanges, where
    nothing was said, are those of a placeholder, one adjective: they are dropped with it.)
    """

    VERSION = tfds.core.Version("1.1.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = CARD.source

    card = CARD

    def read(self, raw_dir: Path | None) -> dict[str, list[Sample]]:
        folds = read_folds(raw_dir, FOLDS)
        participants = {name for names in folds.values() for name in names}
        sessions = {}
        for corpus in sorted({name[:4] for name in participants}):
            files = read_corpus(raw_dir, corpus, self.card.source)
            for session in tqdm(files, f"reading Hazumi{corpus}", unit=" files", disable=None):
                sessions[session.participant] = to_samples(session)
        missing = sorted(participants - set(sessions))
        if missing:
            raise InputError(
                f"{raw_dir}: no dump file of {', '.join(missing)}; expected "
                f"Hazumi{missing[0][:4]}/dumpfiles/{missing[0]}.csv, in a folder or .tar.xz "
                f"archive as published: {self.card.source}"
            )
        return {
            split: [sample for name in names for sample in sessions[name]]
            for split, names in folds.items()
        }


def to_samples(session: Session) -> list[Sample]:
    """The exchanges of a session, in order of time; a modality is one token or none."""
    columns = {block: values.astype(np.float32) for block, values in session.columns.items()}
    presence = {modality: (columns[modality] != 0).any(axis=1) for modality in MODALITIES}
    presence["text"] = (columns["text"][:, -BERT_WIDTH:] != 0).any(axis=1)
    return [
        Sample(
            id=f"{session.participant}_{turn + 1}",
            group=session.participant,
            turn=turn,
            features={
                modality: columns[modality][turn : turn + presence[modality][turn]]
                for modality in MODALITIES
            },
            labels={
                task.name: float(session.columns[task.name][turn].mean()) - MIDDLE
                for task in CARD.tasks
            },
            origin=f"{session.origin}, row {turn + 1}",
        )
        for turn in range(len(columns["ui"]))
    ]
