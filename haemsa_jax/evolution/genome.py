"""HAEMSA's genome: its table of genes, and the architecture and training that they decode to."""

import dataclasses
from collections.abc import Iterator, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from haemsa_jax.config import (
    FUSION_OPERATORS,
    LOCAL_EXPERTS,
    OPTIONS,
    NetworkConfig,
    Parts,
    TrainConfig,
    dataset_of,
)
from haemsa_jax.evolution.genes import Gene, Table
from haemsa_jax.models.architecture import LEVELS, Architecture, reach
from haemsa_jax.training.state import Hyper

Array = jax.Array
DEFAULT = TrainConfig()

# Ends and spacing of the training genes; names are those of `TrainConfig`.
TRAINING = {
    "learning_rate": (3e-4, 1e-2, True, "peak of the schedule"),
    "weight_decay": (1e-2, 10.0, True, "decoupled, on matrices"),
    "dropout": (0.0, 0.6, False, "rate in experts, links, fusion and heads"),
    "input_dropout": (0.0, 0.6, False, "rate on features"),
    "modality_dropout": (0.0, 0.5, False, "rate at which modalities are hidden"),
    "auxiliary": (1e-2, 1.0, True, "weight of the single-modality heads' losses"),
}


# What is off unless asked for, from no effect to more than anybody uses.
OPTIONAL = {
    "class_balance": (1.0, "how much classes weigh the more, the rarer they are"),
    "focal": (4.0, "how much less what is predicted well weighs"),
    "logit_adjustment": (2.0, "how much more often rare classes are said"),
    "utterance_dropout": (0.5, "mean rate at which single utterances' modalities are hidden"),
    "frame_dropout": (0.5, "mean rate at which single tokens are hidden"),
    "moments": (2.0, "weight of shared parts' moments agreeing"),
    "contrast": (1.0, "weight of shared parts of a sample knowing each other"),
    "correlation": (2.0, "weight of shared parts being functions of each other"),
    "orthogonality": (10.0, "weight of shared and specific parts differing"),
    "reconstruction": (2.0, "weight of both parts saying what the summary said"),
    "imputation": (2.0, "weight of guessing shared parts"),
    "distillation": (2.0, "weight of partial views agreeing with full ones"),
    "gradient_balance": (1.0, "how much slower a modality learns that is ahead"),
    "prediction_balance": (2.0, "how much more often a modality is hidden that is ahead"),
}
assert tuple(OPTIONAL) == OPTIONS


ENCODERS = "frozen", "adapted"
CONTEXT = {
    "past": "utterances before the target that the task reads",
    "future": "utterances after it",
}


