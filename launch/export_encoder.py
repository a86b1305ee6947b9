"""Writes a run's text encoder as a folder in the format in which encoders are published.

  python -m launch.train --tasks=cmu_mosei/standard --text=minilm --text_mode=adapted \\
    --run_dir=runs/mosei
  python -m launch.export_encoder --run_dir=runs/mosei --output=encoders/mosei
  python -m launch.train --tasks=cmu_mosi/standard --text=encoders/mosei --text_mode=pooled \\
    --past=4 --run_dir=runs/mosi

OUTPUT gets `config.json`, `model.safetensors` and the tokeniser's files, which `--text` and Hugging
Face's transformers read. Adapters are folded into the matrices that they stand beside.
"""

from pathlib import Path

from absl import flags

from haemsa_jax.encoders import read_like
from haemsa_jax.encoders.text import MODALITY, write_pretrained
from haemsa_jax.structure.warm_start import trained_encoder
from haemsa_jax.training.persistence.trained import load_trained

from . import cli, program

_RUN_DIR = flags.DEFINE_string("run_dir", None, "Directory of a trained run.", required=True)
_NETWORK = flags.DEFINE_integer(
    "network", None, "Which of several seeds, 0 for the first; by default the best on validation."
)
_OUTPUT = flags.DEFINE_string("output", None, "Folder that is made.", required=True)
cli.define_encoder_flag()


def main() -> None:
    trained = load_trained(_RUN_DIR.value)
    params = trained_encoder(trained, MODALITY, _NETWORK.value)
    spec = cli.encoders_of(trained.experiment.network.encoders)[MODALITY]
    write_pretrained(read_like(spec), params, _OUTPUT.value)
    print(f"written: {_OUTPUT.value}: {spec.encoder} as {Path(_RUN_DIR.value)} trained it")


def run() -> None:
    """The program as a command."""
    program.run(main)


if __name__ == "__main__":
    run()
