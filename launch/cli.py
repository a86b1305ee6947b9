"""What the launchers share: flags from a dataclass, devices, and the directory of a run."""

import dataclasses
import inspect
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

import jax
from absl import flags

from haemsa_jax.config import EncoderSpec, NetworkConfig, TrainConfig
from haemsa_jax.encoders import relocated
from haemsa_jax.encoders.places import folders_from
from haemsa_jax.errors import PLUGINS, InputError
from haemsa_jax.models.model import MODELS, config_class, model_named
from haemsa_jax.reporting.card import COMMANDS
from haemsa_jax.training.engine import parallel, streaming
from haemsa_jax.training.persistence.run_directory import owned
from haemsa_jax.writing import naming

# Plug-ins are imported there, before flags of models are defined here.
from . import program
from .emptying import empty

# The flags defined here belong to the launcher, whose --help then lists them.
flags.disclaim_key_flags()

_DEFINE = {int: flags.DEFINE_integer, float: flags.DEFINE_float, str: flags.DEFINE_string}


def define_flags(config: type, skip: tuple[str, ...] = (), **defaults) -> None:
    """A flag for every field of a configuration that has a plain default.

    Args:
      config: the dataclass.
      skip: fields that get none.
      defaults: other values than the configuration's own.
    """
    documented = _field_docs(config)
    for field in dataclasses.fields(config):
        if field.type in _DEFINE and field.name not in skip:
            default = defaults.get(field.name, field.default)
            _DEFINE[field.type](field.name, default, documented.get(field.name, ""))


def define_network_flags() -> None:
    """A flag for the model, and one for every field of any model's configuration.

    A flag that is not given leaves the field as the model has it.
    """
    about = "; ".join(f"{name}: {_headline(MODELS[name])}" for name in sorted(MODELS))
    flags.DEFINE_enum("model", "haemsa", sorted(MODELS), f"The network's model. {about}.")
    defaults: dict[str, dict[str, list[str]]] = {}
    texts: dict[str, dict[str, list[str]]] = {}
    kinds = {}
    for name, module in MODELS.items():
        config = config_class(module)
        documented = {**_field_docs(NetworkConfig), **_field_docs(config)}
        for field in dataclasses.fields(config):
            if field.type in _DEFINE:
                kinds[field.name] = field.type
                of = defaults.setdefault(field.name, {})
                of.setdefault(str(field.default), []).append(name)
                of = texts.setdefault(field.name, {})
                of.setdefault(documented.get(field.name, ""), []).append(name)
    for name, kind in kinds.items():
        values = ", ".join(
            value if len(models) == len(MODELS) else f"{value} ({', '.join(models)})"
            for value, models in defaults[name].items()
        )
        _DEFINE[kind](name, None, f"{_joined(texts[name])} By default {values}.".strip())


def _headline(module: type) -> str:
    """What the file says first in which a model is defined, or the model itself."""
    text = inspect.getdoc(inspect.getmodule(module)) or inspect.getdoc(module) or module.__name__
    return text.splitlines()[0].rstrip(".")


def _joined(texts: Mapping[str, list[str]]) -> str:
    """What models say of a setting that they share, each text with its models if it has others."""
    known = {text: models for text, models in texts.items() if text}
    if len(known) < 2:
        return "".join(known)
    return " ".join(f"{text.rstrip('.')} ({', '.join(of)})." for text, of in known.items())


def network_from_flags(base: NetworkConfig | None, **others):
    """The configuration of the model that the flags describe.

    Args:
      base: a network of which the flags given change single values; its model stays.
      others: fields without a flag.

    Raises:
      InputError: a flag is given that the model does not have, or a model other than `base`'s.
    """
    given = flags.FLAGS
    if base is not None and given["model"].present and given.model != base.model:
        raise InputError(
            f"--model={given.model}, but the genome is for model={base.model}; leave the flag away"
        )
    config = config_class(model_named(given.model if base is None else base.model))
    own = {field.name for field in dataclasses.fields(config)}
    for module in MODELS.values():
        for field in dataclasses.fields(config_class(module)):
            foreign = field.name in given and field.type in _DEFINE and field.name not in own
            if foreign and given[field.name].present:
                raise InputError(
                    f"--{field.name}: model={config.model} has no such setting; leave the flag away"
                )
    values = {
        name: given[name].value for name in own if name in given and given[name].value is not None
    }
    values = {name: value for name, value in values.items() if name not in others}
    if base is not None:
        return dataclasses.replace(base, **values, **others)
    return config(**values, **others)


def from_flags(config: type, base=None, **others):
    """The configuration that the flags describe; `others` are fields without a flag.

    Where there is a `base`, flags that are not given leave its values as they are.
    """
    fields = {f.name for f in dataclasses.fields(config) if f.type in _DEFINE} - {*others}
    names = [name for name in fields if name in flags.FLAGS]
    if base is None:
        return config(**{name: flags.FLAGS[name].value for name in names}, **others)
    given = {name: flags.FLAGS[name].value for name in names if flags.FLAGS[name].present}
    return dataclasses.replace(base, **given, **others)


def devices() -> list[jax.Device]:
    """All devices of all processes, or the local ones that `--devices` asks for."""
    if jax.process_count() > 1:
        if flags.FLAGS.devices:
            raise InputError(
                f"--devices={flags.FLAGS.devices} is for one process; of several all "
                "devices are used: leave it away"
            )
        return jax.devices()
    available, count = jax.local_devices(), flags.FLAGS.devices
    if not 0 <= count <= len(available):
        raise InputError(
            f"--devices={count}, but JAX finds {len(available)} ({available[0].platform}); "
            f"give a number from 1 to {len(available)}, or 0 for all"
        )
    return available[: count or None]


