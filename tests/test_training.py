"""Training: exact resume, any number of devices, no recompilation, and errors that help."""

import dataclasses
import errno
import json
import shutil
import time
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from networks import OTHERS, as_model, bare

from haemsa_jax import memory
from haemsa_jax.config import OPTIONS, TrainConfig
from haemsa_jax.data.batches import device_split
from haemsa_jax.data.folds import make_partition
from haemsa_jax.errors import InputError
from haemsa_jax.models import default_structure
from haemsa_jax.structure.parts import shut
from haemsa_jax.structure.specialise import specialised_config
from haemsa_jax.training.engine import loop, parallel
from haemsa_jax.training.engine.blocks import make_block
from haemsa_jax.training.engine.drawing import make_draw
from haemsa_jax.training.engine.loop import Start, make_train
from haemsa_jax.training.engine.optimizer import learning_rate, make_optimizer
from haemsa_jax.training.engine.reports import NonFiniteLossError
from haemsa_jax.training.engine.state import (
    init_params,
    init_state,
    moving_average,
    settings_from_config,
    stack,
)
from haemsa_jax.training.measurement.evaluation import check_data, evaluate
from haemsa_jax.training.measurement.normalization import make_constants
from haemsa_jax.training.measurement.validation import make_validate
from haemsa_jax.training.objective.views import make_views
from haemsa_jax.training.persistence import log, run_directory
from haemsa_jax.training.persistence.checkpoint import Checkpoints
from haemsa_jax.training.persistence.experiment import (
    Experiment,
    check_same,
    experiment_from_json,
)
from haemsa_jax.training.persistence.trained import (
    abstract_trees,
    load_experiment,
    load_trained,
)

CONFIG = TrainConfig(
    seeds=2, epochs=8, batch_size=16, dropout=0.1, input_dropout=0.1, learning_rate=1e-2,
    evaluate_every=2, seed=6,
)  # fmt: skip


@pytest.fixture(scope="module")
def datasets(solo):
    return {solo.name: solo}


@pytest.fixture(scope="module")
def train(lone, datasets):
    """Two seeds on 70 samples in batches of 16: 5 steps an epoch, 40 in all, validated every 10."""
    return make_train(lone, CONFIG, datasets, jax.local_devices()[:1], checkpoint_every=17)


@pytest.fixture(scope="module")
def whole(train, tmp_path_factory):
    """A run that nobody disturbed."""
    directory = tmp_path_factory.mktemp("whole")
    return directory, train(directory).progress


def newest_state(directory, lone):
    with Checkpoints(directory, "latest") as checkpoints:
        return checkpoints.load(abstract_trees(Experiment(lone, CONFIG))[0])


def test_it_learns_and_logs_every_step(whole):
    directory, progress = whole
    rows = log.read(directory)
    steps = [row["step"] for row in rows if row["kind"] == "train"]
    assert steps == list(range(1, 41))
    validations = [row for row in rows if row["kind"] == "validation"]
    assert [row["step"] for row in validations] == [10, 20, 30, 40]
    losses = np.array([row["loss"] for row in rows if row["kind"] == "train"])
    assert losses.shape == (40, 2)
    assert (losses[-5:].mean(axis=0) < 0.9 * losses[:5].mean(axis=0)).all()
    assert (losses[:, 0] != losses[:, 1]).all()
    assert progress["step"] == 40
    scores = np.array([row["score"] for row in validations])
    assert progress["best_score"] == scores.max(axis=0).tolist()
    assert progress["best_step"] == (10 * (1 + scores.argmax(axis=0))).tolist()
    assert all(0 < mae < 3 for mae in validations[-1]["talks:score/mae"])


class KilledError(Exception):
    pass


