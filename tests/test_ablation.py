"""Ablations take away what they say, and nothing else; differences are paired by seed."""

import dataclasses

import jax
import numpy as np
import pytest
from matplotlib.figure import Figure
from networks import as_model

from haemsa_jax.config import TrainConfig
from haemsa_jax.errors import InputError
from haemsa_jax.evolution.genome import decode, gene_table
from haemsa_jax.models import build, default_structure, init_variables
from haemsa_jax.models.haemsa import LOCAL_EXPERTS
from haemsa_jax.reporting.ablation import (
    COMPLETE,
    PARTIAL,
    difference,
    figure,
    markdown,
    sizes_table,
    states,
)
from haemsa_jax.structure.ablation import ablate, alone_for, possible, specialised
from haemsa_jax.structure.parts import declare
from haemsa_jax.training.engine.drawing import batch_sizes, steps_per_epoch

TRANSFERRED = ("links", "imputed")
COUNTS = {"talks:score": 70, "talks:mood": 70, "talks:tags": 46}
UNEVOLVED = TrainConfig(modality_dropout=0.3, imputation=1.0, distillation=1.0, orthogonality=1.0)


@pytest.fixture(scope="module")
def evolved(small):
    """A supernet with all options, and a genome's architecture and training."""
    network = dataclasses.replace(small, sharing="imputed")
    genome = gene_table(network, UNEVOLVED).random(jax.random.key(3))
    structure = jax.device_get(decode(network, genome, UNEVOLVED)[0])
    reads = np.array([[1, 1, 0], [0, 1, 1], [1, 1, 1]], np.float32)
    for task_id, row in zip(network.tasks, reads, strict=True):
        structure[f"modalities/{task_id}"] = row
    return network, structure, dataclasses.replace(UNEVOLVED, dropout=0.1)


@pytest.fixture(scope="module")
def without(evolved):
    return lambda name: ablate(name, *evolved, UNEVOLVED, COUNTS)


def parameters(variant) -> int:
    """Of the network that is really built."""
    shapes = jax.eval_shape(
        lambda key: init_variables(build(variant.network), key)[0], jax.random.key(0)
    )
    return sum(x.size for x in jax.tree.leaves(shapes))


def test_one_level_has_as_many_parameters(evolved, without):
    whole = specialised(*evolved)
    (flat,) = without("hierarchy")
    assert not declare(flat.network).of_kind("block", "expert", "specific")
    assert declare(whole.network).of_kind("block")
    assert flat.network.built_operators == whole.network.built_operators
    assert flat.train.orthogonality == 0.0
    narrower = dataclasses.replace(flat.network, width=flat.network.width - flat.network.heads)
    too_small = dataclasses.replace(flat, network=narrower)
    assert parameters(too_small) < parameters(whole) <= parameters(flat)
    assert flat.network.width < 8 * whole.network.width


def test_not_evolved_is_everything_open(evolved, without):
    (open_,) = without("evolution")
    assert declare(open_.network).parts == declare(evolved[0]).parts
    assert declare(open_.network).gates == declare(evolved[0]).gates
    assert open_.network.blocks("text") == (LOCAL_EXPERTS,)
    assert open_.train == UNEVOLVED


def test_no_transfer(evolved, without):
    whole = specialised(*evolved)
    (closed,) = without("transfer")
    assert whole.network.links and not closed.network.links
    assert whole.network.imputed and not closed.network.imputed
    assert (closed.train.imputation, closed.train.distillation) == (0.0, 0.0)
    rest = [
        {name: labels for name, labels in of.network.kept.items() if name not in TRANSFERRED}
        for of in (closed, whole)
    ]
    assert rest[0] == rest[1]


def test_one_network_a_task_uses_what_the_task_used(evolved, without):
    whole, alone = specialised(*evolved).network, without("multitask")
    assert [list(each.network.tasks) for each in alone] == [[name] for name in whole.tasks]
    for task_id, each in zip(whole.tasks, alone, strict=True):
        small = each.network
        assert small.reads(task_id) == whole.reads(task_id) == small.built_modalities
        assert all(small.blocks(m) == whole.blocks(m) for m in small.built_modalities)
        assert len(small.built_operators) == evolved[1][f"fusion/{task_id}"].sum()
        assert each.parameters == parameters(each) < parameters(specialised(*evolved))


