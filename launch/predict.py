"""Predicts recordings, sentences or the samples of a file with a trained network.

  python -m launch.predict --pretrained=sentiment --text="I would see it again."
  python -m launch.predict --pretrained=sentiment --input=clip.mp4
  python -m launch.predict --run_dir=runs/tuned --input=reviews.csv --output=predictions.csv
  python -m launch.predict --run_dir=runs/hazumi --input=clips.jsonl --output=predictions.jsonl

INPUT is a recording (.mp4, .wav and so on), a folder of them, or a table: `.jsonl` (an object a
line: `text` as words or numbers, `audio`, `vision` as numbers [tokens][width], any of them; `id`,
`speaker`), `.csv` (`text`, `audio`, `id`, `speaker`) or `.npz` (an array [samples, tokens, width]
by modality, with `MODALITY_mask`). Of a network whose audio was made by openSMILE, `audio` may name
a recording; `transcript` may name a file with the words, and `recording` one of which words and
audio are made, as the network was trained on them: files beside INPUT or below, or where
--files_from says. A recording longer than 30 s is a dialogue of rows. Rows next to each other with
the same `dialogue` are each other's context. A row that cannot be predicted, also because it has
more tokens than memory is used for, is reported with its place, left out and counted; the others
are predicted as if nothing were known of it, and the exit status is 1.

OUTPUT is `.jsonl` (value, probabilities, as `spread` the standard deviation over networks where
there are several, weights that gates give to the experts of each level, and what was heard) or
`.csv` (value, with that deviation of a regression and the probabilities of classes). A task that
reads nothing of what a row has is left out of it. It takes its place when all rows are predicted:
what stood there before stays until then. Without --output values are printed.
"""

import contextlib
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absl import flags
from tqdm import tqdm

from haemsa_jax.config import NetworkConfig
from haemsa_jax.encoders.places import folders_from
from haemsa_jax.errors import InputError
from haemsa_jax.extraction.media import is_recording
from haemsa_jax.inference import Predictor
from haemsa_jax.inference.files import RECORDING, Row, read_rows
from haemsa_jax.inference.packed import unpack
from haemsa_jax.inference.recorded import expanded, recipe_for
from haemsa_jax.inference.results import Prediction
from haemsa_jax.inference.rows import predict_rows
from haemsa_jax.inference.writer import Writer
from haemsa_jax.training.persistence.trained import load_experiment, load_trained

from . import cli, hearing, program

_INPUT = flags.DEFINE_string("input", None, "Recording, folder of them, or file of samples.")
_TEXT = flags.DEFINE_multi_string("text", [], "A sentence, in place of --input.")
_OUTPUT = flags.DEFINE_string("output", None, "File of predictions; printed without one.")
_PRETRAINED = flags.DEFINE_string(
    "pretrained",
    None,
    "In place of --run_dir: sentiment (of English words, from -3 to 3), or a folder that "
    "launch.export --packed wrote.",
)
_FILES_FROM = flags.DEFINE_string(
    "files_from",
    None,
    "Folder in which the files lie that INPUT names, also below it; by default that of INPUT.",
)

cli.define_trained_flags(required=False)
cli.define_encoder_flag()
hearing.define_flags(words="whisper")


