"""From `--tasks` and the flags beside it to data sets and a network configuration."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from absl import flags

from haemsa_jax.config import (
    MODES,
    PRECISIONS,
    EncoderSpec,
    NetworkConfig,
    TaskSpec,
    dataset_of,
)
from haemsa_jax.data import Dataset
from haemsa_jax.data.values import whole_number
from haemsa_jax.encoders.text import FAMILY, MODALITY
from haemsa_jax.errors import InputError
from haemsa_jax.models import default_structure
from haemsa_jax.structure.interface import modality
from haemsa_jax.structure.parts import shut
from haemsa_jax.structure.specialise import specialised_config

from . import cli, words

flags.disclaim_key_flags()


def define_flags() -> None:
    """Which tasks, from where, and the network on them."""
    flags.DEFINE_list("tasks", None, "DATASET (all its tasks) or DATASET:TASK, a comma list.")
    flags.DEFINE_string("data_dir", "data", "Directory of prepared data sets.")
    flags.DEFINE_list(
        "past", ["0"], "Context: utterances before the target, also read: N, or DATASET=N,..."
    )
    flags.DEFINE_list(
        "future", ["0"], "Context: utterances after the target, also read: N, or DATASET=N,..."
    )
    flags.DEFINE_bool("speakers", None, "Context says who speaks, the target's speaker or another.")
    flags.DEFINE_string(
        "text",
        None,
        "Text encoder whose token vectors of the words replace the text features: minilm, or the "
        "folder of a BERT, MiniLM, RoBERTa or MPNet model.",
    )
    flags.DEFINE_enum(
        "text_mode",
        "frozen",
        MODES,
        "frozen: token vectors are computed once. pooled: their mean, one vector an utterance. "
        "tuned: the encoder is fine-tuned with the network. adapted: LoRA adapters of it are.",
    )
    flags.DEFINE_integer(
        "adapter_rank", 16, "Rank of LoRA adapters (--text_mode=adapted); 0 for none."
    )
    flags.DEFINE_enum(
        "text_precision",
        "float32",
        PRECISIONS,
        "Precision of a text encoder within the network; bfloat16 is for accelerators and for "
        "processors with AMX.",
    )
    flags.DEFINE_integer("max_tokens", 64, "Tokens after which an utterance's words are cut off.")
    cli.define_network_flags()


def from_flags(
    splits: Iterable[str], base: NetworkConfig | None = None
) -> tuple[dict[str, Dataset], NetworkConfig]:
    """Data sets and the network that the flags describe.

    Args:
      splits: the splits to read.
      base: a network on the same tasks, of which the flags given change single values.

    Raises:
      InputError: no tasks, unknown ones, or others than those of `base`.
    """
    given = flags.FLAGS
    if not given.tasks and base is None:
        raise InputError("--tasks is missing: name a data set, or DATASET:TASK, a comma list")
    encoders = dict(base.encoders) if base is not None else {}
    text = _text(encoders.get(MODALITY))
    encoders |= {MODALITY: text} if text is not None else {}
    datasets, tasks = load_tasks(given.tasks or list(base.tasks), given.data_dir, splits, encoders)
    if base is not None and tasks != dict(base.tasks):
        raise InputError(
            f"the tasks are {', '.join(tasks)} as the data sets have them now, but the genome is "
            f"for {', '.join(base.tasks)}; leave --tasks away and prepare the same data sets"
        )
    if text is not None:
        talking = tuple(name for name, data in datasets.items() if data.has_words)
        encoders[MODALITY] = dataclasses.replace(text, datasets=talking)
        if not talking:
            raise InputError(
                f"--text={text.encoder}: there are no transcripts in {', '.join(datasets)}; leave "
                "the flag away"
            )
    # The order of the tasks is that of the genome's rows.
    tasks = {task_id: tasks[task_id] for task_id in (base.tasks if base else tasks)}
    widths = {name: dict(dataset.widths) for name, dataset in datasets.items()}
    if base is not None and widths != base.widths:
        raise InputError(f"the features are {widths} wide, but the genome is for {base.widths}")
    talking = [name for name, dataset in datasets.items() if dataset.conversational]
    past = per_dataset("past", given.past, talking or datasets)
    future = per_dataset("future", given.future, talking or datasets)
    if not talking and any([*past.values(), *future.values()]):
        raise InputError(
            f"--past and --future are for dialogues, of which there are none in "
            f"{', '.join(datasets)}; leave them away"
        )
    numbers_given = [
        numbers if base is None or given[flag].present else {}
        for flag, numbers in (("past", past), ("future", future))
    ]
    context = context_of(talking, numbers_given, base)
    speakers = _speakers(datasets, context, base)
    return datasets, cli.network_from_flags(
        base, widths=widths, tasks=tasks, context=context, encoders=encoders, speakers=speakers
    )


def context_of(
    talking: Iterable[str], wanted: Sequence[Mapping[str, int]], base: NetworkConfig | None
) -> dict[str, tuple[int, int]]:
    """Utterances before and after the target by data set: as asked, or those of `base`, or none.

    Args:
      talking: data sets of dialogues.
      wanted: by data set how many before, and how many after.
      base: a network whose numbers stay where nothing is asked.
    """
    past, future = wanted
    context = {}
    for name in talking:
        before, after = base.context_of(name) if base is not None else (0, 0)
        context[name] = past.get(name, before), future.get(name, after)
    return context


def _speakers(datasets: Mapping[str, Dataset], context: Mapping[str, tuple], base) -> tuple:
    """Data sets whose tokens say who speaks: as asked, or those of `base`, or none."""
    wanted = flags.FLAGS.speakers
    if not wanted:
        return base.speakers if base is not None and wanted is None else ()
    known = tuple(name for name in context if any(context[name]) and datasets[name].has_speakers)
    if not known:
        raise InputError(
            f"--speakers: in {', '.join(datasets)} no speakers are known, or the target alone is "
            "read; give --past or --future, or leave the flag away"
        )
    return known


def _text(base: EncoderSpec | None) -> EncoderSpec | None:
    """The text encoder that the flags describe, of which those given change what `base` says."""
    given = flags.FLAGS
    named = {
        "mode": "text_mode",
        "rank": "adapter_rank",
        "precision": "text_precision",
        "max_tokens": "max_tokens",
    }
    given_flags = [flag for flag in named.values() if given[flag].present]
    if base is None and not given.text:
        if given_flags:
            raise InputError(
                f"--{given_flags[0]} is about a text encoder; name one by --text as well"
            )
        return None
    if not given.text and not given_flags:
        return base
    values = {
        field: given[flag].value if base is None or given[flag].present else getattr(base, field)
        for field, flag in named.items()
    }
    return words.describe(FAMILY, given.text or base.encoder, **values)


def check_context(network: NetworkConfig) -> None:
    """Refuses --past and --future beyond what is read by the network that a genome makes.

    Raises:
      InputError: they are.
    """
    talking = list(network.context)
    for place, flag in enumerate(("past", "future")):
        if not flags.FLAGS[flag].present:
            continue
        for name, count in per_dataset(flag, flags.FLAGS[flag].value, talking).items():
            if count > network.context_of(name)[place]:
                raise InputError(
                    f"--{flag}: {count} utterances are asked for, but of {name} the genome reads "
                    f"{network.context_of(name)[place]}; leave the flag away, or give less"
                )


def patterns(entries: Sequence[str], modalities: Sequence[str]) -> list[tuple[str, ...]]:
    """Presence patterns by name: `full`, `leave_one_out`, `single`, or such as `text+audio`."""
    named = {
        "full": [tuple(modalities)],
        "leave_one_out": [tuple(m for m in modalities if m != gone) for gone in modalities],
        "single": [(m,) for m in modalities],
    }
    parsed = []
    for entry in entries:
        chosen = set(entry.split("+"))
        if entry not in named and not chosen <= {*modalities}:
            raise InputError(
                f"--patterns={entry}: expected {', '.join(named)}, or modalities joined by + out "
                f"of {', '.join(modalities)}"
            )
        parsed += named.get(entry, [tuple(m for m in modalities if m in chosen)])
    parsed = list(dict.fromkeys(pattern for pattern in parsed if pattern))
    if not parsed:
        raise InputError(
            f"--patterns={','.join(entries)}: no pattern has a modality of {', '.join(modalities)}"
        )
    return parsed


def restricted(network: NetworkConfig, names: str) -> NetworkConfig:
    """The network of which nothing is built for other modalities than those, joined by +."""
    wanted = names.split("+")
    for name in wanted:
        if name not in network.modalities:
            raise InputError(
                f"--modalities={names}: {name!r} is none of {', '.join(network.modalities)}"
            )
    for task_id in network.tasks:
        if not {*wanted} & {*network.stems_of(dataset_of(task_id))}:
            raise InputError(f"--modalities={names}: there is nothing left to read for {task_id}")
    gone = [modality(m) for m in network.modalities if m not in wanted]
    return specialised_config(network, shut(network, default_structure(network), gone))


def load_tasks(
    names: Sequence[str],
    data_dir: str,
    splits: Iterable[str],
    encoders: Mapping[str, EncoderSpec] | None = None,
) -> tuple[dict[str, Dataset], dict[str, TaskSpec]]:
    """Data sets and tasks by name.

    Args:
      names: `dataset` (all its tasks) or `dataset:task`, such as `cmu_mosi/contextual`,
        `hazumi:ui`.
      data_dir: where data sets are prepared.
      splits: the splits to read.
      encoders: by modality those of their raw input, if any.
    """
    wanted: dict[str, list[str]] = {}
    for name in names:
        dataset, _, task = name.strip().partition(":")
        wanted.setdefault(dataset, []).append(task)
    splits = list(splits)
    datasets = {name: words.load(name, data_dir, splits, encoders or {}) for name in wanted}
    tasks = {}
    for name, chosen in wanted.items():
        known = datasets[name].tasks
        for task in known if "" in chosen else chosen:
            if task not in known:
                raise InputError(
                    f"--tasks: {name!r} has no task {task!r}; choose from "
                    f"{', '.join(f'{name}:{other}' for other in known)}"
                )
            tasks[f"{name}:{task}"] = known[task]
    return datasets, tasks


def per_dataset(flag: str, entries: Sequence[str], known: Iterable[str]) -> dict[str, int]:
    """`8` or `hazumi=8,cmu_mosi/contextual=4` as a number for every data set."""
    known, numbers = list(known), {}
    for entry in entries:
        name, _, number = entry.rpartition("=")
        if not whole_number(number) or (name and name not in known):
            raise InputError(
                f"--{flag}={entry}: expected a number, or DATASET=number with one of "
                f"{', '.join(known)}"
            )
        numbers |= {dataset: int(number) for dataset in ([name] if name else known)}
    return numbers


def task_weights(entries: Sequence[str], known: Mapping[str, TaskSpec]) -> dict[str, float]:
    """`hazumi:ui=2,hazumi:tc=0.5` as numbers."""
    weights = {}
    for entry in entries:
        name, _, number = entry.rpartition("=")
        try:
            weights[name] = float(number)
        except ValueError:
            name = ""
        if name not in known:
            raise InputError(
                f"--task_weights={entry}: expected TASK=number with one of {', '.join(known)}"
            )
    return weights
