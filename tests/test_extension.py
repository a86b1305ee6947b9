"""What users add from outside: experts, operators, links, genes and models, without an edit here.

Each goes through training, search, specialisation, diagnosis, drawing, export and prediction.
"""

import dataclasses
import importlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import haemsa_datasets
from haemsa_datasets import catalog, preparation
from haemsa_jax.config import NetworkConfig, TrainConfig
from haemsa_jax.data import SPLITS
from haemsa_jax.data.dataset import splits_of
from haemsa_jax.data.description import describe_data
from haemsa_jax.errors import InputError
from haemsa_jax.evolution import SearchConfig, make_problem, make_search, search_data
from haemsa_jax.inference.export import export
from haemsa_jax.inference.predictor import Predictor
from haemsa_jax.models import HaemsaConfig, build, register
from haemsa_jax.models.haemsa import EXPERTS, LINKS, OPERATORS
from haemsa_jax.models.heads import Readout
from haemsa_jax.models.inputs import Inputs
from haemsa_jax.models.layers import Dense, masked_mean
from haemsa_jax.reporting import architecture, diagnosis
from haemsa_jax.structure.genes import Gene
from haemsa_jax.structure.interface import interface
from haemsa_jax.structure.parts import (
    Declaration,
    Gating,
    Part,
    carried,
    declare,
    default_structure,
    shut,
)
from haemsa_jax.structure.size import parameters
from haemsa_jax.structure.specialise import specialise, specialised_config
from haemsa_jax.testing import check_model
from haemsa_jax.training.engine.loop import make_train
from haemsa_jax.training.measurement.evaluation import evaluate
from haemsa_jax.training.persistence.experiment import Experiment, experiment_from_json
from haemsa_jax.training.persistence.trained import load_trained
from launch import cli


@EXPERTS.register("maximum")
class Maximum(nn.Module):
    """The largest value of any token, scaled by a gene of its own."""

    config: HaemsaConfig

    GENES: ClassVar = (Gene("strength", "", "scale", "of the maximum", low=0.5, high=2.0),)

    @nn.compact
    def __call__(self, x, mask, choices):
        most = jnp.where(mask[..., None], x, -1e3).max(axis=-2, keepdims=True)
        return choices["strength"] * Dense(self.config.width, name="out")(jnp.tanh(most) + 0.0 * x)


@OPERATORS.register("average")
class Average(nn.Module):
    """The mean of the summaries that are there."""

    config: HaemsaConfig

    @nn.compact
    def __call__(self, summaries, presence, query):
        return nn.Dense(self.config.width, name="out")(masked_mean(summaries, presence))


@LINKS.register("broadcast")
class Broadcast(nn.Module):
    """Every target token is told the source's mean."""

    config: HaemsaConfig

    @nn.compact
    def __call__(self, target, source, mask):
        mean = Dense(self.config.width, name="out")(masked_mean(source, mask))
        return jnp.broadcast_to(mean[..., None, :], target.shape)


@dataclass(frozen=True)
class SummingConfig(NetworkConfig):
    """A model of the user's own."""

    model: ClassVar[str] = "summing"


@register
class Summing(nn.Module):
    """Sums of modalities' means, each of which can be squared by a gene."""

    config: SummingConfig

    @staticmethod
    def declare(config):
        squares = config.labels("squares", config.built_modalities)
        gene = Gene("squares", "squares", "mask", "modalities whose squares are read", squares)
        parts = tuple(
            Part(
                name=f"square/{m}",
                kind="square",
                opened=(("squares", m),),
                reads=((f"modality/{m}",),),
                modules=((f"square_{m}",),),
            )
            for m in squares
        )
        gate = Gating("squares", "squares", tuple(part.name for part in parts), squares)
        return interface(config, auxiliary=True) + Declaration((gene,), parts, (gate,))

    @nn.compact
    def __call__(self, sample, structure, rates, dataset, longest=None):
        reader, readout = Inputs(self.config, name="inputs"), Readout(self.config, name="readout")
        nn.share_scope(self, reader)
        nn.share_scope(self, readout)
        inputs = reader(sample, structure, rates, dataset, longest)
        built = self.config.built_modalities
        means = {m: masked_mean(x, inputs.masks[m]) for m, x in inputs.tokens.items()}
        joined = sum(means.values())
        squares = self.config.labels("squares", built)
        for place, m in enumerate(squares):
            square = Dense(self.config.width, use_bias=False, name=f"square_{m}")(means[m] ** 2)
            joined = joined + structure["squares"][place] * square
        shape = (*inputs.presence.shape[:-1], len(squares))
        gates = {"squares": jnp.broadcast_to(structure["squares"], shape)} if squares else {}
        alone = jnp.stack([means[m] for m in built], axis=-2)
        parts = {"summaries": alone}
        return readout(joined, parts, inputs.presence, gates, rates.inner, dataset)


