"""From supernet and architecture to the small network that holds only what is used.

The small network says the same: what the supernet adds for a modality that no task reads is a
constant, and is folded into the biases of what stays.
"""

from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from haemsa_jax.config import NetworkConfig, head_name, stem_name
from haemsa_jax.evolution.genome import built_for
from haemsa_jax.models.architecture import Architecture
from haemsa_jax.models.encoder import ADAPTERS, MARK
from haemsa_jax.models.haemsa import ENCODER


def specialise(
    network: NetworkConfig, params: dict, constants: dict, architecture: Architecture
) -> tuple[NetworkConfig, dict, dict]:
    """The small network of one architecture, with its parameters and constants.

    Args:
      network: the supernet.
      params: of one network, without a leading axis.
      constants: likewise.
      architecture: which parts are used. It fits the small network too, unchanged.

    Returns:
      Configuration, parameters and constants, NumPy arrays. For every sample and task the small
      network gives the supernet's predictions and gates, to rounding.
    """
    small = built_for(network, architecture)
    cut = _Cut(network, small)
    kept, constants_kept = cut.params(params), cut.named(constants)
    if any(small.encodes(dataset) for dataset in small.widths):
        trained, still = cut.encoder(params.get(ENCODER, {}), constants.get(ENCODER, {}))
        kept |= {ENCODER: trained} if trained else {}
        constants_kept |= {ENCODER: still} if still else {}
    return small, kept, constants_kept


