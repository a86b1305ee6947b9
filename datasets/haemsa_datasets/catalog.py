"""Which data sets there are: every folder of this package that holds a builder module.

Folders may lie elsewhere: `register_directory` adds a directory of them.
"""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

import haemsa_datasets
from haemsa_jax.errors import IF_OWN, InputError

if TYPE_CHECKING:
    from haemsa_datasets.builder import HaemsaBuilder


def folders() -> tuple[str, ...]:
    """Names of the data set folders."""
    return tuple(
        sorted(
            path.name
            for root in haemsa_datasets.__path__
            for path in Path(root).iterdir()
            if (path / f"{path.name}_dataset_builder.py").is_file()
        )
    )


def register_directory(directory: str | Path) -> tuple[str, ...]:
    """Makes the data set folders of a directory known, beside those of this package.

    Args:
      directory: with a folder a data set, as in docs/data.md.

    Returns:
      Names of the data sets that came with it.

    Raises:
      InputError: the directory holds no data set, or one of a name that is there already.
    """
    path = Path(directory).expanduser().absolute()
    directories = [
        folder.parent.name
        for folder in sorted(path.glob("*/*_dataset_builder.py"))
        if folder.name == f"{folder.parent.name}_dataset_builder.py"
    ]
    if not directories:
        raise InputError(
            f"{path} holds no data set; expected folders NAME with a NAME_dataset_builder.py"
        )
    if str(path) not in haemsa_datasets.__path__:
        taken = [name for name in directories if name in folders()]
        if taken:
            raise InputError(
                f"{path}: there is a data set {taken[0]!r} already; give the folder another name"
            )
        haemsa_datasets.__path__.append(str(path))
        importlib.invalidate_caches()
    return tuple(name for folder in directories for name in _names_of(folder))


def names() -> tuple[str, ...]:
    """Data set names as on the command line: a folder, or folder/config where it has several."""
    return tuple(name for folder in folders() for name in _names_of(folder))


def builder_class(name: str) -> type["HaemsaBuilder"]:
    """The builder of a data set.

    Raises:
      InputError: there is no such data set.
    """
    folder = name.partition("/")[0]
    if folder not in folders() or name not in _names_of(folder):
        choices = ", ".join(names())
        raise InputError(f"data set {name!r} is unknown; choose from {choices}{IF_OWN}")
    return _import(folder)


def make_builder(name: str, data_dir: Path) -> "HaemsaBuilder":
    """A builder that writes ArrayRecord files under `data_dir`."""
    config = name.partition("/")[2] or None
    return builder_class(name)(config=config, data_dir=str(data_dir), file_format="array_record")


def prepared_path(name: str, data_dir: str | Path) -> Path:
    """Where the prepared data set lies, whether or not it is there yet."""
    version = str(builder_class(name).VERSION)
    return Path(data_dir).expanduser().absolute().joinpath(*name.split("/"), version)


def is_prepared(name: str, data_dir: str | Path) -> bool:
    """Whether a complete data set lies there; TFDS writes its description last."""
    return (prepared_path(name, data_dir) / "dataset_info.json").is_file()


def _names_of(folder: str) -> tuple[str, ...]:
    configs = _import(folder).BUILDER_CONFIGS
    return tuple(f"{folder}/{config.name}" for config in configs) or (folder,)


def _import(folder: str) -> type["HaemsaBuilder"]:
    return importlib.import_module(f"haemsa_datasets.{folder}.{folder}_dataset_builder").Builder