@pytest.mark.parametrize("last", [17, 19, 20, 33])
def test_a_killed_run_resumes_bit_for_bit(train, whole, lone, tmp_path, last):
    """Stopped after `last` logged steps, between whatever checkpoints there were."""

    def stop(row):
        if row["step"] == last and row["kind"] == "train":
            raise KilledError

    with pytest.raises(KilledError):
        train(tmp_path, observe=stop)
    progress = train(tmp_path).progress
    assert progress == whole[1]
    assert log.read(tmp_path) == log.read(whole[0])
    jax.tree.map(
        np.testing.assert_array_equal, newest_state(tmp_path, lone), newest_state(whole[0], lone)
    )
    jax.tree.map(
        np.testing.assert_array_equal, load_trained(tmp_path).params, load_trained(whole[0]).params
    )


def test_a_finished_run_is_left_alone(train, whole):
    before = (whole[0] / "log.jsonl").read_bytes()
    assert train(whole[0]).progress == whole[1]
    assert (whole[0] / "log.jsonl").read_bytes() == before


def test_seeds_side_by_side_are_seeds_alone(lone, datasets, whole, tmp_path):
    alone = dataclasses.replace(CONFIG, seed=CONFIG.seed + 1, seeds=1)
    progress = make_train(lone, alone, datasets, jax.local_devices()[:1])(tmp_path).progress
    together = np.array([row["loss"][1] for row in log.read(whole[0]) if row["kind"] == "train"])
    losses = np.array([row["loss"][0] for row in log.read(tmp_path) if row["kind"] == "train"])
    np.testing.assert_allclose(losses, together, atol=1e-4)
    assert progress["best_score"][0] == pytest.approx(whole[1]["best_score"][1], abs=1e-3)


def test_each_seed_keeps_its_own_best(lone, datasets, whole):
    """What was selected scores what the log says of that step, seed by seed."""
    trained = load_trained(whole[0])
    validate = make_validate(lone, make_partition(datasets), jax.local_devices()[:1])
    _, scores = validate(trained.params, trained.constants, trained.structures)
    np.testing.assert_allclose(scores, whole[1]["best_score"], atol=1e-6)


def test_a_second_run_compiles_nothing(train, whole, tmp_path):
    with jax.log_compiles(), pytest.MonkeyPatch.context() as patch:
        compiled = []
        patch.setattr(
            "jax._src.compiler.backend_compile_and_load",
            lambda *a, **k: compiled.append(a) or pytest.fail("a second run compiled a program"),
        )
        train(tmp_path, seed=2)
    assert not compiled
    assert log.read(tmp_path)[0]["loss"] != log.read(whole[0])[0]["loss"]


def test_one_device_or_eight_give_the_same_to_1e_5(slim, pair):
    """With everything on that compares samples, views or modalities of a batch."""
    network = dataclasses.replace(slim, sharing="imputed")
    config = dataclasses.replace(CONFIG, **dict.fromkeys(OPTIONS, 0.2))
    fresh = jax.jit(lambda key: init_params(network, config, key))
    results = []
    for devices in (jax.local_devices()[:1], jax.local_devices()):
        block = make_block(network, config, total_steps=40, length=loop.BLOCK, devices=devices)
        member = init_state(network, config, fresh(jax.random.key(0)))
        settings = settings_from_config(config, network)
        stacked = stack((member, default_structure(network), settings), 1)
        arrays = [
            *stacked, stack(make_constants(network, {"talks": pair}), 1), np.zeros(1, np.int32),
            {"talks": device_split(pair.splits["train"])}, jax.random.key(1)[None],
        ]  # fmt: skip
        members, *others = parallel.replicate(arrays, devices)
        first, _ = block(members, *others, np.int32(1))
        _, losses = block(members, *others, np.int32(15))  # three epochs
        # Adam's first moment is a tenth of the clipped gradient.
        moments, _ = ravel_pytree(optax.tree.get(first.optimizer, "mu"))
        results.append(jax.device_get((moments, first.balance, losses)))
    assert len(devices) == 8
    (one, one_lead, one_losses), (eight, eight_lead, eight_losses) = results
    assert np.abs(one).max() > 1e-3
    assert (one_lead != 1).all()
    np.testing.assert_allclose(one, eight, atol=1e-5)
    np.testing.assert_allclose(one_lead, eight_lead, atol=1e-5)
    np.testing.assert_allclose(one_losses, eight_losses, atol=1e-5)
    assert (one_losses[:15] > 0).all()
    assert (one_losses[15:] == 0).all()


