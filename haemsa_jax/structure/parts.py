"""Parts: what a model can open or shut, declared once, by the modules that it is made of.

A model declares its genes (what can be chosen), its parts (what a choice opens, what it reads and
whose parameters it has) and its gates (what the network weighs by itself). Masks, size, price,
specialisation, description, drawing, diagnosis, ablation and warm start are traversals of that
declaration, in the modules beside this one; none of them knows a model.

A *structure* says for every gene what is chosen, as arrays of static shape, so that thousands of
structures share one compiled program: `{gene: float[labels] | int[] | float[]}`.
"""

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from haemsa_jax.config import NetworkConfig
from haemsa_jax.errors import InputError
from haemsa_jax.structure.genes import Gene

Array = jax.Array
Structure = Mapping[str, Array | np.ndarray]
TASK = "{task}"  # in the name of a gene that every task has of its own


@dataclass(frozen=True, kw_only=True)
class Part:
    """Something that a model can open or shut, or that follows from what is open.

    Attributes:
      name: unique, such as `local/text/0/attention`.
      kind: `modality`, `expert`, `link`, `operator` and so on; reports group by it.
      opened: (gene, label) pairs, one of which must be chosen; none for what is always open. Of a
        choice a label is chosen where it or a later one is. `{task}` in a gene is each task's own.
      reads: groups of parts: of each group the task must use at least one.
      tasks: tasks that it can serve; None for all.
      needs: parts that the network as a whole must use, whoever of its tasks does.
      several: parts of which the network must use more than one, as a gate among them.
      modules: paths in the parameter tree that are its own.
      counted: whether its parameters count as the network's size.
      everywhere: whether it runs on samples of every data set, whatever their tasks read.
    """

    name: str
    kind: str
    opened: tuple[tuple[str, str], ...] = ()
    reads: tuple[tuple[str, ...], ...] = ()
    tasks: tuple[str, ...] | None = None
    needs: tuple[str, ...] = ()
    several: tuple[str, ...] = ()
    modules: tuple[tuple[str, ...], ...] = ()
    counted: bool = True
    everywhere: bool = False


