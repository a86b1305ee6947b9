"""Many tasks at once: losses, their weights, how often each is seen, and what is taken over."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import bare

from haemsa_jax.config import IMBALANCE, TrainConfig
from haemsa_jax.data import Dataset
from haemsa_jax.errors import InputError
from haemsa_jax.evolution.genome import decode, default_genome, gene_table
from haemsa_jax.models import default_structure
from haemsa_jax.models.haemsa import HaemsaConfig
from haemsa_jax.structure import axes
from haemsa_jax.structure.layout import places
from haemsa_jax.structure.warm_start import take
from haemsa_jax.tasks import kind_of
from haemsa_jax.training.engine.drawing import batch_sizes, steps_per_epoch
from haemsa_jax.training.engine.loop import Start, make_train
from haemsa_jax.training.engine.state import settings_from_config
from haemsa_jax.training.objective.task_weighting import combined
from haemsa_jax.training.persistence.trained import load_trained

CONFIG = TrainConfig(epochs=2, batch_size=16, learning_rate=1e-2)


def loss(task, said, label, config=CONFIG, scale=2.0, odds=(0.0,)):
    constants = {"scale": jnp.array([scale]), "offset": jnp.array(odds)}
    network = HaemsaConfig({"d": {"text": 1}}, {"d:t": task})
    hyper = settings_from_config(config, network)
    arguments = config, hyper, constants, jnp.array(said), jnp.asarray(label)
    return float(kind_of(task.kind).loss(task, *arguments))


def test_losses_by_hand(pair):
    score, mood, tags = pair.tasks.values()

    def at(kind, said):
        return loss(score, [said], 1.0, dataclasses.replace(CONFIG, regression_loss=kind))

    assert at("l1", 4.0) == pytest.approx(1.5)
    assert at("l2", 4.0) == pytest.approx(1.125)
    assert at("huber", 4.0) == pytest.approx(1.0)  # 1.5 - 0.5
    assert at("huber", 2.0) == pytest.approx(0.125)
    assert loss(mood, np.log([1.0, 2.0, 1.0]), 1) == pytest.approx(np.log(2.0))
    assert loss(tags, [0.0, 100.0], [1.0, 1.0]) == pytest.approx(np.log(2.0) / 2)


def test_losses_for_rare_classes_by_hand(pair):
    _, mood, tags = pair.tasks.values()
    shares = np.array([0.1, 0.3, 0.6])
    odds, said = np.log(shares), np.log([0.2, 0.5, 0.3])

    def at(label, **on):
        return loss(mood, said, label, dataclasses.replace(CONFIG, **on), odds=odds)

    # A power of the frequency, over its mean among the samples.
    weight = 0.1**-0.5 / (0.1**0.5 + 0.3**0.5 + 0.6**0.5)
    assert at(0, class_balance=0.5) == pytest.approx(-weight * np.log(0.2), rel=1e-5)
    assert at(1, focal=2.0) == pytest.approx(-(0.5**2) * np.log(0.5), rel=1e-5)
    adjusted = np.array([0.2, 0.5, 0.3]) * shares / (np.array([0.2, 0.5, 0.3]) * shares).sum()
    assert at(2, logit_adjustment=1.0) == pytest.approx(-np.log(adjusted[2]), rel=1e-5)
    # Of labels: 0.25 is on in a quarter, and both sides weigh alike under full balance.
    odds = np.log([1 / 3, 1.0])
    config = dataclasses.replace(CONFIG, class_balance=1.0)
    on, off = (loss(tags, [0.0, 0.0], [x, 0.0], config, odds=odds) for x in (1.0, 0.0))
    nat = np.log(2.0)
    assert on == pytest.approx((nat / 0.25 / 2 + nat) / 2, rel=1e-5)
    assert off == pytest.approx((nat / 0.75 / 2 + nat) / 2, rel=1e-5)


@pytest.mark.parametrize("name", IMBALANCE)
def test_losses_for_rare_classes_have_gradients(name, pair):
    """Also of what is as good as certain, at powers between 0 and 1."""
    mood = pair.tasks["mood"]
    config = dataclasses.replace(CONFIG, **{name: 0.5})
    network = HaemsaConfig({"d": {"text": 1}}, {"d:t": mood})
    hyper = settings_from_config(config, network)
    constants = {"scale": jnp.ones(3), "offset": jnp.log(jnp.array([0.1, 0.3, 0.6]))}
    for said in ([100.0, 0.0, 0.0], [-100.0, 0.0, 0.0], [0.0, 0.0, 0.0]):
        grads = jax.grad(
            lambda x: kind_of(mood.kind).loss(mood, config, hyper, constants, x, jnp.int32(0))
        )(jnp.array(said))  # fmt: skip
        assert np.isfinite(grads).all()
        plain = jax.grad(
            lambda x: kind_of(mood.kind).loss(mood, CONFIG, hyper, constants, x, jnp.int32(0))
        )(jnp.array(said))  # fmt: skip
        if said == [0.0, 0.0, 0.0]:
            assert not np.allclose(grads, plain)


def test_uncertainty_weighs_tasks():
    """At its optimum the parameter is the loss's logarithm, and every task pulls alike."""
    losses, weights = jnp.array([0.1, 3.0]), jnp.array([0.5, 0.5])
    assert combined(losses, weights, {}) == pytest.approx(1.55)
    at = {"uncertainty": jnp.log(losses)}
    slope = jax.grad(lambda p: combined(losses, weights, p))(at)["uncertainty"]
    np.testing.assert_allclose(slope, 0.0, atol=1e-6)
    pulls = jax.grad(lambda x: combined(x, weights, at))(losses) * losses
    np.testing.assert_allclose(pulls, 0.5, rtol=1e-5)


