"""What so few samples cannot tell, in sentences, before anything is trained on their judgement."""

import math

import numpy as np

from haemsa_jax.config import NetworkConfig, dataset_of
from haemsa_jax.data.folds import Partition

SAMPLES, GROUPS = 100, 10  # below which a judgement is hardly more than chance
FOLDS = 5
# The standard error of a mean absolute error, of errors that are normal, as a share of it: this
# over the root of the number of samples that are independent.
RELATIVE = math.sqrt(math.pi / 2 - 1)


def doubts(network: NetworkConfig, partition: Partition) -> list[str]:
    """A sentence for each task that few samples, or few groups, judge.

    Args:
      network: its tasks.
      partition: which samples judge.
    """
    lost = [
        f"the training split of {name} is incomplete; of its values are lost "
        + ", ".join(f"{modality} {100 * share:.0f} %" for modality, share in shares.items())
        for name, shares in partition.lost.items()
    ]
    return lost + [
        sentence
        for task_id, task in network.tasks.items()
        if (sentence := _doubt(partition, task_id, task.name))
    ]


def _doubt(partition: Partition, task_id: str, task: str) -> str:
    held_out = partition.held_out[dataset_of(task_id)]
    groups = held_out.group[held_out.labelled[task]]
    samples, distinct = len(groups), len(np.unique(groups))
    if samples >= SAMPLES and distinct >= GROUPS:
        return ""
    # Samples of a group are alike: where groups are few, they are what is independent.
    independent = samples if distinct >= GROUPS else min(samples, distinct)
    chance = 100 * RELATIVE / math.sqrt(independent)
    judges = _many(samples, "sample") + (" out of fold" if partition.folds else " of validation")
    more = "" if partition.folds else f"; --folds={FOLDS} judges by the training samples as well"
    return (
        f"{task_id} is judged by {judges}, in {_many(distinct, 'group')}: the standard error of a "
        f"mean absolute error over so few is about {chance:.0f} % of it, and smaller differences "
        f"between networks, steps or settings tell nothing{more}"
    )


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"