class _Cut:
    """What of each array stays, between two configurations of one supernet."""

    def __init__(self, network: NetworkConfig, small: NetworkConfig):
        self.small, self.width = small, network.width
        self.names, self.kept = network.built_modalities, small.built_modalities
        self.big = network
        self.places = [self.names.index(m) for m in self.kept]
        self.gone = [i for i, m in enumerate(self.names) if m not in self.kept]

    def named(self, tree: dict) -> dict[str, Any]:
        """The modules that are built, of stems and heads."""
        small = self.small
        stems = {stem_name(d, m) for d in small.widths for m in small.stems_of(d)}
        heads = {head_name(t) for t in small.tasks}
        heads |= {head_name(t, m) for t in small.tasks for m in small.built.modalities[t]}
        return {name: _arrays(tree[name]) for name in tree if name in stems | heads}

    def params(self, params: dict) -> dict[str, Any]:
        """The parameters that stay."""
        kept = self.named(params)
        for modality, blocks in self.small.built.local.items():
            kept[f"summary_{modality}"] = _arrays(params[f"summary_{modality}"])
            for layer, experts in enumerate(blocks):
                name = f"local_{modality}_{layer}"
                there = self.big.built.local[modality][layer]
                kept[name] = self._bank(params[name], there, experts)
        if self.small.built.links:
            kept["links"] = self._links(params["links"])
        if self.small.splits:
            kept["parts"] = self._only(params["parts"], ("shared", *self.small.built.specific))
        if len(self.small.built.specific) > 1:
            rows = [*range(self.width), *self._situation(self.width)]
            kept["specific"] = {
                f"gate_{m}": _dense(params["specific"][f"gate_{m}"], rows, [0])
                for m in self.small.built.specific
            }
        if self.small.built.imputed:
            kept["imputer"] = self._imputer(params["imputer"])
        kept["queries"] = np.asarray(params["queries"])
        kept["fusion"] = self._fusion(params["fusion"])
        return kept

    def encoder(self, trained: dict, still: dict) -> tuple[dict, dict]:
        """What is trained of a text encoder, and what is not; together or apart."""
        trained, still = _arrays(trained), _arrays(still)
        if self.big.marks and not self.small.marks:
            # Every token is one of the target's.
            mark, own = trained.pop(MARK), still or trained
            own["positions"] = own["positions"] + mark
        if self.small.adapts and not self.small.text.rank:
            flat = flatten_dict(trained)
            trained = unflatten_dict({
                path: x for path, x in flat.items() if not any(n.endswith(ADAPTERS) for n in path)
            })  # fmt: skip
        return trained, still

    def _situation(self, start: int) -> list[int]:
        """Rows of a gate that read presence and task, from row `start` on."""
        queries = range(start + len(self.names), start + len(self.names) + self.width)
        return [start + place for place in self.places] + [*queries]

    def _bank(self, bank: dict, there: tuple[str, ...], experts: tuple[str, ...]) -> dict:
        kept = {name: _arrays(bank[name]) for name in ("LayerNorm_0", *experts)}
        if len(experts) > 1:
            rows = [*range(self.width), *self._situation(self.width)]
            columns = [there.index(name) for name in experts]
            kept["Gate_0"] = {"Dense_0": _dense(bank["Gate_0"]["Dense_0"], rows, columns)}
        return kept

    def _links(self, links: dict) -> dict:
        kept = {}
        rows = [*range(2 * self.width), *self._situation(2 * self.width)]
        for source, target in self.small.built.links:
            name = f"{source}_to_{target}"
            kept[name] = _arrays(links[name])
            kept[f"gate_{name}"] = _dense(links[f"gate_{name}"], rows, [0])
            for modality in (source, target):
                kept[f"norm_{modality}"] = _arrays(links[f"norm_{modality}"])
        return kept

    def _only(self, tree: dict, names: tuple[str, ...]) -> dict:
        return {name: _arrays(tree[name]) for name in names}

    def _imputer(self, imputer: dict) -> dict:
        """Sources and targets that are gone were never there, or never wanted."""
        count = len(self.names)
        rows = [place * self.width + k for place in self.places for k in range(self.width)]
        for start in (count * self.width, count * self.width + count):
            rows += [start + place for place in self.places]
        hidden = _dense(imputer["hidden"], rows, slice(None))
        return {"hidden": hidden, "out": _arrays(imputer["out"])}

    def _fusion(self, fusion: dict) -> dict:
        missing, there = np.asarray(fusion["missing"]), self.big.built.fusion
        built, size = self.small.built.fusion, len(self.names) * self.width
        kept = {name: _arrays(fusion[name]) for name in built}
        kept["missing"] = missing[self.places]
        flat = [place * self.width + k for place in self.places for k in range(self.width)]

        def folded(dense: dict) -> dict:
            """What the tokens of modalities that are never there always add."""
            kernel = np.asarray(dense["kernel"])
            bias = np.array(dense["bias"])
            for place in self.gone:
                bias += missing[place] @ kernel[place * self.width : (place + 1) * self.width]
            return {"kernel": kernel, "bias": bias}

        if len(built) > 1:
            tasks = range(len(self.small.tasks))
            columns = [t * len(there) + there.index(name) for t in tasks for name in built]
            gate = folded(fusion["TaskGate_0"]["Dense_0"])
            kept["TaskGate_0"] = {"Dense_0": _dense(gate, flat + self._situation(size), columns)}
        if "concat" in built:
            first = folded(fusion["concat"]["Dense_0"])
            rows = [*flat, *range(size, size + self.width)]
            kept["concat"]["Dense_0"] = _dense(first, rows, slice(None))
        if "gated_sum" in built:
            logits = folded(fusion["gated_sum"]["Dense_1"])
            kept["gated_sum"]["Dense_1"] = _dense(logits, flat, flat)
        if "tensor" in built:
            first = kept["tensor"][f"factor_{self.kept[0]}"]
            for place in self.gone:
                factor = _arrays(kept["tensor"].pop(f"factor_{self.names[place]}"))
                always = missing[place] @ factor["kernel"] + factor["bias"]
                first = {name: array * always for name, array in first.items()}
            kept["tensor"][f"factor_{self.kept[0]}"] = first
        return kept


def _dense(dense: dict, rows, columns) -> dict:
    kernel, bias = np.asarray(dense["kernel"]), np.asarray(dense["bias"])
    return {"kernel": kernel[rows][:, columns], "bias": bias[columns]}


def _arrays(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {name: _arrays(leaf) for name, leaf in tree.items()}
    return np.asarray(tree)