def test_the_state_holds_arrays_only(lone):
    state = abstract_trees(Experiment(lone, CONFIG))[0]
    for leaf in jax.tree.leaves(state):
        assert not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


@pytest.mark.parametrize("name", OTHERS)
def test_other_models_resume_and_spread(name, lone, datasets, tmp_path):
    """Stopped and resumed bit for bit; eight devices give what one does."""
    network = as_model(name, lone)
    config = dataclasses.replace(CONFIG, seeds=1, epochs=2, evaluate_every=1)
    runs = {
        count: make_train(network, config, datasets, jax.local_devices()[:count])
        for count in (1, 8)
    }
    whole = runs[1]()
    stopped = runs[1](tmp_path, stop=lambda: True)
    assert 0 < stopped.progress["step"] < whole.progress["step"]
    resumed = runs[1](tmp_path)
    jax.tree.map(np.testing.assert_array_equal, resumed.params, whole.params)
    spread = runs[8]()
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), spread.params, whole.params
    )


def test_early_stopping(lone, datasets, tmp_path):
    # Without averaging, whose rounding might look like progress.
    still = dataclasses.replace(CONFIG, learning_rate=1e-30, patience=1, ema=0.0)
    progress = make_train(lone, still, datasets, jax.local_devices()[:1])(tmp_path).progress
    assert progress["step"] < 40
    assert progress["stale"] == 1


def test_a_diverging_run_names_step_and_task(lone, datasets, solo, tmp_path):
    wild = dataclasses.replace(CONFIG, learning_rate=1e30)
    train = make_train(lone, wild, datasets, jax.local_devices()[:1], checkpoint_every=1)
    with pytest.raises(
        NonFiniteLossError, match=r"'talks:\w+' is (nan|inf) at step \d+ with seed 6 \(block of"
    ):
        train(tmp_path)
    # The last checkpoint is from before.
    saved = newest_state(tmp_path, lone)
    assert saved.step.tolist() == [log.read(tmp_path)[-1]["step"]] * 2


def test_another_configuration_does_not_resume(lone, datasets, whole):
    other = dataclasses.replace(CONFIG, dropout=0.5)
    with pytest.raises(InputError) as error:
        make_train(lone, other, datasets, jax.local_devices()[:1])(whole[0])
    assert "train.dropout: 0.1 there, 0.5 asked" in str(error.value)
    assert "--overwrite" in str(error.value)
    wider = dataclasses.replace(lone, width=16)
    with pytest.raises(InputError, match=r"network\.width: 8 there, 16 asked"):
        make_train(wider, CONFIG, datasets, jax.local_devices()[:1])(whole[0])


def test_a_batch_must_divide_over_devices(lone, datasets):
    odd = dataclasses.replace(CONFIG, batch_size=12)
    with pytest.raises(InputError, match="batch_size=12 does not divide over 8 devices"):
        make_train(lone, odd, datasets, jax.local_devices())


def test_batches_go_on_as_they_began(lone, datasets, tmp_path):
    """Sizes by temperature are multiples of the devices: 70 and 47 labels are 20 and 12, or 24 and
    8."""
    tasks = {name: lone.tasks[name] for name in ("talks:score", "talks:tags")}
    network = bare(lone, tasks=tasks)
    config = dataclasses.replace(CONFIG, seeds=1, epochs=1, sampling_temperature=1.0)
    begun = make_train(network, config, datasets, jax.local_devices()[:1], checkpoint_every=2)
    asked = iter([True])
    begun(tmp_path, stop=lambda: next(asked, True))
    with pytest.raises(InputError, match="resume on as many devices as before"):
        make_train(network, config, datasets, jax.local_devices())(tmp_path)


def test_a_split_that_is_not_there_is_named(lone, solo, whole):
    lacking = dataclasses.replace(solo, splits={"train": solo.splits["train"]})
    with pytest.raises(InputError, match="talks: split 'validation' is needed, but there is train"):
        make_train(lone, CONFIG, {"talks": lacking}, jax.local_devices()[:1])
    with pytest.raises(InputError, match="talks: split 'test' is needed, but there is train"):
        evaluate(load_trained(whole[0]), {"talks": lacking})


