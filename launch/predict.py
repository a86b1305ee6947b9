"""Predicts the samples of a file with a trained network.

  python -m launch.predict --run_dir=runs/tuned --input=reviews.csv --output=predictions.csv
  python -m launch.predict --run_dir=runs/hazumi --input=clips.jsonl --output=predictions.jsonl

INPUT is `.jsonl` (an object a line: `text` as words or numbers, `audio`, `vision` as numbers
[tokens][width], any of them; `id`, `speaker`), `.csv` (`text`, `audio`, `id`, `speaker`) or `.npz`
(an array [samples, tokens, width] by modality, with `MODALITY_mask`). Of a network whose audio was
made by openSMILE, `audio` may name a recording; `transcript` may name a file with the words: files
beside INPUT or below, or where --files_from says. Rows next to each other with the same `dialogue`
are each other's context. A row that cannot be predicted, also because it has more tokens than
memory is used for, is reported with its place, left out and counted; the others are predicted as if
nothing were known of it, and the exit status is 1.

OUTPUT is `.jsonl` (value, probabilities, spread over networks where there are several, and gate
weights of each level) or `.csv` (value, with the spread of a regression and the probabilities of
classes). A task that reads nothing of what a row has is left out of it. It takes its place when all
rows are predicted: what stood there before stays until then.
"""

import sys
from pathlib import Path

from absl import flags
from tqdm import tqdm

from haemsa_jax.encoders.places import folders_from
from haemsa_jax.errors import InputError
from haemsa_jax.inference import Predictor
from haemsa_jax.inference.files import Row, Writer, read_rows
from haemsa_jax.inference.rows import predict_rows
from haemsa_jax.training.persistence.trained import load_trained

from . import cli, program

_INPUT = flags.DEFINE_string("input", None, "File of samples.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "File of predictions.", required=True)
_FILES_FROM = flags.DEFINE_string(
    "files_from",
    None,
    "Folder in which the files lie that INPUT names, also below it; by default that of INPUT.",
)

cli.define_trained_flags()
cli.define_encoder_flag()


def main() -> None:
    given, source, target = flags.FLAGS, Path(_INPUT.value), Path(_OUTPUT.value)
    if source.resolve() == target.resolve():
        raise InputError(f"--output={target} is the --input, which would be lost; name another")
    trained = load_trained(given.run_dir)
    folders = folders_from(given.encoder, trained.experiment.network.encoders)
    predictor = Predictor(trained, given.dataset, given.networks, folders)
    files_from = None if _FILES_FROM.value is None else Path(_FILES_FROM.value)
    rows = read_rows(source, predictor.widths, files_from=files_from)
    good, bad = 0, 0

    def report(row: Row, error: str) -> None:
        tqdm.write(f"{source}, {row.place}: {error}", file=sys.stderr)

    with Writer(target, predictor.tasks) as writer, tqdm(unit="row", dynamic_ncols=True) as bar:
        for row, prediction in predict_rows(predictor, rows, report):
            if prediction is None:
                bad += 1
            else:
                writer.write(row, prediction)
                good += 1
            bar.update()
        if not good:
            raise InputError(
                f"--input={source}: of its {bad} rows none can be predicted; {target} is left as "
                "it was"
            )
    print(f"written: {target}, {good} row{'s' * (good > 1)}" + (f"; {bad} left out" if bad else ""))
    if bad:
        sys.exit(1)


def run() -> None:
    """The program as a command."""
    program.run(main)


if __name__ == "__main__":
    run()
