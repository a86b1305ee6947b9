"""What a checkpoint keeps of the data that a network was trained on."""

from collections.abc import Mapping
from typing import Any

from haemsa_jax.data.dataset import Dataset, splits_of
from haemsa_jax.data.fingerprint import fingerprint


def describe_data(datasets: Mapping[str, Dataset]) -> dict[str, Any]:
    """What whoever uses a network must know of the data it was trained on, as JSON values.

    By data set the `tokens` of an utterance by modality (T_m of the training split, padding
    included), the `provenance` of its features, the `fingerprint` of its training and validation
    splits, and its `partition`, where that is known.
    """
    return {
        name: {
            "tokens": {m: x.shape[1] for m, x in split.features.items()},
            "provenance": dict(datasets[name].provenance),
            "fingerprint": fingerprint(
                {k: x for k, x in datasets[name].splits.items() if k in ("train", "validation")}
            ),
            **({"partition": datasets[name].partition} if datasets[name].partition else {}),
        }
        for name, split in splits_of(datasets, "train").items()
    }
