"""The checks for models and kinds hold for the library's own, and notice what is wrong."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest
from networks import as_model
from samples import BERT, TASKS

from haemsa_jax.config import NetworkConfig
from haemsa_jax.encoders import specify
from haemsa_jax.errors import InputError
from haemsa_jax.models import register
from haemsa_jax.models.heads import Readout
from haemsa_jax.models.inputs import Inputs
from haemsa_jax.models.layers import Dense, masked_mean
from haemsa_jax.structure.genes import Gene
from haemsa_jax.structure.interface import interface
from haemsa_jax.structure.parts import Declaration, Part
from haemsa_jax.tasks import Classification, kind_of, kinds
from haemsa_jax.tasks import register as register_kind
from haemsa_jax.testing import check_kind, check_model

SPECS = dict(zip(("regression", "classification", "multilabel"), TASKS.values(), strict=True))


@pytest.mark.parametrize("name", SPECS)
def test_kinds_of_the_library(name):
    check_kind(kind_of(name), SPECS[name])


@dataclass(frozen=True)
class BrokenConfig(NetworkConfig):
    fault: str = ""
    model: ClassVar[str] = "broken"

    @property
    def scaled(self):
        """Modalities whose mean is scaled."""
        return self.labels("scaled", self.built_modalities)


@register
class Broken(nn.Module):
    """A sum of means, each of which a part can scale, with one fault."""

    config: BrokenConfig

    @staticmethod
    def declare(config):
        genes = (
            Gene("scaled", "", "mask", "modalities whose mean is scaled", config.scaled),
            Gene("strength", "", "scale", "of it", low=0.5, high=2.0),
        )
        parts = tuple(
            Part(
                name=f"scale/{m}",
                kind="scale",
                opened=(("scaled", m),),
                reads=((f"modality/{m}",),),
                modules=((f"scale_{m}",), *(((f"bias_{m}",),) if config.fault == "bias" else ())),
            )
            for m in config.scaled
        )
        return interface(config, auxiliary=True) + Declaration(genes, parts)

    @nn.compact
    def __call__(self, sample, structure, rates, dataset, longest=None):
        config, fault = self.config, self.config.fault
        reader, readout = Inputs(config, name="inputs"), Readout(config, name="readout")
        nn.share_scope(self, reader)
        nn.share_scope(self, readout)
        inputs = reader(sample, structure, rates, dataset, longest)
        means = {m: masked_mean(x, inputs.masks[m]) for m, x in inputs.tokens.items()}
        joined = sum(means.values())
        if fault == "mask":
            joined = joined + sum(x.mean() for x in sample.features.values())
        if fault == "axes" and joined.ndim > 1:
            joined = joined - joined.mean(axis=0)
        if fault == "fewer":
            joined = joined * len(config.scaled)
        for place, m in enumerate(config.scaled):
            strength = 1.0 if fault == "gene" else structure["strength"]
            scaled = Dense(config.width, use_bias=False, name=f"scale_{m}")(means[m])
            if fault == "bias":  # said of an absent modality, too
                scaled = scaled + self.param(f"bias_{m}", nn.initializers.ones, (config.width,))
            if fault == "count":  # of no part's, though built for one
                scaled = scaled + Dense(config.width, use_bias=False, name=f"more_{m}")(means[m])
            joined = joined + strength * structure["scaled"][place] * scaled
        alone = jnp.stack([means[m] for m in config.built_modalities], axis=-2)
        return readout(joined, {"summaries": alone}, inputs.presence, {}, 0.0, dataset)


def broken(small, fault):
    score = {"talks:score": small.tasks["talks:score"]}
    return as_model("broken", small, tasks=score, context={}, fault=fault)


FAULTS = {
    "mask": ".predictions.* is not finite|outputs change where nan is masked",
    "axes": "outputs without leading axes",
    "fewer": "specialised, ",
    "bias": "specialised, ",
    "count": "parameters, of which",
    "gene": "gene 'strength': the value 2 changes no prediction",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_with_a_model_is_named(small, fault):
    with pytest.raises(AssertionError, match=FAULTS[fault]):
        check_model(broken(small, fault))


def test_a_model_without_a_fault_passes(small):
    check_model(broken(small, ""))


class Wrong(Classification):
    """A classification with one fault."""

    name, fault = "wrong", ""

    def loss(self, task, config, settings, head, logits, label):
        loss = super().loss(task, config, settings, head, logits, label)
        return -loss if self.fault == "loss" else loss

    def distillation_loss(self, task, head, logits, teacher):
        if self.fault == "teacher":
            return ((logits - teacher) ** 2).sum()
        return super().distillation_loss(task, head, logits, teacher)

    def rightness(self, task, head, logits, label):
        right = super().rightness(task, head, logits, label)
        return 1.0 - right if self.fault == "right" else right

    def readable(self, task, logits):
        readable = super().readable(task, logits)
        return readable.astype(np.float32) if self.fault == "rounded" else readable


WRONG = {
    "loss": "a lower loss is not more right",
    "teacher": "distillation_loss has a gradient by its teacher",
    "right": "a lower loss is not more right",
    "rounded": "readable makes float32 of float64",
}


@pytest.mark.parametrize("fault", WRONG)
def test_what_is_wrong_with_a_kind_is_named(fault, monkeypatch):
    kind = kind_of("wrong") if "wrong" in kinds() else register_kind(Wrong())
    spec = dataclasses.replace(SPECS["classification"], kind="wrong")
    check_kind(kind, spec)
    monkeypatch.setattr(Wrong, "fault", fault)
    with pytest.raises(AssertionError, match=WRONG[fault]):
        check_kind(kind, spec)


def test_raw_input_is_refused(small, spoken, pretrained):
    text = specify(pretrained, BERT, max_tokens=8, mode="adapted", rank=2, datasets=("talks",))
    score = {"talks:score": spoken.tasks["score"]}
    network = as_model("broken", small, tasks=score, encoders={"text": text})
    with pytest.raises(InputError, match="an encoder of text is within"):
        check_model(network)
