"""Evolution with a text encoder within the network: whether it is adapted, and how far it reads."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params
from networks import bare, drawn
from samples import BERT

from haemsa_jax.config import TrainConfig
from haemsa_jax.data.batches import device_split, gather
from haemsa_jax.data.description import describe_data
from haemsa_jax.data.folds import make_partition
from haemsa_jax.encoders import specify
from haemsa_jax.encoders.text.module import lengths
from haemsa_jax.errors import InputError
from haemsa_jax.evolution import outcome
from haemsa_jax.evolution.genome import decode, gene_table
from haemsa_jax.evolution.problem import make_problem, search_data
from haemsa_jax.evolution.search import make_search
from haemsa_jax.evolution.state import SearchConfig
from haemsa_jax.models import Rates, build, constants_at, variables_of
from haemsa_jax.structure.size import size
from haemsa_jax.structure.specialise import specialise
from haemsa_jax.training.engine.loop import make_train
from haemsa_jax.training.engine.state import init_params
from haemsa_jax.training.measurement.evaluation import evaluate
from haemsa_jax.training.measurement.normalization import begin_with
from haemsa_jax.training.persistence.experiment import Experiment
from haemsa_jax.training.persistence.trained import load_trained
from launch import words
from launch.tasks import restricted

SEARCH = SearchConfig(population=4, generations=2, steps=2, head_start=2)
TRAIN = TrainConfig(batch_size=8, encoder_rate=1.0, modality_dropout=0.2)
ONE = jax.local_devices()[:1]


@pytest.fixture(scope="module")
def network(slim, spoken, pretrained):
    text = specify(pretrained, BERT, max_tokens=8, mode="adapted", datasets=(spoken.name,), rank=2)
    return bare(
        slim,
        widths={spoken.name: dict(spoken.widths)},
        encoders={"text": text},
        context={spoken.name: (1, 0)},
        tasks={f"{spoken.name}:score": spoken.tasks["score"]},
    )


@pytest.fixture(scope="module")
def given(pretrained):
    return {"encoder_text": pretrained.params}


@pytest.fixture(scope="module")
def variables(network, spoken, given):
    _, constants = begin_with(network, make_partition({spoken.name: spoken}), given)
    return drawn(lambda key: init_params(network, TRAIN, key)), constants_at(constants, 0)


def says(network, **said):
    """A structure whose genes say so, and all others what they say by default."""
    table, problem = gene_table(network), make_problem(network, TRAIN, SEARCH)
    values = table.to_json(problem.default) | said
    return decode(network, jnp.asarray(table.from_json(values)))[0]


def test_genes(network):
    genes = {gene.name: gene.labels for gene in gene_table(network).genes}
    assert genes["encoder/text"] == ("frozen", "adapted")
    assert genes["past/talks:score"] == ("0", "1")
    assert "future/talks:score" not in genes
    plain = dataclasses.replace(
        network, encoders={"text": dataclasses.replace(network.encoders["text"], rank=0)}
    )
    assert "encoder/text" not in {gene.name for gene in gene_table(plain).genes}


def test_a_population_has_no_encoder_each(network):
    tuned = dataclasses.replace(network.encoders["text"], mode="tuned", rank=0)
    with pytest.raises(InputError, match=r"text.mode='tuned': a population has no encoder each"):
        make_problem(dataclasses.replace(network, encoders={"text": tuned}), TRAIN, SEARCH)


@pytest.mark.parametrize("encoder", ["frozen", "adapted"])
@pytest.mark.parametrize("past", ["0", "1"])
def test_the_small_network_says_the_same(network, variables, spoken, encoder, past):
    structure = says(network, **{"encoder/text": encoder, "past/talks:score": past})
    specialised = specialise(network, *variables, structure)
    small, cut = specialised.network, (specialised.params, specialised.constants)
    assert small.encoders["text"].rank == (2 if encoder == "adapted" else 0)
    assert small.marks("text") == (past == "1")
    assert sum(x.size for x in jax.tree.leaves(cut[0])) == int(size(network, structure).parameters)
    data = device_split(spoken.splits["train"])

    @jax.jit
    def both(data):
        def of(network, variables, structure):
            window = network.context_of("talks")
            task = jnp.int32(0)
            samples = jax.vmap(lambda row: gather(data, row, task, *window))(jnp.arange(12))
            variables = variables_of(*variables)
            said = build(network).apply(variables, samples, structure, Rates(), "talks")
            return said.predictions["talks:score"]

        return of(small, cut, specialised.structure), of(network, variables, structure)

    mine, expected = both(data)
    np.testing.assert_allclose(mine, expected, atol=1e-5)
    assert np.std(expected) > 1e-3


def test_a_population_shares_the_encoder_and_has_adapters_each(
    network, spoken, given, pretrained, tmp_path
):
    data = search_data(network, TRAIN, {spoken.name: spoken}, given)
    # All with adapters: who survives of some with and some without is luck.
    config = dataclasses.replace(SEARCH, fixed=("encoder",))
    problem = make_problem(network, TRAIN, config)
    # One device: all members in one program.
    found = make_search(problem, config, ONE)(jax.random.key(0), data)
    assert np.isfinite(found.history.costs).all()
    adapters = found.members.params["encoder_text"]["layers"]["value_up"]["kernel"]
    assert adapters.shape[:2] == (8, 1)  # four in the final, and the last generation
    assert len(np.unique(np.abs(adapters).sum(axis=(1, 2, 3, 4)))) == 8
    np.testing.assert_array_equal(
        data["constants"]["encoder_text"]["words"], pretrained.params["words"]
    )

    experiment = Experiment(network, TRAIN, {"search": {}}, describe_data({spoken.name: spoken}))
    trained = outcome.population(found, experiment, data["constants"])
    outcome.save(tmp_path, found, trained, problem.objectives)
    datasets = {spoken.name: spoken}
    before = evaluate(load_trained(tmp_path), datasets, "validation", ONE)["talks:score"]
    np.testing.assert_allclose(
        before.metrics["mae"][0] / data["references"]["talks:score"],
        found.history.costs[found.place][0],
        atol=1e-4,
    )
    # Trained anew from what the search left: at a rate of next to nothing it says the same.
    genome = outcome.read_genome(tmp_path)
    cut, start = outcome.begin(genome, network, inherit=True)
    config = dataclasses.replace(genome.train, epochs=1, learning_rate=1e-9, ema=0.0)
    make_train(cut, config, datasets, ONE, start=start)(tmp_path / "anew")
    after = evaluate(load_trained(tmp_path / "anew"), datasets, "validation", ONE)
    np.testing.assert_allclose(
        after["talks:score"].metrics["mae"][0], before.metrics["mae"][0], atol=1e-3
    )


def test_an_encoder_that_nobody_reads_is_not_there(network):
    both = dataclasses.replace(network, widths={"talks": {"text": 1, "audio": 4}}, kept={})
    deaf = restricted(both, "audio")
    assert set(words.weights(both)) == {"encoder_text"} and words.weights(deaf) == {}
    params = jax.eval_shape(lambda key: init_params(deaf, TRAIN, key), jax.random.key(0))
    assert "encoder_text" not in params
    assert not deaf.adapts("text") and not deaf.marks("text")


def branches(jaxpr):
    """How many branches every `cond` in a traced function has."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "cond":
            yield len(equation.params["branches"])
        for inner in jaxprs_in_params(equation.params):
            yield from branches(inner)


def test_a_population_reads_no_longer_than_its_batch(network, spoken, given):
    """What is hidden differs between members; how long their texts are must not, or all of the
    encoder's lengths would be computed for each."""
    network = dataclasses.replace(network, context={spoken.name: (2, 0)})
    problem = make_problem(network, TRAIN, SEARCH)
    data = jax.device_put(search_data(network, TRAIN, {spoken.name: spoken}, given))
    key = jax.random.key(0)

    def train(genome):
        return problem.train(problem.init(key, data), genome, data, jnp.int32(0), key, 0, 2)

    genomes = jnp.stack([problem.default] * 2)
    window = 3 * spoken.splits["train"].masks["text"].shape[1]
    assert len(lengths(window)) == 4
    assert 4 in set(branches(jax.make_jaxpr(jax.vmap(train))(genomes).jaxpr))
