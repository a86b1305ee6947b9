"""A genome: its table of genes, and the structure and training that they decode to.

The structure's genes are those that the model declares; those of the training are here.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from haemsa_jax.config import OPTIONS, NetworkConfig, TrainConfig
from haemsa_jax.structure.describe import idle
from haemsa_jax.structure.genes import Gene
from haemsa_jax.structure.parts import declare
from haemsa_jax.structure.table import Table
from haemsa_jax.training.engine.state import Settings

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
    "class_balance": (1.0, "exponent of classes' inverse frequency"),
    "focal": (4.0, "gamma of the focal loss"),
    "logit_adjustment": (2.0, "share of the log-odds that is added to logits"),
    "utterance_dropout": (0.5, "mean rate at which single utterances' modalities are hidden"),
    "frame_dropout": (0.5, "mean rate at which single tokens are hidden"),
    "moments": (2.0, "weight of the moment discrepancy (CMD)"),
    "contrast": (1.0, "weight of the contrastive loss (InfoNCE)"),
    "correlation": (2.0, "weight of the lack of maximal correlation"),
    "orthogonality": (10.0, "weight of the overlap of shared and specific"),
    "reconstruction": (2.0, "weight of the reconstruction of summaries"),
    "imputation": (2.0, "weight of the error of imputed parts"),
    "distillation": (2.0, "weight of self-distillation"),
    "gradient_balance": (1.0, "strength of gradient modulation (OGM)"),
    "prediction_balance": (2.0, "strength of prediction modulation (OPM)"),
}
assert tuple(OPTIONAL) == OPTIONS


def gene_table(network: NetworkConfig, config: TrainConfig = DEFAULT) -> Table:
    """All genes of a network: those of its structure, then those of its training.

    Args:
      network: the supernet.
      config: the options that it turns on are genes too.
    """
    return Table((*structure_genes(network), *_training_genes(network, config)))


def structure_genes(network: NetworkConfig) -> tuple[Gene, ...]:
    """The genes of a structure that have more than one thing to say."""
    genes = declare(network).genes
    return tuple(gene for gene in genes if gene.kind != "choice" or len(gene.labels) > 1)


def _training_genes(network: NetworkConfig, config: TrainConfig) -> Iterator[Gene]:
    for name, (low, high, log, meaning) in TRAINING.items():
        yield Gene(name, "training", "scale", meaning, low=low, high=high, log=log)
    for name in config.options:
        high, meaning = OPTIONAL[name]
        yield Gene(name, "training", "scale", meaning, high=high)
    if len(network.tasks) > 1:
        for task_id in network.tasks:
            name, meaning = f"task_weight/{task_id}", "share of the task in the loss"
            yield Gene(name, "training", "scale", meaning, low=0.25, high=4.0, log=True)


def decode(
    network: NetworkConfig, genome: Array, config: TrainConfig = DEFAULT
) -> tuple[dict[str, Array], Settings]:
    """float[G] -> a valid structure and the settings of its training. Pure, vmappable."""
    return from_values(network, gene_table(network, config).decode(genome))


def from_values(
    network: NetworkConfig, values: Mapping[str, Array]
) -> tuple[dict[str, Array], Settings]:
    """The same from what the genes say."""
    structure = {
        gene.name: jnp.asarray(values.get(gene.name, gene.whole)) for gene in declare(network).genes
    }
    weights = [values.get(f"task_weight/{task_id}", jnp.float32(1.0)) for task_id in network.tasks]
    training = {name: values[name] for name in TRAINING}
    training |= {name: values.get(name, jnp.float32(0.0)) for name in OPTIONS}
    return structure, Settings(**training, task_weights=jnp.stack(weights))


def structure_from_json(network: NetworkConfig, values: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The structure that a genome's JSON values say; other genes are passed over. On the host."""
    table = Table(structure_genes(network))
    own = {gene.name for gene in table.genes}
    genome = table.from_json({name: value for name, value in values.items() if name in own})
    decoded = jax.device_get(jax.jit(table.decode)(genome))
    return {gene.name: decoded.get(gene.name, gene.whole) for gene in declare(network).genes}


def default_genome(network: NetworkConfig, config: TrainConfig) -> np.ndarray:
    """float32[G]: everything open, training as configured.

    Raises:
      InputError: a setting of the training is beyond what its gene can say.
    """
    values: dict[str, Any] = {}
    table = gene_table(network, config)
    for gene in table.genes:
        if gene.kind == "mask":
            values[gene.name] = list(gene.labels)
        elif gene.kind == "choice":
            values[gene.name] = gene.labels[-1]
        elif gene.level != "training":
            values[gene.name] = gene.default
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
    chosen: dict[str, Any] = {name: values[name] for name in (*TRAINING, *config.options)}
    if len(network.tasks) > 1:
        chosen["task_weights"] = {
            task_id: values[f"task_weight/{task_id}"] for task_id in network.tasks
        }
    evolved = dataclasses.replace(config, **chosen)
    unused: dict[str, Any] = dict.fromkeys(evolved.idle, 0.0)
    return dataclasses.replace(evolved, **unused)


def describe(network: NetworkConfig, config: TrainConfig, genome: Array | np.ndarray) -> str:
    """What `genome` float[G] says, a line a gene; in brackets what no task can reach."""
    structure = jax.jit(lambda genome: decode(network, genome, config)[0])(genome)
    return gene_table(network, config).describe(genome, idle(network, structure))