def test_batches_by_temperature():
    counts = {"big": 16000, "small": 1000}
    sizes = lambda t, n=1: batch_sizes(  # noqa: E731
        counts, dataclasses.replace(CONFIG, batch_size=34, sampling_temperature=t), n
    )
    assert sizes(0.0) == {"big": 34, "small": 34}
    assert sizes(1.0) == {"big": 64, "small": 4}
    assert sizes(2.0, 2) == {"big": 54, "small": 14}
    assert sizes(1.0, 8) == {"big": 64, "small": 8}
    assert steps_per_epoch(counts, sizes(1.0)) == 250
    assert steps_per_epoch(counts, sizes(0.0)) == 471


def test_conflict_of_tasks(solo, lone, tmp_path):
    """A task agrees with itself, and tasks that want the opposite disagree."""
    score = dataclasses.replace(solo.tasks["score"], name="negative")
    tasks = {"score": solo.tasks["score"], "negative": score}

    def cut(split):
        labels = {"score": split.labels["score"], "negative": -split.labels["score"]}
        every = np.ones(len(split), bool)
        return dataclasses.replace(split, labels=labels, labelled={t: every for t in tasks})

    splits = {name: cut(split) for name, split in solo.splits.items()}
    data = dataclasses.replace(solo, tasks=tasks, splits=splits)
    network = bare(lone, tasks={f"talks:{n}": t for n, t in tasks.items()})
    config = dataclasses.replace(
        CONFIG, epochs=2, batch_size=64, task_weighting="uncertainty", sampling_temperature=1.0
    )
    train = make_train(network, config, {"talks": data}, jax.local_devices()[:1], gradients=True)
    rows = []
    train(tmp_path, observe=rows.append)
    seen = [row for row in rows if row["kind"] == "tasks"]
    assert [row["epochs/talks:score"] for row in seen] == pytest.approx([64 * 2 / 70, 64 * 4 / 70])
    (cosine,) = seen[0]["cosine/talks:score|talks:negative"]
    assert -1.0 <= cosine < 0.5
    assert seen[-1]["weight/talks:score"] != [1.0]


def test_losses_for_rare_classes_are_genes_where_they_are_on(slim):
    on = dataclasses.replace(CONFIG, focal=1.5, class_balance=0.5)
    names = {gene.name for gene in gene_table(slim, on).genes}
    assert names - {gene.name for gene in gene_table(slim).genes} == {"focal", "class_balance"}
    _, hyper = decode(slim, jnp.asarray(default_genome(slim, on)), on)
    assert hyper.focal == pytest.approx(1.5, rel=1e-3)
    assert hyper.logit_adjustment == 0.0


