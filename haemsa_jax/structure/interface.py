"""What every model declares alike: modalities of tasks, context, stems, encoders and heads."""

from collections.abc import Iterable, Iterator

from haemsa_jax.config import (
    SPEAKERS,
    NetworkConfig,
    dataset_of,
    encoder_name,
    head_name,
    stem_name,
)
from haemsa_jax.structure.genes import Gene
from haemsa_jax.structure.parts import TASK, Declaration, Part

MARK = "mark"
SIDES = {
    "past": "utterances before the target that the task reads",
    "future": "utterances after it",
}
ENCODERS = "frozen", "adapted"


def modality(name: str) -> str:
    """The part that a modality is."""
    return f"modality/{name}"


def encoder(modality: str) -> str:
    """The gene, and the part, that the encoder of a modality is."""
    return f"encoder/{modality}"


def task(task_id: str) -> str:
    """The part that a task is."""
    return f"task/{task_id}"


def interface(network: NetworkConfig, *, auxiliary: bool = False) -> Declaration:
    """Genes and parts that all models have.

    Args:
      network: the configuration.
      auxiliary: whether the model has a head for every modality alone, as `head_name` names it.
    """
    return Declaration(tuple(_genes(network)), tuple(_parts(network, auxiliary)))


def _genes(network: NetworkConfig) -> Iterator[Gene]:
    for task_id in network.tasks:
        name, names = f"modalities/{task_id}", network.reads(task_id)
        yield Gene(name, "modalities", "mask", "what the task reads", names, True)
    for task_id in network.tasks:
        for side, meaning in SIDES.items():
            name = f"{side}/{task_id}"
            yield Gene(name, "context", "choice", meaning, windows(network, task_id)[side])
        meaning = "whether the task is told who speaks, the target's speaker or another"
        labels = network.speaker_labels(task_id)
        yield Gene(f"speakers/{task_id}", "context", "choice", meaning, labels)
    for m in network.encoded():
        if network.adapts(m) and network.encoders[m].rank:
            meaning = f"the {m} encoder, as published or with adapters"
            labels = network.labels(encoder(m), ENCODERS)
            yield Gene(encoder(m), "encoder", "choice", meaning, labels)


def windows(network: NetworkConfig, task_id: str) -> dict[str, tuple[str, ...]]:
    """How many neighbours a task may read on each side: none, all, or a power of two."""
    labels = {}
    for side, most in zip(SIDES, network.context_of(dataset_of(task_id)), strict=True):
        powers = [2**n for n in range(most.bit_length()) if 2**n < most]
        counts = tuple(map(str, sorted({0, *powers, most})))
        labels[side] = network.labels(f"{side}/{task_id}", counts)
    return labels


def _parts(network: NetworkConfig, auxiliary: bool) -> Iterator[Part]:
    yield Part(name="network", kind="network", modules=((),))
    for task_id in network.tasks:
        yield Part(
            name=task(task_id), kind="task", tasks=(task_id,), modules=((head_name(task_id),),)
        )
    for m in network.modalities:
        yield Part(name=modality(m), kind="modality", opened=(("modalities/{task}", m),))
    for dataset in network.widths:
        tasks = network.tasks_of(dataset)
        for m in network.stems_of(dataset):
            yield Part(
                name=f"stem/{dataset}/{m}",
                kind="stem",
                reads=((modality(m),),),
                tasks=tasks,
                modules=((stem_name(dataset, m),),),
            )
        if network.reads_speakers(dataset):
            yield from _speakers(network, dataset)
    for m in network.encoded():
        yield from _encoder(network, m)
    for task_id in network.tasks if auxiliary else ():
        for m in network.reads(task_id):
            yield Part(
                name=f"{task(task_id)}/{m}",
                kind="auxiliary",
                reads=((modality(m),),),
                tasks=(task_id,),
                modules=((head_name(task_id, m),),),
            )


def _speakers(network: NetworkConfig, dataset: str) -> Iterator[Part]:
    """What says who speaks, of those neighbours that there are."""
    tasks, near = network.tasks_of(dataset), f"neighbours/{dataset}"
    own = tuple((f"{gene.partition('/')[0]}/{TASK}", x) for gene, x in _neighbours(network, tasks))
    yield Part(name=near, kind="context", opened=own, tasks=tasks)
    for m in network.stems_of(dataset):
        yield Part(
            name=f"stem/{dataset}/{m}/speakers",
            kind="stem",
            opened=((f"speakers/{TASK}", SPEAKERS[-1]),),
            reads=((modality(m),), (near,)),
            tasks=tasks,
            modules=((stem_name(dataset, m), "speakers"),),
        )


def _neighbours(network: NetworkConfig, tasks: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """What opens parts that are about utterances beside the target."""
    return tuple(
        (f"{side}/{task_id}", next(x for x in counts if x != "0"))
        for task_id in tasks
        for side, counts in windows(network, task_id).items()
        if counts[-1] != "0"
    )


def _encoder(network: NetworkConfig, m: str) -> Iterator[Part]:
    """The encoder of a modality within the network; of one that is trained whole nothing counts."""
    tasks = tuple(t for d in network.widths if network.encodes(d, m) for t in network.tasks_of(d))
    read, name, counted = ((modality(m),),), encoder(m), network.adapts(m)
    adapted = counted and network.encoders[m].rank and "adapted" in network.labels(name, ENCODERS)
    yield Part(
        name=name,
        kind="encoder",
        reads=read,
        tasks=tasks,
        modules=((encoder_name(m),),),
        opened=((name, "adapted"),) if adapted else (),
        counted=counted,
    )
    if network.marks(m):
        yield Part(
            name=f"{name}/{MARK}",
            kind="encoder",
            reads=read,
            tasks=tasks,
            modules=((encoder_name(m), MARK),),
            opened=_neighbours(network, tasks),
            counted=counted,
        )
