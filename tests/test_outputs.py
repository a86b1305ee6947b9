"""Outputs of fixed parameters are what they were before the redesign of October 2026.

The fixture holds parameters, structures and outputs of three networks, made at d352b7b, when Flax
named most modules by number: `renamed` says which is which.
"""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from samples import BERT, TASKS, WIDTHS, make_split

from haemsa_jax.data.batches import device_split, gather
from haemsa_jax.encoders import specify
from haemsa_jax.encoders.text import read_pretrained
from haemsa_jax.evolution.genome import gene_table, structure_from_json
from haemsa_jax.models import Rates, build, variables_of
from haemsa_jax.models.haemsa import HaemsaConfig
from haemsa_jax.structure.size import size
from haemsa_jax.structure.specialise import specialise

FIXTURE = Path(__file__).parent / "fixtures" / "outputs" / "outputs.npz"
GATES = {"local_gates": "local", "link_weights": "links", "fusion_gates": "fusion"}
NAMES = {
    "local": {"LayerNorm_0": "norm", "Gate_0": "gate"},
    "gate": {"Dense_0": "logits"},
    "pointwise": {"Dense_0": "hidden", "Dense_1": "out"},
    "convolution": {"Dense_0": "hidden", "Dense_1": "out"},
    "recurrence": {"Dense_0": "project", "Dense_1": "out"},
    "attention": {"Attention_0": "attend"},
    "summary": {"LayerNorm_0": "norm", "Dense_0": "scores", "Dense_1": "value", "Dense_2": "out"},
    "fusion": {"TaskGate_0": "gate"},
    "concat": {"Dense_0": "hidden", "Dense_1": "out"},
    "tensor": {"LayerNorm_0": "norm", "Dense_0": "out"},
    "gated_sum": {"Dense_0": "values", "Dense_1": "weights", "Dense_2": "out"},
}


def renamed(path, everything):
    """A parameter's path as it is today."""
    if path[0] == "encoder":
        return ("encoder_text", *path[1:])
    if path[0].startswith("head_"):
        alone = (path[0], "Dense_1", "kernel") not in everything
        names = {"Dense_0": "out" if alone else "hidden", "Dense_1": "out"}
        return (path[0], names.get(path[1], path[1]), *path[2:])
    if path[0] == "links" and "_to_" in path[1] and not path[1].startswith("gate_"):
        return (*path[:2], "attend", *path[2:])
    new = [path[0]]
    for name in path[1:]:
        above = new[-1].split("_")[0] if len(new) == 1 else new[-1]
        new.append(NAMES.get(above, {}).get(name, name))
    return tuple(new)


@pytest.fixture(scope="module")
def stored():
    with np.load(FIXTURE) as file:
        return dict(file)


def network_of(name):
    tasks = {f"talks:{task}": spec for task, spec in TASKS.items()}
    sizes = {"width": 8, "depth": 2, "heads": 2, "link_width": 4, "fusion_rank": 2}
    network = HaemsaConfig({"talks": WIDTHS}, tasks, context={"talks": (1, 1)}, **sizes)
    if name == "imputed":
        return network.changed(sharing="imputed", depth=1)
    if name == "adapted":
        encoder = read_pretrained(BERT)
        text = specify(encoder, BERT, max_tokens=8, mode="adapted", datasets=("talks",), rank=2)
        widths = {"talks": {"audio": 4, "text": 1}}
        return network.changed(widths=widths, depth=1, encoders={"text": text})
    return network


def samples_of(name, network, index):
    split = make_split(1, 12)
    data = device_split(split)
    if name == "adapted":
        ids, mask = words()
        audio = split.masks["audio"] | (np.arange(5) == 0)
        data = data.replace(
            features={"audio": data.features["audio"], "text": ids},
            masks={"audio": audio, "text": mask},
        )
    data = jax.device_put(data)
    rows = jnp.arange(12)
    return jax.vmap(lambda row: gather(data, row, jnp.int32(index), 1, 1))(rows)


def words():
    texts = [
        "the plot was good", "the plot was bad !", "", "good", "bad ! !", "the plot", "was",
        "good good", "plot bad", "the", "bad", "was good",
    ]  # fmt: skip
    tokens = read_pretrained(BERT).tokenise(texts, 8)
    return tokens.ids[..., None], tokens.mask


def parameters_of(name, stored):
    trees = []
    for part in ("params", "constants"):
        prefix = f"{name}|{part}|"
        flat = {
            tuple(key.removeprefix(prefix).split("/")): value
            for key, value in stored.items()
            if key.startswith(prefix)
        }
        trees.append(unflatten_dict({renamed(path, flat): x for path, x in flat.items()}))
    return trees


@pytest.mark.parametrize("name", ["whole", "imputed", "adapted"])
def test_outputs_sizes_and_specialised_outputs_are_what_they_were(name, stored):
    network = network_of(name)
    params, constants = parameters_of(name, stored)
    values = json.loads(str(stored[f"{name}|genome"]))
    if "encoder" in values:
        values["encoder/text"] = values.pop("encoder")
    structure = structure_from_json(network, values)
    counted = size(network, structure, {"talks": dict.fromkeys(network.widths["talks"], 2)})
    whole = size(network, structure_from_json(network, everything(network)))
    found = [counted.parameters, counted.flops, whole.parameters, whole.flops]
    np.testing.assert_allclose(found, stored[f"{name}|size"], rtol=1e-6)
    cut = specialise(network, params, constants, structure)
    run = jax.jit(
        lambda samples: build(network).apply(
            variables_of(params, constants), samples, structure, Rates(), "talks"
        )
    )
    if cut.network.context_of("talks") == (1, 1):
        small = jax.jit(
            lambda samples: build(cut.network).apply(
                variables_of(cut.params, cut.constants), samples, cut.structure, Rates(), "talks"
            )
        )
    for index, task_id in enumerate(network.tasks):
        samples = samples_of(name, network, index)
        out = run(samples)

        def expected(key, task_id=task_id):
            return stored[f"{name}|out|{task_id}|{key}"]

        close(out.predictions[task_id], expected("prediction"))
        close(out.auxiliary[task_id], expected("auxiliary"))
        close(out.presence, expected("presence"))
        close(out.representations["joined"], expected("joined"))
        close(out.representations["summaries"], expected("summaries"))
        if network.splits:
            close(out.representations["shared"], expected("shared"))
            close(out.representations["imputed"], expected("guesses"))
        close(out.gates["fusion"], expected("fusion_gates"))
        for row, m in enumerate(network.modalities):
            for layer in range(network.depth):
                close(out.gates[f"local/{m}/{layer}"], expected("local_gates")[:, row, layer])
        for place, (source, target) in enumerate(network.links):
            at = network.modalities.index(target), network.modalities.index(source)
            close(out.gates["links"][:, place], expected("link_weights")[:, at[0], at[1]])
        close(small(samples).predictions[task_id], expected("prediction"))


def everything(network):
    table = gene_table(network)
    return {
        gene.name: list(gene.labels)
        if gene.kind == "mask"
        else (gene.labels[-1] if gene.kind == "choice" else gene.high)
        for gene in table.genes
    }


def close(value, expected):
    np.testing.assert_allclose(value, expected, rtol=2e-5, atol=1e-6)


def test_the_fixture_is_whole(stored):
    for name in ("whole", "imputed", "adapted"):
        params, _ = parameters_of(name, stored)
        assert not any(
            part.endswith(("_0", "_1")) and part[0].isupper()
            for path in flatten_dict(params)
            for part in path
        )