# --- one network starts from another -------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(lone, solo, tmp_path_factory):
    directory = tmp_path_factory.mktemp("run")
    config = dataclasses.replace(CONFIG, seeds=2, epochs=1)
    make_train(lone, config, {"talks": solo}, jax.local_devices()[:1])(directory)
    return load_trained(directory)


@pytest.fixture(scope="module")
def other(lone, solo):
    """The same features under another name, and a task that the trained network does not know."""
    tasks = {"score": solo.tasks["score"], "mind": dataclasses.replace(solo.tasks["mood"],
                                                                       name="mind")}  # fmt: skip

    def named(split):
        labels = {"score": split.labels["score"], "mind": split.labels["mood"]}
        labelled = {name: np.ones(len(split), bool) for name in tasks}
        return dataclasses.replace(split, labels=labels, labelled=labelled)

    splits = {name: named(split) for name, split in solo.splits.items()}
    data = Dataset("films", solo.widths, tasks, splits, conversational=True)
    network = bare(
        lone, widths={"films": dict(solo.widths)}, context={},
        tasks={f"films:{name}": task for name, task in tasks.items()},
    )  # fmt: skip
    return network, data


def test_a_network_takes_what_fits(trained, other, tmp_path):
    network, data = other
    warm = take(network, CONFIG, trained)
    assert "local_text_0" in warm.taken
    assert "stem_films_text (was stem_talks_text)" in warm.taken
    assert "head_films-score (was head_talks-score)" in warm.taken
    # Another task, and rows or gates for another number of tasks.
    assert "head_films-mind" in warm.new
    assert "queries" in warm.new
    best = int(np.argmax(trained.progress["best_score"]))
    source = trained.network(best)[0]["params"]
    np.testing.assert_array_equal(
        warm.params["stem_films_text"]["project"]["kernel"],
        source["stem_talks_text"]["project"]["kernel"],
    )
    start = Start(default_structure(network), warm.params, {"init_from": "somewhere"})
    slow = dataclasses.replace(CONFIG, learning_rate=1e-9, epochs=1)
    make_train(network, slow, {"films": data}, jax.local_devices()[:1], start=start)(tmp_path)
    begun = load_trained(tmp_path).network(0)[0]["params"]
    name = "stem_{}_text"
    np.testing.assert_allclose(
        begun[name.format("films")]["offsets"], source[name.format("talks")]["offsets"], atol=1e-5
    )


def test_rows_follow_their_tasks(trained):
    """Of tasks in another order, or some of them; of other modalities nothing that numbers them."""
    of = trained.experiment.network
    variables, _ = trained.network(int(np.argmax(trained.progress["best_score"])))
    source = variables["params"]
    names = list(of.tasks)[::-1][:2]
    network = of.changed(tasks={t: of.tasks[t] for t in names})
    warm = take(network, CONFIG, trained)
    rows = [of.task_index(t) for t in names]
    np.testing.assert_array_equal(warm.params["queries"], source["queries"][np.array(rows)])
    assert not warm.new
    kept = {name.replace("text", "audio"): labels for name, labels in of.kept.items()}
    kept |= {f"modalities/{t}": ("audio",) for t in names}
    other = network.changed(widths={"talks": {"audio": 6}}, kept=kept)
    left = take(other, CONFIG, trained).new
    assert {"fusion/missing", "fusion/concat/hidden/kernel"} <= {*left}


def test_columns_of_a_gate_follow_their_tasks():
    tasks, experts = ("task/a", "task/b", "task/c"), ("fusion/x", "fusion/y")
    wanted = axes.outer(("task/c", "task/a"), experts)
    assert places(axes.outer(tasks, experts), wanted).tolist() == [4, 5, 0, 1]
    assert places(wanted, axes.outer(tasks, experts)) is None
    rows = (*axes.plain(2), *axes.each(("m/text", "m/audio"), 3), *axes.plain(1))
    kept = (*axes.plain(2), *axes.each(("m/audio",), 3), *axes.plain(1))
    assert places(rows, kept).tolist() == [0, 1, 5, 6, 7, 8]


def test_networks_of_different_widths_have_nothing_in_common(trained, lone):
    wide = dataclasses.replace(lone, width=16)
    with pytest.raises(InputError, match="has width=8, the new one width=16; give both the same"):
        take(wide, CONFIG, trained)
