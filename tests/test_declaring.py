"""Declarations that are not what a model builds are refused, with the nearest name."""

from dataclasses import dataclass
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from networks import as_model

import haemsa_datasets
from haemsa_jax.config import NetworkConfig, TaskSpec
from haemsa_jax.errors import InputError
from haemsa_jax.models import default_structure, register
from haemsa_jax.models.heads import Readout
from haemsa_jax.models.inputs import Inputs
from haemsa_jax.models.layers import Attention, Dense, masked_mean
from haemsa_jax.models.model import model_named
from haemsa_jax.structure.axes import each
from haemsa_jax.structure.interface import interface, modality
from haemsa_jax.structure.layout import layout
from haemsa_jax.structure.parts import Declaration, Part
from haemsa_jax.structure.size import size


@dataclass(frozen=True)
class OddConfig(NetworkConfig):
    """A model of which one thing is other than it is declared."""

    fault: str = ""
    groups: int = 0
    model: ClassVar[str] = "odd"


@register
class Odd(nn.Module):
    """One joint layer over the means."""

    config: OddConfig

    @staticmethod
    def declare(config):
        module = "jont" if config.fault == "path" else "joint"
        part = Part(name="joint", kind="layer", modules=((module,),))
        shared = Declaration((), ()) if config.fault == "owner" else interface(config)
        return shared + Declaration((), (part,))

    @nn.compact
    def __call__(self, sample, structure, rates, dataset, longest=None):
        config, fault = self.config, self.config.fault
        reader, readout = Inputs(config, name="inputs"), Readout(config, name="readout")
        nn.share_scope(self, reader)
        nn.share_scope(self, readout)
        inputs = reader(sample, structure, rates, dataset, longest)
        built, width = config.built_modalities, config.width
        tokens = dict(inputs.tokens)
        if config.groups:
            groups = {"feature_group_count": config.groups}
            tokens["text"] = nn.Conv(width, (3,), name="nearby", **groups)(tokens["text"])
        alone = jnp.stack([masked_mean(x, inputs.masks[m]) for m, x in tokens.items()], axis=-2)
        parts = [f"modlity/{m}" if fault == "part" else modality(m) for m in built]
        rows = each(parts, width - 1 if fault == "size" else width) if fault != "owner" else ()
        flat = alone.reshape(*alone.shape[:-2], -1)
        joined = Dense(width, rows=rows, name="joint")(flat)
        if fault == "over":
            alone = Dense(width, over=each(["modality/txt"]), name="each")(alone)
        if fault == "name":
            joined = nn.Dense(width)(joined)
        return readout(joined, {"summaries": alone}, inputs.presence, {}, 0.0, dataset)


FAULTS = {
    "path": "part 'joint' owns the module 'jont', which is not built; the nearest is 'joint'",
    "part": "'joint/kernel': a segment of axis 0 belongs to part 'modlity/text', which model=odd "
    "does not declare; the nearest is 'modality/text'",
    "size": "'joint/kernel': the segments of axis 0 .* make up 21, but its length is 24",
    "over": "'each': a segment of over belongs to part 'modality/txt'.* nearest is 'modality/text'",
    "name": "module 'Dense_0' has no name of its own",
    "owner": "parameter .* belongs to no part; begin the declaration with interface",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_declared_otherwise_than_built_is_refused(small, fault):
    network = as_model("odd", small, context={}, fault=fault)
    with pytest.raises(InputError, match=FAULTS[fault]):
        layout(network)
    with pytest.raises(InputError, match=FAULTS[fault]):
        size(network, default_structure(network))


@pytest.mark.parametrize(("groups", "window"), [(1, 1), (2, 1), (1, 3)])
def test_convolutions_are_counted_by_hand(small, groups, window):
    context = {"talks": (window - 1, 0)} if window > 1 else {}
    without, with_ = (
        size(network, default_structure(network), {"talks": {"text": 5, "audio": 2, "vision": 1}})
        for network in (
            as_model("odd", small, context=context, width=8, groups=of) for of in (0, groups)
        )
    )
    # At each of 5 places 8 outputs, of 3 places of 8 inputs, or of half of them.
    assert with_.flops - without.flops == 2 * (5 * window) * 8 * (3 * 8 // groups)
    assert with_.parameters - without.parameters == 3 * 8 // groups * 8 + 8


def test_heads_divide_the_width_of_attention():
    x, mask = jnp.zeros((3, 6)), jnp.ones(3, bool)
    with pytest.raises(InputError, match="attention 'look': inner=6 must be a multiple of heads=4"):
        Attention(8, 6, 4, name="look").init(jax.random.key(0), x, x, mask)


@pytest.mark.parametrize(
    "use",
    [
        lambda: model_named("wizard"),
        lambda: haemsa_datasets.load("wizard", "data", ["train"]),
        lambda: TaskSpec("mood", "wizard", ("mae",)),
    ],
)
def test_who_uses_what_is_not_registered_is_told_of_plugins(use):
    words = r"wizard.* is unknown; choose from .* HAEMSA_PLUGINS( names)?$"
    with pytest.raises(InputError, match=words):
        use()


def test_what_is_as_declared_is_taken(small):
    assert ("joint", "kernel") in layout(as_model("odd", small, context={}))["params"]