def main() -> None:
    source, target = (Path(x.value) if x.value else None for x in (_INPUT, _OUTPUT))
    if (source is None) == (not _TEXT.value):
        raise InputError("give --input=FILE, or --text=SENTENCE, and not both")
    if source and target and source.resolve() == target.resolve():
        raise InputError(f"--output={target} is the --input, which would be lost; name another")
    predictor = _predictor()
    named = source is not None and (source.is_dir() or is_recording(source))
    if source is not None:
        files_from = None if _FILES_FROM.value is None else Path(_FILES_FROM.value)
        rows = _with_recordings(
            read_rows(source, predictor.widths, files_from=files_from), predictor
        )
    else:
        rows = (Row("--text", text, None, {"text": text}) for text in _TEXT.value)
    good, bad = 0, 0

    def report(row: Row, error: str) -> None:
        tqdm.write(f"{source}, {row.place}: {error}" if source else error, file=sys.stderr)

    with contextlib.ExitStack() as stack:
        writer = None
        if target is not None:
            writer = stack.enter_context(Writer(target, predictor.tasks, stretch=named))
        bar = stack.enter_context(tqdm(unit="row", dynamic_ncols=True, disable=target is None))
        for row, prediction in predict_rows(predictor, rows, report):
            if prediction is None:
                bad += 1
            else:
                writer.write(row, prediction) if writer else print(_line(row, prediction))
                good += 1
            bar.update()
        if not good:
            left = ""
            if target:
                left = f"; {target} is {'left as it was' if target.exists() else 'not written'}"
            whose = f"--input={source}: of its {bad} rows" if source else "--text: of its sentences"
            raise InputError(f"{whose} none can be predicted{left}")
    if target:
        print(
            f"written: {target}, {good} row{'s' * (good > 1)}"
            + (f"; {bad} left out" if bad else "")
        )
    if bad:
        sys.exit(1)


def _predictor() -> Predictor:
    given = flags.FLAGS
    if (given.run_dir is None) == (_PRETRAINED.value is None):
        raise InputError("give --run_dir=DIR, or --pretrained=sentiment, and not both")
    about: dict[str, Any] = {}
    if given.run_dir is not None:
        if _TEXT.value:
            _check_words(load_experiment(given.run_dir).network)
        trained = load_trained(given.run_dir)
        folders = folders_from(given.encoder, trained.experiment.network.encoders)
    else:
        folders = folders_from(given.encoder, {"text": None})
        trained, about = unpack(_PRETRAINED.value, folders)
    if given.language is None and about.get("language"):
        given.language = about["language"]
    return Predictor(trained, given.dataset or about.get("dataset"), given.networks, folders)


def _check_words(network: NetworkConfig) -> None:
    """Before weights are loaded: a sentence is for networks that have an encoder of words."""
    asked, encoder = flags.FLAGS.dataset, network.encoders.get("text")
    names = [asked] if asked in network.widths else [*network.widths]
    if encoder is None or not {*names} & {*encoder.datasets}:
        raise InputError(
            f"--text: the network of {flags.FLAGS.run_dir} has no encoder and reads features of "
            f"{', '.join(network.modalities)}; give them by --input, or train with --text=minilm"
        )


def _with_recordings(rows: Iterator[Row], predictor: Predictor) -> Iterator[Row]:
    """What is to be made of recordings is asked for where the first one comes."""
    for row in rows:
        if row.utterance and row.utterance.get(RECORDING) is not None:
            recipe = recipe_for(predictor, hearing.recogniser(), _told)
            recipe.check()
            yield from expanded(itertools.chain([row], rows), recipe)
        else:
            yield row


def _told(line: str) -> None:
    tqdm.write(line, file=sys.stderr)


def _line(row: Row, prediction: Prediction) -> str:
    """A row for people: what is said of it, how far networks differ, and what was heard."""
    cells = []
    for name, task in prediction.tasks.items():
        if isinstance(task.value, float):
            spread = "" if task.spread is None else f" ± {task.spread:.2f}"
            cells.append(f"{name} {task.value:+.2f}{spread}")
        else:
            value = task.value if isinstance(task.value, str) else "+".join(task.value) or "none"
            cells.append(f"{name} {value} ({max(task.probabilities.values()):.0%})")
    stretch = dict(row.stretch)
    where = f" {stretch['start']:.1f} to {stretch['end']:.1f} s" if stretch else ""
    words = f': "{stretch["words"]}"' if stretch.get("words") else ""
    read = f" (from {' and '.join(prediction.modalities)})" if stretch else ""
    return f"{', '.join(cells)}{read} | {row.id}{where}{words}"


def run() -> None:
    """The program as a command."""
    program.run(main)


if __name__ == "__main__":
    run()