@dataclass(frozen=True)
class Gating:
    """A gate: what one entry of `Outputs.gates` weighs.

    Attributes:
      name: the entry's.
      level: what it gates, such as `local`, `links` or `fusion`.
      parts: names of the parts on its last axis.
      labels: their names for people.
    """

    name: str
    level: str
    parts: tuple[str, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Declaration:
    """All of one model: genes, parts (each behind what it reads) and gates."""

    genes: tuple[Gene, ...]
    parts: tuple[Part, ...]
    gates: tuple[Gating, ...] = ()

    @functools.cached_property
    def gene(self) -> Mapping[str, Gene]:
        """Genes by name."""
        return {gene.name: gene for gene in self.genes}

    @functools.cached_property
    def part(self) -> Mapping[str, Part]:
        """Parts by name."""
        return {part.name: part for part in self.parts}

    def of_kind(self, *kinds: str) -> tuple[Part, ...]:
        """Parts of these kinds, in order."""
        return tuple(part for part in self.parts if part.kind in kinds)

    def __add__(self, other: "Declaration") -> "Declaration":
        return Declaration(
            self.genes + other.genes, self.parts + other.parts, self.gates + other.gates
        )

    def without_empty(self) -> "Declaration":
        """Without masks and choices that have no labels, and gates that weigh no parts."""
        return Declaration(
            tuple(gene for gene in self.genes if not gene.empty),
            self.parts,
            tuple(gating for gating in self.gates if gating.parts),
        )

    def checked(self) -> "Declaration":
        """The declaration itself, if it is valid.

        Raises:
          InputError: two parts share a name, or one reads what does not stand before it.
        """
        before: set[str] = set()
        for part in self.parts:
            if part.name in before:
                raise InputError(f"there are two parts {part.name!r}; each needs its own name")
            wanted = {*part.needs, *part.several, *(name for group in part.reads for name in group)}
            if missing := sorted(wanted - before):
                raise InputError(
                    f"part {part.name!r} reads {', '.join(missing)}, which no part before it is"
                )
            before.add(part.name)
        return self


def declare(network: NetworkConfig) -> Declaration:
    """The declaration of a network's model, of what the configuration has built.

    Genes of which no label is left, and gates of which no part is, are not in it.
    """
    return _declared(network)


@functools.lru_cache(maxsize=512)
def _declared(network: NetworkConfig) -> Declaration:
    from haemsa_jax.models.model import model_of  # late: models declare their parts by this module

    return model_of(network).declare(network).without_empty().checked()


def default_structure(network: NetworkConfig) -> dict[str, Array]:
    """Everything open: every label of a mask float[labels], the last of a choice int[]."""
    return {gene.name: gene.whole for gene in declare(network).genes}


def check_structure(network: NetworkConfig, structure: Structure) -> None:
    """Refuses a structure that was made for another network.

    Raises:
      InputError: genes are missing, unknown, or have another number of labels.
    """
    wanted = {gene.name: np.shape(gene.whole) for gene in declare(network).genes}
    given = {name: np.shape(value) for name, value in structure.items()}
    if wanted != given:
        names = sorted(name for name in {*wanted, *given} if wanted.get(name) != given.get(name))
        raise InputError(
            f"the structure is of another network: it differs in {', '.join(names)}; take "
            "default_structure(network), or `carried` from the other"
        )


def carried(network: NetworkConfig, structure: Structure, small: NetworkConfig) -> dict[str, Any]:
    """A structure as another configuration of the same model has it: labels go by their names.

    Args:
      network: whose structure it is.
      structure: with any leading axes.
      small: the other, with some of the labels or other tasks.

    Returns:
      What the genes of `small` say; what `network` does not know is open.
    """
    genes, carried_over = declare(network).gene, {}
    for gene in declare(small).genes:
        known = genes.get(gene.name)
        if known is None or not set(gene.labels) <= set(known.labels):
            carried_over[gene.name] = gene.whole
            continue
        value, places = structure[gene.name], [known.labels.index(x) for x in gene.labels]
        if gene.kind == "mask":
            carried_over[gene.name] = value[..., np.array(places, int)]
        elif gene.kind == "choice":
            # Where the choice itself is gone, the next lower one that is left.
            reached = sum(1 * (value >= place) for place in places)
            carried_over[gene.name] = (reached - 1) * (reached > 0)
        else:
            carried_over[gene.name] = value
    return carried_over


def task_masks(
    network: NetworkConfig, structure: Structure, prefix: str, axis: tuple[str, ...]
) -> Array:
    """float[K, len(axis)]: what the gene `prefix/TASK` of every task opens; 0 for other labels."""
    genes, rows = declare(network).gene, []
    for task_id in network.tasks:
        gene, row = genes.get(f"{prefix}/{task_id}"), jnp.zeros(len(axis))
        if gene is not None:
            row = row.at[np.array([axis.index(x) for x in gene.labels])].set(structure[gene.name])
        rows.append(row)
    return jnp.stack(rows)


def task_numbers(network: NetworkConfig, structure: Structure, prefix: str) -> Array:
    """float[K]: the number that the choice `prefix/TASK` of every task names; 0 without one."""
    genes, numbers = declare(network).gene, []
    for task_id in network.tasks:
        gene = genes.get(f"{prefix}/{task_id}")
        if gene is None:
            numbers.append(jnp.zeros(()))
        else:
            numbers.append(jnp.asarray([float(x) for x in gene.labels])[structure[gene.name]])
    return jnp.stack(numbers)


def task_choices(network: NetworkConfig, structure: Structure, prefix: str, label: str) -> Array:
    """bool[K]: whether the choice `prefix/TASK` of every task is a label; False without one."""
    genes, chosen = declare(network).gene, []
    for task_id in network.tasks:
        gene = genes.get(f"{prefix}/{task_id}")
        if gene is None or label not in gene.labels:
            chosen.append(jnp.zeros((), bool))
        else:
            chosen.append(jnp.asarray(structure[gene.name] == gene.labels.index(label)))
    return jnp.stack(chosen)


def shut(network: NetworkConfig, structure: Structure, parts: Iterable[str]) -> dict[str, Any]:
    """The structure with the labels taken out that open these parts. On the host.

    Raises:
      InputError: a part is opened by no mask.
    """
    declaration = declare(network)
    changed: dict[str, Any] = dict(structure)
    for name in parts:
        part, hit = declaration.part[name], False
        for template, label in part.opened:
            for task_id in network.tasks:
                gene = declaration.gene.get(template.replace(TASK, task_id))
                if gene is not None and gene.kind == "mask" and label in gene.labels:
                    mask = np.array(changed[gene.name])
                    mask[..., gene.labels.index(label)] = 0.0
                    changed[gene.name], hit = mask, True
        if not hit:
            raise InputError(f"part {name!r} is opened by no mask, and cannot be shut alone")
    return changed