def networks(pair):
    tasks = {f"{pair.name}:score": pair.tasks["score"]}
    widths = {pair.name: dict(pair.widths)}
    haemsa = HaemsaConfig(
        widths,
        tasks,
        width=8,
        depth=1,
        heads=2,
        link_width=4,
        experts=("pointwise", "maximum"),
        operators=("concat", "average"),
        link="broadcast",
    )
    return {"haemsa": haemsa, "summing": SummingConfig(widths, tasks, width=8)}


CLOSED = {
    "haemsa": ["local/text/0/maximum", "fusion/average", "links/audio>text"],
    "summing": ["square/audio"],
}


@pytest.fixture(scope="module", params=["haemsa", "summing"])
def own(request, pair):
    return request.param, networks(pair)[request.param], {pair.name: pair}


@pytest.fixture(scope="module")
def run(own, tmp_path_factory):
    _, network, data = own
    directory = tmp_path_factory.mktemp("run")
    train = make_train(network, TrainConfig(epochs=1, batch_size=16), data, jax.devices()[:1])
    train(directory)
    return directory


def test_it_is_trained_evaluated_and_predicts(own, run, pair):
    name, network, data = own
    trained = load_trained(run)
    assert trained.experiment.network == network
    assert np.isfinite(evaluate(trained, data)[f"{pair.name}:score"].metrics["mae"]).all()
    prediction = Predictor.from_checkpoint(run).predict(text=np.ones((2, 6)), audio=np.ones((3, 4)))
    if name == "haemsa":
        gates = prediction.tasks["score"].gates
        assert {*gates["local/text/0"]} == {"pointwise", "maximum"}
        assert {*gates["fusion"]} == {"concat", "average"}


def test_it_is_searched(own):
    name, network, data = own
    config = SearchConfig(population=2, generations=1, steps=2, head_start=0)
    train = TrainConfig(batch_size=8, folds=2)
    problem = make_problem(network, train, config)
    names = {gene.name for gene in problem.table.genes}
    assert (
        names
        >= {
            "haemsa": {"local/text/0", "local/text/0/maximum/strength", "links"},
            "summing": {"squares", "learning_rate"},
        }[name]
    )
    search = make_search(problem, config, jax.devices()[:1])
    assert np.isfinite(search(jax.random.key(0), search_data(network, train, data)).fitness)


def test_it_is_specialised(own, run):
    name, network, _ = own
    variables, _ = load_trained(run).network(0)
    structure = shut(network, default_structure(network), CLOSED[name])
    small = specialise(network, variables["params"], variables["constants"], structure)
    count = sum(x.size for x in jax.tree.leaves(small.params))
    assert count == int(parameters(network, structure))
    assert count < sum(np.size(x) for x in jax.tree.leaves(variables["params"]))
    assert not {*CLOSED[name]} & {part.name for part in declare(small.network).parts}
    assert build(small.network).config == small.network


def test_it_keeps_the_protocol(own):
    check_model(own[1], structures=2)


def test_what_has_no_label_left_is_no_gene(own):
    """Of a mask and its gate; a second specialisation does not bring it back."""
    name, network, _ = own
    gene = {"haemsa": "links", "summing": "squares"}[name]
    parts = [part.name for part in declare(network).of_kind("link", "square")]
    structure = shut(network, default_structure(network), parts)
    small = specialised_config(network, structure)
    left = declare(small)
    assert gene not in left.gene and gene in declare(network).gene
    assert gene not in {gating.name for gating in left.gates}
    assert not left.of_kind("link", "square")
    again = specialised_config(small, carried(network, structure, small))
    assert again == small
    chosen = Declaration((Gene("depth", "", "choice", "", ()),), ()).without_empty()
    assert chosen.genes == ()


def test_it_is_diagnosed_drawn_and_exported(own, run, tmp_path):
    name, network, data = own
    trained = load_trained(run)
    shown = diagnosis.diagnose(trained, splits_of(data, "test"))
    kinds = {kind for kind, _ in next(iter(shown.influence.values()))}
    assert kinds >= ({"expert", "operator", "link"} if name == "haemsa" else {"square"})
    evaluated = evaluate(trained, data)
    gates = {task_id: task.gates for task_id, task in evaluated.items()}
    architecture.figure(network, trained.network(0)[1], gates, tmp_path / "network.png")
    assert (tmp_path / "network.png").stat().st_size > 5000
    config = export(trained, tmp_path / "exported", platforms=["cpu"])
    assert config["interface"]["dataset"] in data


