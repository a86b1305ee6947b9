"""Prepares data sets: reads raw files once, checks them and writes ArrayRecord files.

  python -m launch.prepare_data --dataset=planted --data_dir=data
  python -m launch.prepare_data --dataset=hazumi --raw_dir=DIR --data_dir=data
  python -m launch.prepare_data --dataset=mmsa/clips --raw_dir=clips.pkl --data_dir=data
  python -m launch.prepare_data --dataset=kitchen --datasets_dir=my_sets --raw_dir=DIR

`mmsa/NAME` is any pickle in MMSA's form, under a name of your choice. A data set of your own is a
folder in --datasets_dir (docs/data.md); once it is prepared, other programs need no such flag.

Prints progress and a summary of what was found. Nothing is downloaded: --raw_dir holds the files as
their authors publish them. What is there already is left alone, unless --overwrite is given.
"""

from absl import flags

import haemsa_datasets
from haemsa_datasets.catalog import prepared_path, register_directory
from haemsa_datasets.summary import to_table

from . import program

_DATASET = flags.DEFINE_list(
    "dataset",
    None,
    f"Data sets to prepare, a comma list of {', '.join(haemsa_datasets.names())}, mmsa/NAME with a "
    "name of your choice, and those of --datasets_dir.",
)
_DATASETS_DIR = flags.DEFINE_list(
    "datasets_dir", [], "Directories with data sets of your own, a folder each; a comma list."
)
_RAW_DIR = flags.DEFINE_string(
    "raw_dir", None, "Directory of the raw files; of mmsa and mmsa/NAME also the pickle itself."
)
_DATA_DIR = flags.DEFINE_string("data_dir", "data", "Directory for prepared data sets.")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Build again what is already prepared.")


def main() -> None:
    for directory in _DATASETS_DIR.value:
        register_directory(directory)
    # Every name is looked up before the first is prepared, which may take minutes.
    paths = {name: prepared_path(name, _DATA_DIR.value) for name in _DATASET.value}
    for name, path in paths.items():
        summary = haemsa_datasets.prepare(
            name, _RAW_DIR.value, _DATA_DIR.value, _OVERWRITE.value, report=_report
        )
        _report(to_table(name, summary, path))


def _report(line: str) -> None:
    print(line, flush=True)


def run() -> None:
    """The program as a command."""
    flags.mark_flag_as_required("dataset")
    program.run(main)


if __name__ == "__main__":
    run()