def test_tasks_in_another_order_are_another_run(lone, tmp_path):
    """Masks and queries are numbered by task."""
    saved = Experiment(lone, CONFIG).to_json()
    turned = dataclasses.replace(lone, tasks=dict(reversed(lone.tasks.items())))
    with pytest.raises(InputError, match=r"network.tasks: talks:score, .* there, talks:tags, "):
        check_same(tmp_path, saved, Experiment(turned, CONFIG))


def test_what_has_a_fingerprint_may_lie_elsewhere(lone, tmp_path):
    """Names and folders are compared only where an earlier version kept no fingerprint."""

    def experiment(origin, provenance="12 of bert", fingerprint="1"):
        data = {"talks": {"provenance": {"text": provenance}, "fingerprint": fingerprint}}
        return Experiment(lone, CONFIG, origin, data)

    begun = {"init_from": "runs/a", "step": [3], "fingerprint": "x"}
    saved = experiment(begun).to_json()
    moved = {**begun, "init_from": "../runs/a"}
    check_same(tmp_path, saved, experiment(moved, "12 of moved"))
    for other, words in (
        (experiment({**begun, "fingerprint": "y"}), "origin.fingerprint: x there, y asked"),
        (experiment(begun, fingerprint="2"), "data.talks.fingerprint: 1 there, 2 asked"),
    ):
        with pytest.raises(InputError, match=words):
            check_same(tmp_path, saved, other)
    del saved["origin"]["fingerprint"]
    check_same(tmp_path, saved, experiment(begun))
    with pytest.raises(InputError, match=r"origin.init_from: runs/a there, ../runs/a asked"):
        check_same(tmp_path, saved, experiment(moved))


def test_a_configuration_of_another_version():
    with pytest.raises(InputError, match="lacks or garbles 'network': another version"):
        experiment_from_json({"train": {}})


@pytest.mark.parametrize("part", ["network", "train", "origin", "data"])
@pytest.mark.parametrize("value", ["model", 7, None, ["x"]])
def test_a_configuration_of_other_types(lone, part, value):
    values = {**Experiment(lone, CONFIG).to_json(), part: value}
    with pytest.raises(InputError, match=r"another version of haemsa_jax wrote it|names no model"):
        experiment_from_json(values)


def test_a_look_leaves_a_save_in_progress_alone(whole):
    draft = whole[0] / "best" / "99.orbax-checkpoint-tmp-1"
    draft.mkdir()
    load_trained(whole[0])
    load_experiment(whole[0])
    assert draft.exists()
    # Whoever trains here again clears it away, in a thread of its own.
    deadline = time.monotonic() + 60
    with Checkpoints(whole[0], "best"):
        while draft.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
    assert not draft.exists()