def test_alone_a_task_sees_as_many_samples():
    counts = {"big:a": 1000, "little:b": 110}
    config = TrainConfig(epochs=4, batch_size=10, evaluate_every=2)
    joint = 4 * steps_per_epoch(counts, batch_sizes(counts, config))
    alone = alone_for(config, counts)
    assert alone["big:a"] == config
    little = alone["little:b"]
    assert little.epochs == round(joint / 11) and little.evaluate_every == round(200 / 11)
    drawn = dataclasses.replace(config, sampling_temperature=1.0)
    sizes = batch_sizes(counts, drawn)
    assert {name: of.batch_size for name, of in alone_for(drawn, counts).items()} == sizes
    assert all(of.epochs == 4 for of in alone_for(drawn, counts).values())
    spread = {name: of.batch_size for name, of in alone_for(drawn, counts, devices=4).items()}
    assert spread == batch_sizes(counts, drawn, 4) != sizes


def test_nothing_to_take_away(lone):
    score = dataclasses.replace(lone, tasks={"talks:score": lone.tasks["talks:score"]}, kept={})
    given = score, default_structure(score), TrainConfig(), TrainConfig(), {"talks:score": 70}
    with pytest.raises(InputError, match="there is one task, talks:score"):
        ablate("multitask", *given)
    assert possible(score) == ("hierarchy", "evolution")
    assert "multitask" in possible(lone)
    with pytest.raises(InputError, match="--ablate=gates is unknown; choose from hierarchy"):
        ablate("gates", *given)
    flat = as_model("late_fusion", lone)
    given = flat, default_structure(flat), *given[2:]
    for name, kinds in (("transfer", "link or imputed"), ("hierarchy", "block or specific")):
        message = f"--ablate={name}: model=late_fusion has no part of kind {kinds} .* from evolut"
        with pytest.raises(InputError, match=message):
            ablate(name, *given)
    assert possible(flat) == ("evolution", "multitask")


def test_links_of_another_model_are_taken_away(small):
    network = as_model("gated_attention", small)
    assert possible(network) == ("evolution", "transfer", "multitask")
    given = network, default_structure(network), UNEVOLVED, UNEVOLVED, COUNTS
    (alone,) = ablate("transfer", *given)
    assert declare(network).of_kind("link") and not declare(alone.network).of_kind("link")


def test_differences_are_paired():
    """By hand: 1, 0, 2 have mean 1 and deviation 1; Student's .975 quantile at 2 is 4.3027."""
    apart = difference([1.0, 2.0, 3.0], [0.0, 2.0, 1.0])
    assert apart.mean == pytest.approx(1.0)
    assert apart.half == pytest.approx(4.3027 / np.sqrt(3), abs=1e-4)
    assert difference([1.0], [3.0]) == difference([2.0], [4.0])
    assert difference([1.0], [3.0]).half is None


def test_what_is_missing_is_averaged(tmp_path):
    row = {
        "text+audio": {"mae": [0.5, 0.7], "corr": [0.8, 0.6]},
        "text": {"mae": [0.6, 0.8], "corr": [0.7, 0.5]},
        "audio": {"mae": [1.0, 1.2], "corr": [0.1, 0.3]},
    }
    found = states(row)
    assert found[COMPLETE] == row["text+audio"]
    assert found[PARTIAL]["mae"] == pytest.approx([0.8, 1.0])
    less = {p: {m: [v + 0.1 for v in values] for m, values in of.items()} for p, of in row.items()}
    table = markdown({"talks:score": {"whole": row, "no transfer": less}}, "whole")
    assert "### talks:score, all modalities" in table
    assert "| no transfer | 0.700 ± 0.141 | +0.100 [+0.100, +0.100] |" in table
    figure({"talks:score": {"whole": row, "no transfer": less}}, "whole", tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_the_legend_is_that_of_all_panels(tmp_path, monkeypatch):
    """Of the words of the first task nothing can be missing."""
    values = {"mae": [0.5, 0.7], "corr": [0.8, 0.6]}
    words = {"text": values}
    more = {"text+audio": values, "text": values, "audio": values}
    told = []
    monkeypatch.setattr(Figure, "legend", lambda self, marks, labels, **_: told.extend(labels))
    found = {
        "a:score": {"whole": words, "no transfer": words},
        "b:score": {"whole": more, "no transfer": more},
    }
    figure(found, "whole", tmp_path / "a.png")
    assert told == [COMPLETE, PARTIAL]


def test_sizes_are_summed_over_the_networks_of_an_ablation():
    sizes = {
        "talks": {"multitask": [{"parameters": 1000, "steps": 7}, {"parameters": 234, "steps": 9}]}
    }
    table = sizes_table(sizes, {"multitask": "one network a task"})
    assert table.rows == [["talks: one network a task", "2", "1,234", "7, 9"]]
