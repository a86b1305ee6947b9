"""Exports a trained network, to be run without this library.

  python -m launch.export --run_dir=runs/hazumi --output=exported/hazumi
  python -m launch.export --run_dir=runs/words --output=exported/words --packed --language=en

OUTPUT gets `model.stablehlo` (jax.export, any batch size), `weights.safetensors`, `config.json`,
`standalone.py`, which loads and runs them with jax, numpy and flatbuffers alone, and
`MODEL_CARD.md`. A text encoder's words must be made tokens or vectors by whoever calls it.

With --packed it gets what launch.predict takes as --pretrained, instead: weights in half precision,
without those of an encoder as published, and the card.
"""

from pathlib import Path

from absl import flags

from haemsa_jax.data.values import whole_number
from haemsa_jax.errors import InputError
from haemsa_jax.inference.export import PLATFORMS, export
from haemsa_jax.inference.forward import chosen_dataset, chosen_networks, read_by_task
from haemsa_jax.inference.packed import pack
from haemsa_jax.reporting.card import model_card
from haemsa_jax.training.persistence.trained import Trained, load_trained
from haemsa_jax.writing import write_text

from . import cli, program

_OUTPUT = flags.DEFINE_string("output", None, "Directory of the export.", required=True)
_TOKENS = flags.DEFINE_list(
    "tokens", [], "MODALITY=N, a comma list: tokens of an utterance; by default as in training."
)
_PLATFORMS = flags.DEFINE_list("platforms", list(PLATFORMS), "On which it is to run.")
_PACKED = flags.DEFINE_bool("packed", False, "Make what --pretrained of launch.predict takes.")
_LANGUAGE = flags.DEFINE_string(
    "language", None, "Of the words that a packed network reads; recordings are heard as such."
)
cli.define_trained_flags()


def main() -> None:
    run_dir, given = Path(flags.FLAGS.run_dir), flags.FLAGS
    trained = load_trained(run_dir)
    cli.check_dataset(trained.experiment.network)
    if _PACKED.value:
        _pack(trained, run_dir, Path(_OUTPUT.value))
        return
    config = export(
        trained, _OUTPUT.value, given.dataset, given.networks, _tokens(), _PLATFORMS.value
    )
    interface = config["interface"]
    card = model_card(
        trained,
        run_dir,
        interface["dataset"],
        interface["networks"],
        interface["reads"],
        interface["tokens"],
    )
    write_text(Path(_OUTPUT.value) / "MODEL_CARD.md", card)
    read = {m for task in interface["reads"].values() for m in task}
    lengths = ", ".join(f"{m} [{n} tokens]" for m, n in interface["tokens"].items() if m in read)
    print(f"reads {lengths}; for {', '.join(config['jax']['platforms'])}")
    print(f"written: {_OUTPUT.value}: model.stablehlo, weights.safetensors, MODEL_CARD.md, ...")


def _pack(trained: Trained, run_dir: Path, output: Path) -> None:
    network = trained.experiment.network
    dataset = chosen_dataset(network, flags.FLAGS.dataset)
    trained = chosen_networks(trained, flags.FLAGS.networks)
    pack(trained, output, {"dataset": dataset, "language": _LANGUAGE.value})
    reads, tokens = read_by_task(trained, dataset), trained.experiment.data[dataset]["tokens"]
    card = model_card(trained, run_dir, dataset, trained.count, reads, tokens)
    write_text(output / "MODEL_CARD.md", card)
    size = sum(path.stat().st_size for path in output.iterdir()) / 2**20
    print(f"written: {output}, {size:.1f} MiB; launch.predict --pretrained={output}")


def _tokens() -> dict[str, int]:
    tokens = {}
    for entry in _TOKENS.value:
        name, _, count = entry.partition("=")
        if not whole_number(count):
            raise InputError(f"--tokens={entry}: expected MODALITY=number")
        tokens[name] = int(count)
    return tokens


def run() -> None:
    """The program as a command."""
    program.run(main)


if __name__ == "__main__":
    run()
