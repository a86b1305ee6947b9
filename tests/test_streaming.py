"""Data sets larger than the device: the same results piece by piece."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from haemsa_jax.config import TrainConfig
from haemsa_jax.data.batches import device_split, gather, piece
from haemsa_jax.errors import InputError
from haemsa_jax.training.engine import loop, streaming
from haemsa_jax.training.engine.loop import make_train
from haemsa_jax.training.engine.streaming import Feed
from haemsa_jax.training.measurement.evaluation import evaluate
from haemsa_jax.training.persistence import log
from haemsa_jax.training.persistence.trained import load_trained

CONFIG = TrainConfig(seeds=2, epochs=1, batch_size=2, learning_rate=1e-2, dropout=0.1)
ONE = jax.local_devices()[:1]


@pytest.mark.parametrize(("past", "future"), [(0, 0), (2, 1)])
def test_a_piece_has_what_its_samples_see(talks, past, future):
    split = device_split(talks.splits["train"])
    rng = np.random.default_rng(0)
    see = jax.jit(lambda split, row: gather(split, row, jnp.int32(0), past, future))
    for _ in range(5):
        places = {name: rng.choice(len(rows), 4) for name, rows in split.rows.items()}
        cut = piece(split, places, past, future, capacity=12 * (past + 1 + future))
        assert len(cut.group) == 12 * (past + 1 + future)
        for name, mine in places.items():
            for place in mine:
                row, there = split.rows[name][place], cut.rows[name][place]
                assert cut.labels[name][there].tolist() == split.labels[name][row].tolist()
                seen, expected = see(cut, there), see(split, row)
                for modality, mask in expected.masks.items():
                    np.testing.assert_array_equal(seen.masks[modality], mask)
                    np.testing.assert_array_equal(
                        seen.features[modality][mask], expected.features[modality][mask]
                    )


@pytest.fixture
def small_pieces(monkeypatch):
    """Three steps in a block and eight rows in an evaluation, so that nothing fits in one piece."""
    monkeypatch.setattr(loop, "BLOCK", 3)
    monkeypatch.setattr(streaming, "ROWS", 8)


def test_streamed_or_resident_it_is_the_same(solo, lone, small_pieces, tmp_path):
    data = {"talks": solo}
    results = {}
    for name, resident in (("whole", 1 << 30), ("pieces", 0)):
        train = make_train(lone, CONFIG, data, ONE, checkpoint_every=10, resident=resident)
        train(tmp_path / name)
        trained = load_trained(tmp_path / name)
        told = evaluate(trained, data, "test", ONE, resident=resident)
        results[name] = trained.params, log.read(tmp_path / name), told
    (params, rows, told), (params2, rows2, told2) = results.values()
    for row in (*rows, *rows2):  # the step up to which a block went, which is shorter in pieces
        row.pop("done", None)
    assert rows == rows2
    jax.tree.map(np.testing.assert_array_equal, params, params2)
    for task_id in told:
        np.testing.assert_array_equal(told[task_id].predictions, told2[task_id].predictions)


def test_a_feed_goes_on_anywhere(solo, lone, small_pieces):
    """What a block reads is a function of its steps."""
    data = {"talks": device_split(solo.splits["train"])}
    sizes = dict.fromkeys(lone.tasks, 2)
    feed = Feed(lone, data, sizes, 1, 3, ONE, resident=0)
    assert feed.length == 1
    spans = [(0, 1), (1, 2), (2, 3), (3, 4)]
    whole = list(feed([5], spans))
    later = list(feed([5], spans[2:]))
    jax.tree.map(np.testing.assert_array_equal, whole[2:], later)
    size = len(data["talks"].group)
    assert all(len(one["talks"].group) < size for one in whole)
    assert not np.array_equal(
        whole[0]["talks"].features["text"], whole[1]["talks"].features["text"]
    )


def test_without_grain_it_says_so(solo, lone, monkeypatch):
    monkeypatch.setitem(sys.modules, "grain", None)
    data = {"talks": device_split(solo.splits["train"])}
    feed = Feed(lone, data, dict.fromkeys(lone.tasks, 2), 1, 3, ONE, resident=0)
    with pytest.raises(InputError, match="raise --resident_mib"):
        next(feed([0], [(0, 3)]))


def test_no_more_than_a_piece_is_on_the_device(solo, lone):
    """Of splits over the limit; others are there whole, and once."""
    data = {"talks": device_split(solo.splits["train"])}
    limit = sum(x.nbytes for x in data["talks"].features.values())
    sizes = dict.fromkeys(lone.tasks, 1)
    assert not Feed(lone, data, sizes, 1, 1, ONE, resident=limit).streamed
    feed = Feed(lone, data, sizes, 1, 1, ONE, resident=limit - 1)
    assert feed.streamed == ["talks"] and not feed.whole
    (one,) = feed([0], [(4, 5)])
    assert len(one["talks"].group) == 3 * 3  # tasks by window


def test_pieces_are_cut_to_what_may_be_resident(solo, lone, monkeypatch):
    """Steps of a block, and samples of an evaluation, go down with it; the answers stay."""
    split = device_split(solo.splits["train"])
    row = sum(x.nbytes for x in split.features.values()) // len(split.group)
    sizes, a_step = dict.fromkeys(lone.tasks, 1), 3 * 3
    for seeds, resident, length in ((1, 4 * a_step, 2), (2, 4 * a_step, 1), (2, 0, 1)):
        feed = Feed(lone, {"talks": split}, sizes, seeds, 50, ONE, resident=resident * row)
        assert feed.length == length
        (one,) = feed(range(seeds), [(0, 1)])
        assert len(one["talks"].group) == length * seeds * a_step
    monkeypatch.setattr(streaming, "ROUND", 1)
    rows = split.rows["score"][:20]
    pieces = []

    def predict(params, constants, structures, there, task_id, rows):
        pieces.append(len(there.group))
        values = there.labels["score"][np.asarray(rows)]
        return {"prediction": np.asarray(values)[None]}

    for within, count in ((len(split.group), 1), (12, 2), (6, 4), (0, 20)):
        pieces.clear()
        asked = streaming.on_split(predict, lone, split, "talks", ONE, 2 * within * row)
        said = asked(None, None, None, "talks:score", rows)["prediction"]
        assert said[0].tolist() == split.labels["score"][rows].tolist()
        assert len(set(pieces)) == 1 and pieces[0] <= max(within, 3)
        # Neighbours are shared by most samples: as many pieces as that, and hardly more.
        assert count <= len(pieces) <= 2 * count
