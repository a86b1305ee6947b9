"""HAEMSA's structure: its genes, parts and gates, level by level.

Each function stands for one level and names the modules that `network.py` builds of it.
"""

import dataclasses
from collections.abc import Iterable

from haemsa_jax.models.haemsa.config import HaemsaConfig
from haemsa_jax.models.haemsa.registries import EXPERTS, LINKS, OPERATORS
from haemsa_jax.structure.axes import Axis, each, plain
from haemsa_jax.structure.genes import Gene
from haemsa_jax.structure.interface import interface, modality
from haemsa_jax.structure.parts import Declaration, Gating, Part

LEVELS = ("local", "link", "fusion")  # those with gates of a sharpness


def declare(config: HaemsaConfig) -> Declaration:
    """Everything that a configuration builds.

    Raises:
      InputError: a local expert, fusion operator or kind of link is not registered.
    """
    levels = (_local, _links, _specific, _imputed, _fusion)
    whole = interface(config, auxiliary=True)
    for level in levels:
        whole = whole + level(config)
    return whole + Declaration(tuple(_sharpness()), ())


def situation_axis(config: HaemsaConfig) -> Axis:
    """Of what every gate sees beside its own: which modalities are there, and the task's query."""
    return (*each(map(modality, config.built_modalities)), *plain(config.width))


def block_module(name: str, layer: int) -> str:
    """The module of a local block."""
    return f"local_{name}_{layer}"


def link_module(source: str, target: str) -> str:
    """The module of a cross-modal link, within `links`."""
    return f"{source}_to_{target}"


def _local(config: HaemsaConfig) -> Declaration:
    genes: list[Gene] = []
    parts: list[Part] = []
    gates: list[Gating] = []
    for m in config.built_modalities:
        depths = config.depths(m)
        for layer, experts in enumerate(config.blocks(m)):
            name, module = f"local/{m}/{layer}", block_module(m, layer)
            needed = next(x for x in depths if int(x) > layer)
            genes.append(Gene(name, "local", "mask", "experts of a block", experts, True))
            block = Part(
                name=name,
                kind="block",
                opened=((f"depth/{m}", needed),),
                reads=((modality(m),),),
                modules=((module,),),
            )
            members = [
                Part(
                    name=f"{name}/{expert}",
                    kind="expert",
                    opened=((name, expert),),
                    reads=((name,),),
                    modules=((module, expert),),
                )
                for expert in experts
            ]
            genes += _own(EXPERTS, experts, name, "local")
            gate = _gate(f"{name}/gate", members, ((name,),), (module, "gate"))
            parts += [block, *members, gate]
            gates.append(Gating(name, "local", tuple(p.name for p in members), experts))
        genes.append(Gene(f"depth/{m}", "local", "choice", "blocks in use", depths))
        parts.append(
            Part(
                name=f"summary/{m}",
                kind="summary",
                reads=((modality(m),),),
                modules=((f"summary_{m}",),),
            )
        )
    return Declaration(tuple(genes), tuple(parts), tuple(gates))


def _links(config: HaemsaConfig) -> Declaration:
    labels = tuple(f"{source}>{target}" for source, target in config.links)
    genes = [Gene("links", "links", "mask", "cross-modal links, source>target", labels)]
    parts = []
    for label, (source, target) in zip(labels, config.links, strict=True):
        module = link_module(source, target)
        genes += _own(LINKS, (config.link,), f"links/{label}", "links")
        parts.append(
            Part(
                name=f"links/{label}",
                kind="link",
                opened=(("links", label),),
                reads=((modality(source),), (modality(target),)),
                modules=(("links", module), ("links", f"gate_{module}")),
            )
        )
    for m in config.built_modalities:
        touching = tuple(
            f"links/{label}" for label, pair in zip(labels, config.links, strict=True) if m in pair
        )
        if touching:
            parts.append(
                Part(
                    name=f"links/norm/{m}",
                    kind="norm",
                    reads=(touching,),
                    modules=(("links", f"norm_{m}"),),
                )
            )
    names = tuple(f"links/{label}" for label in labels)
    return Declaration(tuple(genes), tuple(parts), (Gating("links", "links", names, labels),))


