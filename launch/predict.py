"""Predicts the samples of a file with a trained network.

  python -m launch.predict --run_dir=runs/tuned --input=reviews.csv --output=said.csv
  python -m launch.predict --run_dir=runs/hazumi --input=clips.jsonl --output=said.jsonl

INPUT is `.jsonl` (an object a line: `text` as words or numbers, `audio`, `vision` as numbers
[tokens][width], any of them; `id`, `speaker`), `.csv` (`text`, `id`, `speaker`) or `.npz` (an array
[samples, tokens, width] by modality, with `MODALITY_mask`). Rows next to each other with the same
`dialogue` are each other's context. A row that cannot be read is reported with its place, left out
and counted; the others are predicted, and the exit status is 1.

OUTPUT is `.jsonl` (value, probabilities, spread over networks, and gate weights of each level) or
`.csv` (without gates).
"""

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

from absl import flags
from tqdm import tqdm

from haemsa_jax.errors import InputError
from haemsa_jax.inference import Predictor
from haemsa_jax.inference.files import Row, Writer, read_rows
from haemsa_jax.inference.predictor import BATCH
from launch import cli

_RUN_DIR = flags.DEFINE_string("run_dir", None, "Directory of a trained run.", required=True)
_INPUT = flags.DEFINE_string("input", None, "File of samples.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "File of predictions.", required=True)
_DATASET = flags.DEFINE_string(
    "dataset", None, "As which data set samples are read, of a network trained on several."
)
_NETWORKS = flags.DEFINE_integer(
    "networks", None,
    "Networks whose predictions are averaged; by default all seeds, or a search's best.",
)  # fmt: skip
_ENCODER = flags.DEFINE_string(
    "encoder", None, "Where the text encoder lies, if not where it was in training."
)


def main() -> None:
    predictor = Predictor.from_checkpoint(
        _RUN_DIR.value, _DATASET.value, _NETWORKS.value, _ENCODER.value
    )
    rows = read_rows(Path(_INPUT.value), predictor.modalities)
    good = bad = 0
    with (
        Writer(Path(_OUTPUT.value), predictor.tasks) as writer,
        tqdm(unit="row", dynamic_ncols=True) as bar,
    ):
        for piece in _pieces(rows):
            readable = []
            for row in piece:
                error = row.error or _error(predictor, row)
                if error:
                    bad += 1
                    tqdm.write(f"{_INPUT.value}, {row.place}: {error}", file=sys.stderr)
                else:
                    readable.append(row)
            utterances = [row.utterance for row in readable]
            talking = piece[0].dialogue is not None
            said = (predictor.predict_dialogue if talking else predictor.predict_many)(utterances)
            for row, prediction in zip(readable, said, strict=True):
                writer.write(row, prediction)
            good += len(readable)
            bar.update(len(piece))
    print(f"written: {_OUTPUT.value}, {good} rows" + (f"; {bad} left out" if bad else ""))
    if bad:
        sys.exit(1)


def _error(predictor: Predictor, row: Row) -> str:
    try:
        predictor.check(row.utterance)
    except InputError as error:
        return str(error)
    return ""


def _pieces(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """Dialogues whole, other rows by as many as are predicted at once."""
    for dialogue, mine in itertools.groupby(rows, lambda row: row.dialogue):
        if dialogue is not None:
            yield list(mine)
            continue
        while piece := list(itertools.islice(mine, BATCH)):
            yield piece


if __name__ == "__main__":
    cli.run(main)