def test_an_unwritable_directory(train, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write to the run directory"):
        train(tmp_path / "file" / "run")


def test_memory_of_devices_of_other_processes():
    """They cannot be asked."""

    class Device:
        def __init__(self, process: int, limit: int | None):
            self.process_index, self.limit = process, limit

        def memory_stats(self):
            if self.process_index:
                raise RuntimeError("INVALID_ARGUMENT: only supported for addressable devices")
            return self.limit and {"bytes_limit": self.limit}

    assert memory.memory_of([Device(0, 5), Device(0, 7), Device(1, 9)]) == 15
    assert memory.memory_of([Device(0, None), Device(1, None)]) > 1 << 30


def test_too_little_memory(lone, datasets, monkeypatch):
    monkeypatch.setattr(memory, "memory_of", lambda devices: 1 << 20)
    with pytest.raises(InputError, match="seeds and folds, 65536 in all, would take at least"):
        make_train(lone, TrainConfig(seeds=65_536), datasets)


def test_too_little_space(train, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(run_directory.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(InputError, match="1,000 bytes free"):
        train(tmp_path)


@pytest.mark.parametrize(
    ("error", "free", "raised", "words"),
    [
        (
            ValueError("[OS error 28: ENOSPC No space left on device]"),
            9999,
            InputError,
            "make room",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), 9999, InputError, "make room"),
        (RuntimeError("cannot write"), 1, InputError, "make room"),
        (ValueError("[OS error 13: EACCES Permission denied]"), 9999, InputError, "mend that"),
        (OSError(errno.EACCES, "Permission denied"), 9999, InputError, "mend that"),
        (ValueError("tree and metadata differ"), 9999, ValueError, "^tree and metadata differ"),
        (RuntimeError("deadlock"), 9999, RuntimeError, "^deadlock"),
    ],
)
def test_a_checkpoint_that_cannot_be_written(
    whole, tmp_path, monkeypatch, error, free, raised, words
):
    """Room is asked for where there is too little; a fault of the program stays what it is."""
    usage = type("Usage", (), {"free": free})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    experiment = load_trained(whole[0]).experiment
    with Checkpoints(tmp_path, "latest") as checkpoints:

        def save(*_, **__):
            raise error

        monkeypatch.setattr(checkpoints, "_checkpointer", SimpleNamespace(save=save, close=int))
        with pytest.raises(raised, match=words) as caught:
            checkpoints.save(1, {"x": np.zeros(3)}, experiment, {})
    assert ("make room" in str(caught.value)) == (words == "make room")


def test_no_checkpoint(tmp_path):
    with pytest.raises(InputError, match="holds no trained network"):
        load_trained(tmp_path)


def test_evaluation_reads_what_training_selected(whole, datasets, solo):
    trained = load_trained(whole[0])
    evaluated = evaluate(trained, datasets, "validation", jax.local_devices()[:2])
    rows = {row["step"]: row for row in log.read(whole[0]) if row["kind"] == "validation"}
    for task_id, task in evaluated.items():
        for name, values in task.metrics.items():
            for seed, best in enumerate(whole[1]["best_step"]):
                logged = rows[best][f"{task_id}/{name}"][seed]
                assert values[seed] == pytest.approx(logged, abs=1e-6)
    tags = evaluated["talks:tags"]
    assert len(tags.ids) == solo.splits["validation"].labelled["tags"].sum() == len(tags.truth)
    assert evaluated["talks:mood"].predictions.sum(-1) == pytest.approx(1.0)


def test_evaluation_refuses_other_data(whole, solo):
    trained = load_trained(whole[0])
    narrow = {m: x[..., :3] for m, x in solo.splits["test"].features.items()}
    split = dataclasses.replace(solo.splits["test"], features=narrow)
    other = dataclasses.replace(solo, widths={m: 3 for m in narrow}, splits={"test": split})
    with pytest.raises(InputError, match="the network was trained on"):
        evaluate(trained, {"talks": other})


def test_evaluation_refuses_another_division_into_splits(whole, solo):
    """Its test split may hold what the network was trained on."""
    trained = load_trained(whole[0])
    known = {"talks": {**trained.experiment.data["talks"], "partition": "a1"}}
    of_one = dataclasses.replace(
        trained, experiment=dataclasses.replace(trained.experiment, data=known)
    )
    with pytest.raises(
        InputError, match=r"another division into splits \(a1\) than is prepared \(b"
    ):
        evaluate(of_one, {"talks": dataclasses.replace(solo, partition="b2")})
    check_data(of_one.experiment, {"talks": dataclasses.replace(solo, partition="a1")})
    check_data(of_one.experiment, {"talks": solo})  # nobody says


def test_of_what_a_task_may_read_one_modality_stays(slim, pair):
    """Hidden at a rate of .9, with text alone open, shut by the genome or not built."""
    opened = default_structure(slim)
    gone = [f"modality/{m}" for m in slim.modalities if m != "text"]
    closed = shut(slim, opened, gone)
    built = specialised_config(slim, closed)
    config = dataclasses.replace(CONFIG, batch_size=70, modality_dropout=0.9)
    data = {name: jax.device_put(device_split(pair.splits["train"])) for name in slim.widths}
    settings, level = settings_from_config(config, slim), jnp.ones(len(slim.modalities))

    def seen(network, structure):
        batch = make_draw(network, config)(data, jax.random.key(0), jnp.int32(0))
        views = make_views(network, config)
        (hidden,) = views(
            "talks", batch.samples["talks"], batch.place["talks"], jax.random.key(1), structure,
            settings, level,
        )  # fmt: skip
        return {m: np.asarray(mask.any(-1)) for m, mask in hidden.masks.items()}

    for network, structure in ((slim, closed), (built, default_structure(built))):
        present = seen(network, structure)
        assert present["text"].sum() > 0.8 * len(present["text"])  # where it was recorded
        assert not present["audio"].any()
    assert 0.2 < seen(slim, opened)["audio"].mean() < 0.8


def test_a_structure_of_another_network_is_refused(lone, slim, datasets):
    start = Start(default_structure(slim), {}, {})
    with pytest.raises(InputError, match=r"of another network: it differs in .*links"):
        make_train(lone, CONFIG, datasets, jax.local_devices()[:1], start=start)


def test_metadata_is_plain_json(whole):
    with Checkpoints(whole[0], "best") as best:
        json.dumps(best.metadata())


# --- the pieces, by hand -------------------------------------------------------------------------


def test_schedule_by_hand():
    rate = lambda step: float(learning_rate(jnp.float32(2.0), jnp.int32(step), 100, 0.1))  # noqa: E731
    assert rate(0) == pytest.approx(0.2)
    assert rate(9) == pytest.approx(2.0)
    assert rate(55) == pytest.approx(1.0)
    assert rate(100) == pytest.approx(0.0, abs=1e-6)


def test_the_optimiser_is_adamw(lone):
    params = {"w": jnp.array([[1.0, -2.0], [3.0, 4.0]]), "b": jnp.array([0.5, 0.5])}
    config = dataclasses.replace(CONFIG, clip_norm=0.1)
    optimizer = make_optimizer(lone, config)
    reference = optax.chain(
        optax.clip_by_global_norm(0.1),
        optax.adamw(0.01, weight_decay=0.3, mask={"w": True, "b": False}),
    )
    ours, state = params, optimizer.init(params)
    expected, moments = params, reference.init(params)
    for step in range(5):
        grads = jax.tree.map(lambda p, k=step: jnp.sin(p * (k + 1)), expected)
        updates, state = optimizer.update(
            grads, state, ours, learning_rate=0.01, weight_decay=0.3, paces=None
        )
        ours = optax.apply_updates(ours, updates)
        updates, moments = reference.update(grads, moments, expected)
        expected = optax.apply_updates(expected, updates)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), ours, expected)