def _specific(config: HaemsaConfig) -> Declaration:
    names = config.built_specific
    meaning = "modalities whose specific part the task reads"
    genes = [
        Gene(f"specific/{task_id}", "specific", "mask", meaning, config.specific_of(task_id))
        for task_id in config.tasks
    ]
    members = [
        Part(
            name=f"specific/{m}",
            kind="specific",
            opened=(("specific/{task}", m),),
            reads=((modality(m),),),
            modules=(("parts", m),),
            everywhere=True,
        )
        for m in names
    ]
    gates = [
        _gate(f"specific/{m}/gate", members, ((f"specific/{m}",),), ("specific", f"gate_{m}"))
        for m in names
    ]
    gating = Gating("specific", "specific", tuple(part.name for part in members), names)
    return Declaration(tuple(genes), (*members, *gates), (gating,))


def _imputed(config: HaemsaConfig) -> Declaration:
    names = config.imputed
    if not names:
        return Declaration((), ())
    meaning = "modalities that are imputed where they are absent"
    gene = Gene("imputed", "imputed", "mask", meaning, names)
    parts = [
        Part(
            name=f"imputed/{m}",
            kind="imputed",
            opened=(("imputed", m),),
            reads=(
                (modality(m),),
                tuple(modality(other) for other in config.built_modalities if other != m),
            ),
        )
        for m in names
    ]
    imputer = Part(
        name="imputer",
        kind="imputer",
        reads=(tuple(part.name for part in parts),),
        modules=(("imputer",),),
        everywhere=True,
    )
    return Declaration((gene,), (*parts, imputer))


def _fusion(config: HaemsaConfig) -> Declaration:
    names, genes = config.built_operators, []
    for task_id in config.tasks:
        labels = config.operators_of(task_id)
        genes.append(Gene(f"fusion/{task_id}", "fusion", "mask", "global experts", labels, True))
    genes += _own(OPERATORS, names, "fusion", "fusion")
    members = [
        Part(
            name=f"fusion/{name}",
            kind="operator",
            opened=(("fusion/{task}", name),),
            modules=(("fusion", name),),
        )
        for name in names
    ]
    factors = [
        Part(
            name=f"fusion/{name}/{m}",
            kind="factor",
            needs=(f"fusion/{name}", modality(m)),
            modules=(("fusion", name, f"factor_{m}"),),
        )
        for name in names
        if getattr(OPERATORS[name], "FACTORS", False)
        for m in config.built_modalities
    ]
    gate = _gate("fusion/gate", members, (), ("fusion", "gate"))
    gating = Gating("fusion", "fusion", tuple(part.name for part in members), names)
    return Declaration(tuple(genes), (*members, *factors, gate), (gating,))


def _sharpness() -> Iterable[Gene]:
    meaning = "inverse temperature of the gates"
    for level in LEVELS:
        yield Gene(f"sharpness/{level}", "gates", "scale", meaning, low=0.25, high=4.0, log=True)


def _gate(name: str, members: list[Part], reads, module: tuple[str, ...]) -> Part:
    """A gate over parts: there where the network uses more than one of them."""
    several = tuple(part.name for part in members)
    return Part(
        name=name,
        kind="gate",
        reads=reads,
        several=several,
        modules=(module,),
        everywhere=members[0].everywhere,
    )


def _own(registry, names: Iterable[str], place: str, level: str) -> list[Gene]:
    """Genes that registered modules have of their own, named by their place."""
    genes = []
    for name in names:
        inside = place if registry is LINKS else f"{place}/{name}"
        for gene in getattr(registry[name], "GENES", ()):
            genes.append(dataclasses.replace(gene, name=f"{inside}/{gene.name}", level=level))
    return genes
