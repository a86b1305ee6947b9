"""The genome: one table, decoding that always leaves a valid network, JSON out and in."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from haemsa_jax.config import TaskSpec, TrainConfig, check_together
from haemsa_jax.errors import InputError
from haemsa_jax.evolution.genome import (
    decode,
    default_genome,
    describe,
    gene_table,
    train_config,
)
from haemsa_jax.models import default_structure
from haemsa_jax.models.haemsa import LOCAL_EXPERTS, HaemsaConfig
from haemsa_jax.reporting.evolution import short_names
from haemsa_jax.structure.genes import Gene
from haemsa_jax.structure.parts import declare
from haemsa_jax.structure.table import Table
from haemsa_jax.training.engine.state import settings_from_config


@pytest.fixture(scope="module")
def table(deep):
    return gene_table(deep)


@pytest.fixture(scope="module")
def decode_all(deep):
    return jax.jit(jax.vmap(lambda genome: decode(deep, genome)))


def random_genomes(table, count=4000):
    """Ordinary and outrageous ones."""
    rng = np.random.default_rng(0)
    genomes = rng.normal(size=(count, table.size)).astype(np.float32)
    genomes[::4] *= 1e30
    genomes[1::8] = -np.abs(genomes[1::8])
    genomes[2::8] = rng.choice([np.inf, -np.inf, np.nan, 0.0], size=genomes[2::8].shape)
    genomes[:3] = np.array([np.inf, -np.inf, np.nan])[:, None]
    return genomes


def test_any_genome_is_a_valid_network(deep, table, decode_all):
    structures, hypers = decode_all(random_genomes(table))
    for leaf in jax.tree.leaves((structures, hypers)):
        assert np.isfinite(leaf).all()
    for gene in declare(deep).genes:
        value = np.asarray(structures[gene.name])
        if gene.kind == "mask":
            assert set(np.unique(value)) <= {0.0, 1.0} and value.shape[-1] == len(gene.labels)
            assert not gene.some or (value.sum(-1) >= 1).all()
        elif gene.kind == "choice":
            assert (value >= 0).all() and (value < len(gene.labels)).all()
    assert declare(deep).gene["local/text/0"].some and declare(deep).gene["fusion/talks:mood"].some
    assert not any(source == target for source, target in deep.links)
    for gene in table.genes:
        if gene.level == "training" and "/" not in gene.name:
            values = np.asarray(getattr(hypers, gene.name))
            assert (values >= gene.low * (1 - 1e-5)).all()
            assert (values <= gene.high * (1 + 1e-5)).all()
    assert (hypers.task_weights > 0).all()


def test_a_random_genome_can_say_everything(table, decode_all):
    keys = jax.random.split(jax.random.key(0), 2000)
    structures, hypers = decode_all(jax.vmap(table.random)(keys))
    for gene in table.genes:
        if gene.level == "training" or gene.kind == "scale":
            continue
        value = np.asarray(structures[gene.name])
        if gene.kind == "choice":
            value = value[:, None] == np.arange(len(gene.labels))
            assert (abs(value.mean(axis=0) - 1 / len(gene.labels)) < 0.1).all()
            continue
        open_ = value.mean(axis=0)
        assert ((open_ == 0) | (open_ == 1) | ((open_ > 0.4) & (open_ < 0.6))).all()
    # Uniform over its range, in the logarithm.
    rates = np.log(np.asarray(hypers.learning_rate) / 3e-4) / np.log(1e-2 / 3e-4)
    np.testing.assert_allclose(np.quantile(rates, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.05)


def test_the_default_genome_is_the_default(deep):
    config = TrainConfig(learning_rate=2e-3, task_weights={"talks:mood": 2.0})
    structure, hyper = decode(deep, jnp.asarray(default_genome(deep, config)))
    everything = default_structure(deep)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), structure, everything)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6),
        hyper, settings_from_config(config, deep),
    )  # fmt: skip


def test_json_out_and_in(deep, table, decode_all):
    genomes = random_genomes(table)[:500]
    texts = [json.dumps(table.to_json(genome)) for genome in genomes]
    back = np.stack([table.from_json(json.loads(text)) for text in texts])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6),
        decode_all(back), decode_all(genomes),
    )  # fmt: skip
    values = json.loads(texts[-1])
    assert train_config(deep, TrainConfig(), values).dropout == values["dropout"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"local/text/0": ["pointwise", "transformer"]}, ["local/text/0", "transformer", "attent"]),
        ({"local/text/0": []}, ["local/text/0", "at least one of pointwise"]),
        ({"depth/text": "3"}, ["depth/text", "'3'", "1, 2"]),
        ({"dropout": 0.9}, ["dropout", "0.9", "0.6"]),
        ({"dropout": "high"}, ["'high'", "number"]),
        ({"dropout": None}, ["dropout", "None"]),
        ({"wings": 2}, ["unknown genes: wings"]),
    ],
)
def test_json_is_checked(table, change, words):
    values = table.to_json(np.zeros(table.size))
    with pytest.raises(InputError) as error:
        table.from_json({**values, **change})
    for word in words:
        assert word in str(error.value)


def test_a_missing_gene_is_named(table):
    values = table.to_json(np.zeros(table.size))
    del values["links"]
    with pytest.raises(InputError, match="lacks genes: links"):
        table.from_json(values)


def test_description_and_names(table):
    text = table.describe(np.ones(table.size))
    assert "local/text/1" in text and "pointwise + convolution" in text
    assert len(table.names) == table.size == len(table.scales)
    assert f"local/text/0={LOCAL_EXPERTS[2]}" in table.names


def test_description_tells_what_no_task_reaches(deep, table):
    """What is open around a modality that nobody reads, or below the depth, does nothing."""
    values = table.to_json(default_genome(deep, TrainConfig()))
    for task_id in deep.tasks:
        values[f"modalities/{task_id}"] = ["text", "audio"]
    values["depth/text"] = "1"
    lines = describe(deep, TrainConfig(), table.from_json(values)).splitlines()
    plain = [line.partition("  #")[0].split() for line in lines]
    shown = {name: " ".join(value) for name, *value in plain}
    assert "inverse temperature of the gates" in lines[-1] + "".join(lines)
    everything = " + ".join(LOCAL_EXPERTS)
    assert shown["local/audio/1"] == everything
    assert (
        shown["local/text/1"] == shown["local/vision/0"] == f"none (without effect: {everything})"
    )
    reached, _, idle = shown["links"].partition(" (without effect: ")
    assert set(reached.split(" + ")) == {"text>audio", "audio>text"}
    assert len(idle.split(" + ")) == 4 and idle.count("vision") == 4
    whole = describe(deep, TrainConfig(), default_genome(deep, TrainConfig()))
    assert "without effect" not in whole


def test_short_names_tell_tasks_apart():
    task = TaskSpec("sentiment", "regression", ("mae",), range=(-3, 3))
    ids = "cmu_mosi/standard:sentiment", "cmu_mosei/standard:sentiment", "meld:emotion"
    widths = {"text": 3, "audio": 2}
    network = HaemsaConfig(
        {dataset: widths for dataset in ("cmu_mosi/standard", "cmu_mosei/standard", "meld")},
        {task_id: dataclasses.replace(task, name=task_id.partition(":")[2]) for task_id in ids},
    )
    names = short_names(gene_table(network))
    assert names["modalities/meld:emotion"] == "modalities emotion"
    assert names[f"fusion/{ids[0]}"] == f"fusion {ids[0]}"
    assert names["local/text/0"] == "local text/0" and names["links"] == "links"
    assert len(set(names.values())) == len(names)


@pytest.mark.parametrize("end", [1.0, 100.0])
def test_a_value_at_its_end_is_exact_and_can_leave_it(end):
    table = Table((Gene("rate", "look", "scale", "", low=1.0, high=100.0, log=True),))
    genome = table.from_json({"rate": end})
    step = np.float32(0.5) * (1 if end == 1.0 else -1)
    assert table.to_json(genome)["rate"] == table.to_json(genome - step)["rate"] == end
    assert 1.2 < max(end, moved := table.to_json(genome + step)["rate"]) / min(end, moved) < 4.0


@pytest.mark.parametrize(
    ("genes", "words"),
    [
        ([("x", "look", "masks", "")], "gene 'x': kind 'masks' is none of mask, choice, scale"),
        ([("x", "look", "mask", "")], "gene 'x': a mask needs labels"),
        ([("x", "look", "scale", "", (), False, 0.0, 1.0, True)], "must be numbers above 0"),
        ([("x", "look", "scale", "", (), False, 1.0, 0.0)], "low=1.0 and high=0.0"),
        ([("x", "look", "scale", "")] * 2, "two genes 'x'"),
    ],
)
def test_genes_that_cannot_be(genes, words):
    with pytest.raises(InputError, match=words):
        Table(tuple(Gene(*gene) for gene in genes))


def test_what_is_turned_off_is_off():
    table = Table((Gene("drop", "look", "scale", "", low=0.0, high=0.5),))
    for value in (0.0, 0.5):
        assert table.to_json(table.from_json({"drop": value})) == {"drop": value}


def test_what_works_on_hidden_modalities_is_off_where_none_are(small):
    network = dataclasses.replace(small, sharing="imputed")
    config = TrainConfig(modality_dropout=0.2, distillation=1.0, prediction_balance=0.5)
    table = gene_table(network, config)
    values = table.to_json(default_genome(network, config))
    kept = train_config(network, config, values)
    assert kept.distillation == pytest.approx(1.0, rel=1e-5)
    none = train_config(network, config, values | {"modality_dropout": 0.0})
    assert (none.distillation, none.prediction_balance) == (0.0, 0.0)
    check_together(network, none)
    some = dataclasses.replace(config, frame_dropout=0.3)
    values = gene_table(network, some).to_json(default_genome(network, some))
    still = train_config(network, some, values | {"modality_dropout": 0.0})
    assert still.distillation > 0 and still.prediction_balance == 0.0


def test_training_beyond_its_genes_is_refused(deep):
    for change in ({"learning_rate": 0.05}, {"weight_decay": 0.0}, {"dropout": 0.8}):
        (name, value), *_ = change.items()
        with pytest.raises(InputError, match=f"'{name}' is {value}, but must be a number from"):
            default_genome(deep, TrainConfig(**change))


def test_genes_by_hand():
    table = Table(
        (
            Gene("colour", "look", "choice", "", ("red", "green", "blue")),
            Gene("parts", "look", "mask", "", ("a", "b"), some=True),
            Gene("rate", "look", "scale", "", low=1.0, high=100.0, log=True),
        )
    )
    said = table.decode(jnp.array([-3.0, -2.0, -1.0, 0.0]))
    assert said["colour"] == 0
    assert said["parts"].tolist() == [0.0, 1.0]  # none was asked: the largest stays
    assert said["rate"] == pytest.approx(10.0)
    assert table.decode(jnp.array([np.inf, 1, 1, np.inf]))["colour"] == 2
    assert table.to_json(np.array([0.0, -1, 1, -np.inf]))["colour"] == "green"