def test_averages_follow_closely_at_first():
    """Of the weights before the first step one part in ten stays, later what `ema` says."""
    old, new = {"w": jnp.array([1.0])}, {"w": jnp.array([2.0])}
    for step, keep in ((0, 0.1), (8, 0.5), (1000, 0.9)):
        averaged = moving_average(new, old, jnp.int32(step), 0.9)["w"]
        assert float(averaged[0]) == pytest.approx(keep * 1.0 + (1 - keep) * 2.0)


def test_constants_come_from_training_alone(pair, slim):
    constants = make_constants(slim, {"talks": pair})
    split = pair.splits["train"]
    tokens = split.features["audio"][split.masks["audio"]]
    np.testing.assert_allclose(constants["stem_talks_audio"]["mean"], tokens.mean(0), atol=1e-6)
    np.testing.assert_allclose(constants["stem_talks_audio"]["std"], tokens.std(0), rtol=1e-5)
    only = dataclasses.replace(pair, splits={"train": split})
    jax.tree.map(np.testing.assert_array_equal, constants, make_constants(slim, {"talks": only}))
    mood = np.exp(constants["head_talks-mood"]["offset"])
    counts = np.bincount(split.labels["mood"], minlength=3) + 1
    np.testing.assert_allclose(mood, counts / counts.sum(), rtol=1e-6)
