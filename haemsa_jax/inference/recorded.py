"""Rows that name a recording, as what a network reads of it."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from haemsa_jax.data import recordings
from haemsa_jax.encoders.text.config import MODALITY as TEXT
from haemsa_jax.errors import InputError
from haemsa_jax.extraction import vectors, words
from haemsa_jax.extraction.clips import Recipe
from haemsa_jax.extraction.media import LONGEST
from haemsa_jax.inference.files import RECORDING, STRETCH, Row
from haemsa_jax.inference.predictor import Predictor

AUDIO = "audio"


def recipe_for(
    predictor: Predictor, recogniser: words.Recogniser | None, notice: Callable[[str], None]
) -> Recipe:
    """What is to be made of recordings for a network: what it was trained on.

    Args:
      predictor: the network.
      recogniser: of words; None where nobody is to listen for them.
      notice: is told in a line of what is left out.

    Raises:
      InputError: the words that it was trained on come from another recogniser, or it reads nothing
        that can be made of a recording.
    """
    origin, reads = predictor.provenance, predictor.modalities
    listens = TEXT in reads and TEXT in predictor.encoded
    # Words that people wrote down are not refused: there is no other way to predict a recording.
    if listens and recogniser and words.ORIGIN.fullmatch(origin.get("words", "")):
        _refuse_other(origin["words"], recogniser.origin)
    audio = origin.get(AUDIO, "") if AUDIO in reads else ""
    makes: str | vectors.Vectors | None = None
    if recordings.NAMED.fullmatch(audio):
        makes = audio
    elif recogniser and vectors.ORIGIN.fullmatch(audio):
        makes = vectors.Vectors(recogniser.name)
        _refuse_other(audio, makes.origin)
    made: dict[str, object] = {TEXT: listens and recogniser, AUDIO: makes}
    for modality in reads:
        if not made.get(modality):
            notice(
                f"{modality} ({reads[modality]} columns, "
                f"{origin.get(modality, 'not known')!r}) is not made of recordings and left out"
            )
    if not any(made.values()):
        raise InputError(
            f"of {', '.join(reads)}, which the network reads, nothing can be made of a recording; "
            "give features, or a network of words or of openSMILE's audio"
        )
    return Recipe(recogniser if listens else None, makes)


def _refuse_other(wanted: str, ours: str) -> None:
    if wanted != ours:
        raise InputError(
            f"the network was trained on {wanted!r}, not on {ours!r}; name that model by --words, "
            "and --language as it was"
        )


def expanded(rows: Iterator[Row], recipe: Recipe) -> Iterator[Row]:
    """Rows, those that name a recording as one for each of its stretches.

    A recording longer than 30 s is a dialogue of its stretches. Words and features that stand
    beside a recording count; they are of all of it, which must then be shorter.
    """
    for row in rows:
        given = dict(row.utterance or {})
        recording = given.pop(RECORDING, None)
        if recording is None:
            yield row
            continue
        given = {name: value for name, value in given.items() if value is not None}
        try:
            stretches = recipe.stretches(Path(recording))
            first = list(itertools.islice(stretches, 2))
            whole = len(first) == 1
            if given and not whole:
                raise InputError(f"it is longer than {LONGEST} s; leave out all beside it")
            for stretch in itertools.chain(first, stretches):
                made: dict[str, Any] = {TEXT: stretch.words} if stretch.words else {}
                made |= {AUDIO: stretch.audio} if len(stretch.audio) else {}
                yield dataclasses.replace(
                    row,
                    place=row.place if whole else f"{row.place}, {stretch.start:.0f} s",
                    dialogue=row.dialogue if whole else row.dialogue or row.id,
                    utterance={**made, **given} or None,
                    error="nobody speaks",
                    stretch={name: getattr(stretch, name) for name in STRETCH},
                )
        except InputError as error:
            yield dataclasses.replace(row, utterance=None, error=str(error))