def leads() -> bool:
    """Whether this process prints and writes: the only one, or the first of several."""
    return jax.process_index() == 0


def run_directory(*reads: str | Path) -> Path:
    """`--run_dir`, held to the program's end, emptied where `--overwrite` asks for it.

    To be called once all else is checked.

    Args:
      reads: files and directories that the run begins with, which must lie elsewhere.

    Raises:
      InputError: one of them lies within, or prepared data does that would be deleted, or what
        would be deleted is no run, or another run is at work there.
    """
    directory = Path(flags.FLAGS.run_dir)
    data = [flags.FLAGS.data_dir] if flags.FLAGS.overwrite else []
    for path in map(Path, (*reads, *data)):
        if directory.resolve() in (path.resolve(), *path.resolve().parents):
            raise InputError(
                f"--run_dir={directory} holds {path}, which the run reads; choose another --run_dir"
            )
    program.held.enter_context(owned(directory))
    if flags.FLAGS.overwrite:
        if leads():
            empty(directory)
        parallel.meet()  # nobody looks before it is empty
    return directory


def command() -> list[str]:
    """The words of the command that runs."""
    name = Path(sys.argv[0])
    name = name.parent.with_suffix(".py") if name.stem == "__main__" else name
    module = f"{name.parent.name}.{name.stem}"
    return [*(["python", "-m", module] if name.suffix == ".py" else [name.name]), *sys.argv[1:]]


def listed(flag: str) -> list[Path]:
    """The paths of a comma list.

    Raises:
      InputError: one of several is not there: a comma may be part of its name.
    """
    paths = [Path(name) for name in flags.FLAGS[flag].value]
    lacking = [path for path in paths if not path.exists()]
    if len(paths) > 1 and lacking:
        whole = ",".join(map(str, paths))
        raise InputError(
            f"--{flag}: there is no {lacking[0]}; where the comma belongs to a name, put that in "
            f"double quotes within the list: --{flag}='\"{whole}\"'"
        )
    return paths


def note_command(directory: Path) -> None:
    """Keeps the command beside what it made, once, with the plugins that it was started with."""
    line = shlex.join(command())
    if plugins := os.environ.get(PLUGINS):
        line = f"{PLUGINS}={shlex.quote(plugins)} {line}"
    path, kept = directory / COMMANDS, os.fsencode(line)
    if not path.is_file() or kept not in path.read_bytes().splitlines():
        with naming(path), path.open("ab") as file:
            file.write(kept + b"\n")


def define_run_flags() -> None:
    """Where a run is kept, and on what it runs."""
    flags.DEFINE_string("run_dir", None, "Directory of the run.", required=True)
    flags.DEFINE_bool("overwrite", False, "Delete what RUN_DIR holds.")
    flags.DEFINE_integer(
        "devices", 0, "Local devices to use, 0 for all; a CPU is split into so many."
    )


def define_training_flags() -> None:
    """Where and how a training runs, and all its settings."""
    define_run_flags()
    define_resident_flag()
    flags.DEFINE_integer("checkpoint_every", 500, "Steps between checkpoints.", lower_bound=1)
    define_flags(TrainConfig)


def define_trained_flags(required: bool = True) -> None:
    """Which networks of a run are used, and on what; `required` where a run must be named."""
    flags.DEFINE_string("run_dir", None, "Directory of a trained run.", required=required)
    flags.DEFINE_string(
        "dataset", None, "Data set as whose samples are read, of a network trained on several."
    )
    flags.DEFINE_integer(
        "networks",
        None,
        "Networks whose predictions are averaged; by default all seeds, or a search's best.",
    )


def define_encoder_flag() -> None:
    """Where encoders of raw input lie."""
    flags.DEFINE_multi_string(
        "encoder",
        [],
        "Folder in which the encoder of words lies, if not where it was in training; of several "
        "encoders MODALITY=FOLDER, the flag once for each.",
    )


def encoders_of(specs: Mapping[str, EncoderSpec]) -> dict[str, EncoderSpec]:
    """Encoders of a network where `--encoder` says that they lie now."""
    return relocated(specs, folders_from(flags.FLAGS.encoder, specs))


def check_dataset(network: NetworkConfig) -> None:
    """Refuses a `--dataset` that was not given, or is not one of several, by the flag's name."""
    known, given = [*network.widths], flags.FLAGS.dataset
    if given not in known and (given is not None or len(known) > 1):
        wrong = "" if given is None else f"--dataset={given}: "
        raise InputError(
            f"{wrong}the network reads {', '.join(known)}; give --dataset={known[0]}"
            + (" or another of them" if len(known) > 1 else "")
        )


def define_resident_flag() -> None:
    """How large a data set may be on the device."""
    flags.DEFINE_integer(
        "resident_mib",
        streaming.RESIDENT >> 20,
        "MiB of features from which on a split stays in the host's memory and is streamed in "
        "pieces, with the same results.",
        lower_bound=0,
    )


def _field_docs(config: type) -> dict[str, str]:
    """What the docstring's `Attributes:` says of each field."""
    docs, name = {}, None
    # Cleaned: from Python 3.13 on, docstrings have lost their indentation already.
    for line in inspect.getdoc(config).partition("Attributes:")[2].splitlines():
        if line.startswith("  ") and not line.startswith("   ") and ":" in line:
            name, _, rest = line.strip().partition(":")
            docs[name] = rest.strip()
        elif name and line.strip():
            docs[name] += " " + line.strip()
    return docs