def _windows(network: NetworkConfig) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Gene, meaning and what it may say for every task, before and after the target.

    A task reads none of the neighbours, all, or a power of two.
    """
    for task_id in network.tasks:
        window = network.context_of(dataset_of(task_id))
        for (side, meaning), most in zip(CONTEXT.items(), window, strict=True):
            powers = [2**n for n in range(most.bit_length()) if 2**n < most]
            yield f"{side}/{task_id}", meaning, tuple(sorted({0, *powers, most}))


def gene_table(network: NetworkConfig, config: TrainConfig = DEFAULT) -> Table:
    """The genes of all that the supernet leaves open.

    Args:
      network: the supernet.
      config: the options that it turns on are genes too.
    """
    everything, genes = network.built, []
    for task_id, names in everything.modalities.items():
        genes.append(
            Gene(f"modalities/{task_id}", "modalities", "mask", "what the task reads", names, True)
        )
    for name, meaning, counts in _windows(network):
        if len(counts) > 1:
            genes.append(Gene(name, "context", "choice", meaning, tuple(map(str, counts))))
    if network.adapts and network.text.rank:
        meaning = "the text encoder, as published or with adapters"
        genes.append(Gene("encoder", "encoder", "choice", meaning, ENCODERS))
    for modality, blocks in everything.local.items():
        for layer, experts in enumerate(blocks):
            name = f"local/{modality}/{layer}"
            genes.append(Gene(name, "local", "mask", "experts of a block", experts, True))
        if len(blocks) > 1:
            counts = tuple(str(count + 1) for count in range(len(blocks)))
            genes.append(Gene(f"depth/{modality}", "local", "choice", "blocks in use", counts))
    links = tuple(f"{source}>{target}" for source, target in everything.links)
    if links:
        genes.append(Gene("links", "links", "mask", "cross-modal links, source>target", links))
    for task_id in network.tasks:
        name = f"fusion/{task_id}"
        genes.append(Gene(name, "fusion", "mask", "global experts", everything.fusion, True))
    for task_id, names in everything.modalities.items():
        labels = tuple(m for m in names if m in everything.specific)
        if labels:
            meaning = "modalities whose specific part the task hears"
            genes.append(Gene(f"specific/{task_id}", "specific", "mask", meaning, labels))
    if everything.imputed:
        meaning = "modalities that are guessed where they are absent"
        genes.append(Gene("imputed", "imputed", "mask", meaning, everything.imputed))
    for level in LEVELS:
        meaning = "inverse temperature of the gates"
        name = f"sharpness/{level}"
        genes.append(Gene(name, "gates", "scale", meaning, low=0.25, high=4.0, log=True))
    for name, (low, high, log, meaning) in TRAINING.items():
        genes.append(Gene(name, "training", "scale", meaning, low=low, high=high, log=log))
    for name in config.options:
        high, meaning = OPTIONAL[name]
        genes.append(Gene(name, "training", "scale", meaning, high=high))
    if len(network.tasks) > 1:
        for task_id in network.tasks:
            name, meaning = f"task_weight/{task_id}", "share of the task in the loss"
            genes.append(Gene(name, "training", "scale", meaning, low=0.25, high=4.0, log=True))
    return Table(tuple(genes))


def decode(
    network: NetworkConfig, genome: Array, config: TrainConfig = DEFAULT
) -> tuple[Architecture, Hyper]:
    """float[G] -> a valid architecture and the settings of its training. Pure, vmappable."""
    return from_values(network, gene_table(network, config).decode(genome))


def from_values(network: NetworkConfig, said: Mapping[str, Array]) -> tuple[Architecture, Hyper]:
    """The same from what the genes say."""
    modalities, depth = network.modalities, network.depth
    index = modalities.index

    def placed(gene: str, labels: tuple[str, ...], axis: tuple[str, ...]) -> Array:
        if not labels:
            return jnp.zeros(len(axis))
        return jnp.zeros(len(axis)).at[np.array([axis.index(x) for x in labels])].set(said[gene])

    everything = network.built
    reads = [
        placed(f"modalities/{task_id}", everything.modalities[task_id], modalities)
        for task_id in network.tasks
    ]
    local = jnp.zeros((len(modalities), depth, len(LOCAL_EXPERTS)))
    used = jnp.zeros((len(modalities), depth))
    for modality, blocks in everything.local.items():
        row = index(modality)
        for layer, experts in enumerate(blocks):
            name = f"local/{modality}/{layer}"
            local = local.at[row, layer].set(placed(name, experts, LOCAL_EXPERTS))
            deepest = said[f"depth/{modality}"] if len(blocks) > 1 else 0
            used = used.at[row, layer].set(1.0 * (layer <= deepest))
    links = jnp.zeros((len(modalities), len(modalities)))
    for place, (source, target) in enumerate(everything.links):
        links = links.at[index(target), index(source)].set(said["links"][place])
    fusion = [
        placed(f"fusion/{task_id}", everything.fusion, FUSION_OPERATORS)
        for task_id in network.tasks
    ]
    specific = [
        placed(
            f"specific/{task_id}",
            tuple(m for m in everything.modalities[task_id] if m in everything.specific),
            modalities,
        )
        for task_id in network.tasks
    ]
    context = [
        jnp.array(counts, jnp.float32)[said[name] if len(counts) > 1 else 0]
        for name, _, counts in _windows(network)
    ]
    architecture = Architecture(
        modalities=jnp.stack(reads), local=local, depth=used, links=links,
        fusion=jnp.stack(fusion), specific=jnp.stack(specific),
        imputed=placed("imputed", everything.imputed, modalities),
        context=jnp.stack(context).reshape(-1, len(CONTEXT)),
        adapters=jnp.asarray(said.get("encoder", 1.0), jnp.float32),
        sharpness=jnp.stack([said[f"sharpness/{level}"] for level in LEVELS]),
    )  # fmt: skip
    weights = [said.get(f"task_weight/{task_id}", jnp.float32(1.0)) for task_id in network.tasks]
    training = {name: said[name] for name in TRAINING}
    training |= {name: said.get(name, jnp.float32(0.0)) for name in OPTIONS}
    return architecture, Hyper(**training, task_weights=jnp.stack(weights))


def default_genome(network: NetworkConfig, config: TrainConfig) -> np.ndarray:
    """float32[G]: everything open, training as configured.

    Raises:
      InputError: a setting of the training is beyond what its gene can say.
    """
    values = {}
    table = gene_table(network, config)
    for gene in table.genes:
        if gene.kind == "mask":
            values[gene.name] = list(gene.labels)
        elif gene.kind == "choice":
            values[gene.name] = gene.labels[-1]
        elif gene.name.startswith("sharpness/"):
            values[gene.name] = 1.0
        elif gene.name.startswith("task_weight/"):
            task_id = gene.name.partition("/")[2]
            values[gene.name] = config.task_weights.get(task_id, 1.0)
        else:
            values[gene.name] = getattr(config, gene.name)
    return table.from_json(values)


def train_config(network: NetworkConfig, config: TrainConfig, values: Mapping) -> TrainConfig:
    """`config` with the training that a genome, as JSON values, asks for.

    Off is what would work on hidden modalities where the genome hides none.
    """
    chosen = {name: values[name] for name in (*TRAINING, *config.options)}
    if len(network.tasks) > 1:
        chosen["task_weights"] = {
            task_id: values[f"task_weight/{task_id}"] for task_id in network.tasks
        }
    evolved = dataclasses.replace(config, **chosen)
    return dataclasses.replace(evolved, **dict.fromkeys(evolved.idle, 0.0))


def parts_of(network: NetworkConfig, architecture: Architecture) -> Parts:
    """What of the supernet an architecture uses. On the host."""
    architecture = jax.device_get(architecture)
    names = network.modalities
    reads = {
        task_id: tuple(m for m in network.built.modalities[task_id] if row[names.index(m)])
        for task_id, row in zip(network.tasks, architecture.modalities, strict=True)
    }
    local = {}
    for row, modality in enumerate(names):
        if any(modality in read for read in reads.values()):
            blocks = int(architecture.depth[row].sum())
            local[modality] = tuple(
                tuple(name for name, on in zip(LOCAL_EXPERTS, mask, strict=True) if on)
                for mask in architecture.local[row, :blocks]
            )
    links = tuple(
        (source, target)
        for row, target in enumerate(names)
        for column, source in enumerate(names)
        if architecture.links[row, column]
        and any(source in read and target in read for read in reads.values())
    )
    fusion = tuple(
        name
        for name, on in zip(FUSION_OPERATORS, architecture.fusion.any(axis=0), strict=True)
        if on
    )
    heard = architecture.specific * architecture.modalities
    specific = tuple(
        m for m in network.built.specific if m in local and heard[:, names.index(m)].any()
    )
    imputed = tuple(
        m for m in network.built.imputed if m in local and architecture.imputed[names.index(m)]
    )
    return Parts(reads, local, links, fusion, specific, imputed if len(local) > 1 else ())


def describe(network: NetworkConfig, config: TrainConfig, genome: Array) -> str:
    """What a genome says for people, a line a gene; in brackets what no task can reach."""
    table = gene_table(network, config)
    architecture = jax.jit(lambda genome: decode(network, genome, config)[0])(genome)
    parts, values = parts_of(network, architecture), table.to_json(genome)
    reached = {"links": [f"{source}>{target}" for source, target in parts.links]}
    reached |= {"imputed": parts.imputed}
    for modality, blocks in network.built.local.items():
        for layer in range(len(blocks)):
            used = parts.local.get(modality, ())[layer : layer + 1]
            reached[f"local/{modality}/{layer}"] = used[0] if used else ()
    reached |= {f"specific/{task_id}": read for task_id, read in parts.modalities.items()}
    idle = {
        gene: [label for label in values[gene] if label not in labels]
        for gene, labels in reached.items()
        if gene in values
    }
    return table.describe(genome, idle)


def built_for(network: NetworkConfig, architecture: Architecture) -> NetworkConfig:
    """The network in which only what an architecture uses is built. On the host."""
    architecture, context = jax.tree.map(jnp.asarray, architecture), {}
    for dataset, most in network.context.items():
        counts = np.minimum(reach(network, architecture, dataset), most)
        context[dataset] = tuple(int(count) for count in counts)
    text = network.text
    if network.adapts and not architecture.adapters:
        text = dataclasses.replace(text, rank=0)
    parts = parts_of(network, architecture)
    return dataclasses.replace(network, parts=parts, context=context, text=text)
