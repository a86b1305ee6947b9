"""Rows of a file through a predictor: what cannot be predicted is reported and left out."""

import dataclasses
from collections.abc import Callable, Iterator

from haemsa_jax.errors import InputError
from haemsa_jax.inference.files import Row, pieces
from haemsa_jax.inference.predictor import BATCH, Predictor
from haemsa_jax.inference.results import Prediction

Report = Callable[[Row, str], None]


def predict_rows(
    predictor: Predictor, rows: Iterator[Row], report: Report
) -> Iterator[tuple[Row, Prediction | None]]:
    """Every row, in order, with what is predicted of it.

    Args:
      predictor: the networks.
      rows: as `read_rows` yields them.
      report: called with each row that cannot be predicted, and why.

    Yields:
      A row and its prediction; None for one that was reported. The others are predicted as if
      nothing were known of it.
    """

    def read(row: Row) -> Row:
        """Once: recordings take a while. One that cannot be read keeps its place, empty."""
        try:
            if row.utterance is None:
                raise InputError(row.error)
            return dataclasses.replace(row, utterance=predictor.read(row.utterance))
        except InputError as error:
            report(row, str(error))
            return dataclasses.replace(row, utterance=None)

    for dialogue, piece in pieces(map(read, rows), BATCH):
        yield from zip(piece, _predictions(predictor, dialogue, piece, report), strict=True)


def _predictions(
    predictor: Predictor, dialogue: str | None, piece: list[Row], report: Report
) -> list[Prediction | None]:
    """Of the rows of a dialogue, or of others; None of those that cannot be predicted."""
    predict = predictor.predict_many if dialogue is None else predictor.predict_dialogue
    try:
        predictions = predict([row.utterance for row in piece])
    except InputError as error:
        if dialogue is None and len(piece) > 1:  # some of them may be predicted alone
            return [one for row in piece for one in _predictions(predictor, None, [row], report)]
        for row in piece:
            if row.utterance is not None:
                report(row, str(error))
        return [None] * len(piece)
    for place, one in enumerate(predictions):
        if one is not None and not one.finite:
            report(piece[place], "what is predicted is no finite number; look at its features")
            predictions[place] = None
    return predictions
