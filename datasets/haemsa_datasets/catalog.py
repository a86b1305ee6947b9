"""Which data sets there are: every folder of this package that holds a builder module.

Folders may lie elsewhere: `register_directory` adds a directory of them. What is prepared describes
itself and is read without its builder.
"""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import tensorflow_datasets as tfds

import haemsa_datasets
from haemsa_datasets.quiet import quiet_tfds
from haemsa_jax.data import Dataset
from haemsa_jax.errors import PLUGINS, InputError

if TYPE_CHECKING:
    from haemsa_datasets.builder import HaemsaBuilder

REGISTERED: dict[str, Callable[[], Dataset]] = {}  # data sets of arrays, by name


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
      InputError: the directory holds no data set, one whose name is none or is there already, or
        one whose builder cannot be imported.
    """
    path = Path(directory).expanduser().absolute()
    if (path / f"{path.name}_dataset_builder.py").is_file():
        raise InputError(f"{path} is a data set; name the directory that it lies in, {path.parent}")
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
        own = {module.name for module in pkgutil.iter_modules(haemsa_datasets.__path__)}
        for name in directories:
            if not re.fullmatch(r"[a-z]\w*", name, re.ASCII):
                raise InputError(
                    f"{path / name}: rename the folder; a data set's is small letters, digits and _"
                )
        taken = [name for name in directories if name in own | {*folders()}]
        if taken:
            raise InputError(
                f"{path}: haemsa_datasets has a {taken[0]!r} already; give the folder another name"
            )
        haemsa_datasets.__path__.append(str(path))
        importlib.invalidate_caches()
    return tuple(name for folder in directories for name in _names_of(folder))


def register(name: str, make: Callable[[], Dataset]) -> None:
    """Makes a data set of arrays known by name, to launchers as well where a plug-in calls this.

    Args:
      name: as in `--tasks`; nothing is prepared for it.
      make: returns the data set; called whenever it is loaded.

    Raises:
      InputError: there is a data set of that name.
    """
    if is_known(name):
        raise InputError(f"there is a data set {name!r} already; give your own another name")
    REGISTERED[name] = make


def names() -> tuple[str, ...]:
    """Data set names as on the command line: a folder, or folder/config where it has several."""
    return tuple(name for folder in folders() for name in _names_of(folder))


def is_known(name: str) -> bool:
    """Whether the builder of a data set is at hand."""
    folder, _, config = name.partition("/")
    if folder not in folders():
        return False
    own = _import(folder).ANY_FILE and re.fullmatch(r"[A-Za-z][\w-]*", config, re.ASCII)
    return bool(own) or name in _names_of(folder)


def builder_class(name: str) -> type["HaemsaBuilder"]:
    """The builder of a data set.

    Raises:
      InputError: there is no such data set.
    """
    if not is_known(name):
        raise InputError(
            f"data set {name!r} is unknown; choose from {', '.join(names())}; your own is prepared "
            "by launch.prepare_data --datasets_dir=DIR, a pickle in MMSA's form as mmsa/NAME, "
            f"and arrays by haemsa_datasets.register in a module that {PLUGINS} names"
        )
    return _import(name.partition("/")[0])


def make_builder(name: str, data_dir: Path, raw_dir: str | Path | None = None) -> "HaemsaBuilder":
    """A builder that writes ArrayRecord files under `data_dir`, from what lies in `raw_dir`."""
    builder, config = builder_class(name), name.partition("/")[2] or None
    chosen = tfds.core.BuilderConfig(name=config) if config and builder.ANY_FILE else config
    with quiet_tfds():
        return builder(
            raw_dir=raw_dir, config=chosen, data_dir=str(data_dir), file_format="array_record"
        )


def source_of(name: str) -> str:
    """Where the raw files of a data set can be had; empty where it is generated."""
    # A builder reads what lies in its directory, which may be damaged: it gets an absent one.
    return make_builder(name, Path(".no-such-directory")).card.source


def prepared_path(name: str, data_dir: str | Path) -> Path:
    """Where the prepared data set lies, whether or not it is there yet.

    Raises:
      InputError: there is no such data set, nor was one prepared.
    """
    place = Path(data_dir).expanduser().absolute().joinpath(*name.split("/"))
    if not is_known(name) and all(re.fullmatch(r"\w[\w-]*", part) for part in name.split("/")):
        prepared = sorted(place.glob("[0-9]*.[0-9]*.[0-9]*/dataset_info.json"))
        if prepared:
            return prepared[-1].parent
    return place / str(builder_class(name).VERSION)


def is_prepared(name: str, data_dir: str | Path) -> bool:
    """Whether a complete data set lies there; TFDS writes its description last."""
    return (prepared_path(name, data_dir) / "dataset_info.json").is_file()


def _names_of(folder: str) -> tuple[str, ...]:
    configs = _import(folder).BUILDER_CONFIGS
    return tuple(f"{folder}/{config.name}" for config in configs) or (folder,)


def _import(folder: str) -> type["HaemsaBuilder"]:
    """The builder in a folder; whatever is wrong with it becomes one line.

    Raises:
      InputError: its module cannot be imported, or has no whole `Builder`.
    """
    from haemsa_datasets.builder import HaemsaBuilder

    module = f"haemsa_datasets.{folder}.{folder}_dataset_builder"
    try:
        builder = importlib.import_module(module).Builder
    except InputError as error:
        raise InputError(f"data set {folder!r}: {error}") from error
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"data set {folder!r}: {module} cannot be imported: {reason}") from error
    if not (inspect.isclass(builder) and issubclass(builder, HaemsaBuilder)):
        raise InputError(f"data set {folder!r}: {module}.Builder is no HaemsaBuilder; derive it")
    lacking = {*builder.__abstractmethods__} - {"_info"}
    if lacking:
        parts = ", ".join(sorted(lacking))
        raise InputError(f"data set {folder!r}: {module}.Builder lacks {parts}; define it")
    if not isinstance(builder.VERSION, tfds.core.Version):
        raise InputError(
            f'data set {folder!r}: {module}.Builder has no VERSION = tfds.core.Version("1.0.0")'
        )
    return builder