def test_what_is_not_registered_is_named(pair):
    network = networks(pair)["haemsa"]
    for field, value, kind in (
        ("experts", ("pointwise", "wizard"), "local expert 'wizard'"),
        ("operators", ("wizard",), "fusion operator 'wizard'"),
        ("link", "wizard", "kind of link 'wizard'"),
    ):
        with pytest.raises(InputError, match=f"{kind} is unknown; choose from"):
            declare(dataclasses.replace(network, **{field: value}))
    with pytest.raises(InputError, match="there is a local expert 'maximum' already"):
        EXPERTS.register("maximum")(Average)


def test_an_experiment_of_it_goes_out_and_in_as_json(own):
    _, network, data = own
    experiment = Experiment(network, TrainConfig(), {}, describe_data(data))
    assert experiment_from_json(experiment.to_json()) == experiment


PANTRY = '''
import numpy as np
import tensorflow_datasets as tfds

from haemsa_datasets.builder import HaemsaBuilder
from haemsa_datasets.samples import Card, Sample
from haemsa_jax.config import TaskSpec


class Builder(HaemsaBuilder):
    """Moods of a pantry."""

    VERSION = tfds.core.Version("1.0.0")
    card = Card(
        description="Moods of a pantry.",
        widths={"text": 4},
        tasks=(TaskSpec("mood", "regression", ("mae", "corr"), range=(-1.0, 1.0)),),
        provenance={"text": "generated"},
        conversational=False,
    )

    def read(self, raw_dir):
        rng, splits = np.random.default_rng(0), {}
        for split, count in (("train", 24), ("validation", 8), ("test", 8)):
            rows = []
            for number in range(count):
                text = rng.normal(size=(2, 4)).astype(np.float32)
                mood = float(np.tanh(text.mean()))
                rows.append(
                    Sample(
                        id=f"{split}{number}",
                        group=f"{split}{number}",
                        turn=0,
                        features={"text": text},
                        labels={"mood": mood},
                        origin="generated",
                    )
                )
            splits[split] = rows
        return splits
'''


def test_a_data_set_of_a_directory_of_ones_own(tmp_path):
    folder = tmp_path / "sets" / "pantry"
    folder.mkdir(parents=True)
    (folder / "pantry_dataset_builder.py").write_text(PANTRY)
    (folder / "__init__.py").write_text("")
    assert catalog.register_directory(tmp_path / "sets") == ("pantry",)
    assert "pantry" in catalog.names()
    preparation.prepare("pantry", None, tmp_path / "data")
    loaded = haemsa_datasets.load("pantry", tmp_path / "data", SPLITS)
    assert [len(loaded.splits[name]) for name in SPLITS] == [24, 8, 8]
    network = SummingConfig({"pantry": loaded.widths}, {"pantry:mood": loaded.tasks["mood"]}, 8)
    trained = make_train(network, TrainConfig(epochs=1, batch_size=8), {"pantry": loaded})()
    assert np.isfinite(trained.progress["best_score"]).all()
    with pytest.raises(InputError, match="holds no data set; expected folders NAME"):
        catalog.register_directory(tmp_path)


def test_the_page_for_contributors_is_right(pair, tmp_path, monkeypatch, own_flags):
    """Its code, as a module of a user's own, keeps what it says, and has flags."""
    page = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.S)
    (tmp_path / "my_parts.py").write_text("\n".join(blocks))
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("my_parts")
    tasks = {f"{pair.name}:score": pair.tasks["score"]}
    widths = {pair.name: dict(pair.widths)}
    sizes = {"width": 8, "heads": 2, "depth": 1, "link_width": 4}
    network = HaemsaConfig(widths, tasks, experts=("pointwise", "largest"), **sizes)
    assert "local/text/0/largest/strength" in default_structure(network)
    check_model(network, structures=2)
    module.test_my_model()
    module.test_my_kind()
    with pytest.raises(InputError, match="evenness"):
        module.BlendConfig(widths, tasks, evenness=0.0)
    cli.define_network_flags()
    help_of = own_flags["evenness"].help
    assert help_of == (
        "of the gate; the higher, the more alike modalities weigh. By default 1.0 (blend)."
    )
