"""Puts what a run directory holds into one HTML file that needs nothing else.

  python -m launch.report --run_dir=runs/hazumi

Of a training, a search, an evaluation or an ablation: what came out, tables, pictures, the largest
errors with the modality whose absence makes each smallest, learning curves and configuration. It
reads what launch.train, launch.evolve, launch.evaluate and launch.ablate wrote, neither data nor
weights. Run launch.evaluate first, with `--diagnose` and with each `--protocol`, for all of it.
"""

from pathlib import Path

from absl import flags

from haemsa_jax.reporting.page import page
from haemsa_jax.writing import write_text

from . import program

_RUN_DIR = flags.DEFINE_string("run_dir", None, "Directory that a launcher wrote.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "The file; by default RUN_DIR/report.html.")


def main() -> None:
    directory = Path(_RUN_DIR.value)
    text = page(directory)
    path = Path(_OUTPUT.value) if _OUTPUT.value else directory / "report.html"
    write_text(path, text)
    print(f"written: {path} ({path.stat().st_size / 2**20:.1f} MiB)")


def run() -> None:
    """The program as a command."""
    program.run(main)


if __name__ == "__main__":
    run()
