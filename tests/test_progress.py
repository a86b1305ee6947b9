"""What the bar says while a long block of steps runs."""

import re
import time

from haemsa_jax.reporting.progress import SearchBar, TrainingBar, plan


def test_a_block_that_is_done_is_shown_at_once(capfd):
    """Rows come in bursts: nothing after the first may have to wait for the next block."""
    with TrainingBar() as bar:
        for step in range(1, 41):
            bar({"kind": "train", "step": step, "done": 40, "total": 120, "loss": [0.5]})
        assert "40/120" in capfd.readouterr().err
        bar({"kind": "validation", "step": 40, "score": [0.1], "talks:score/mae": [0.25]})
        assert "talks:score/mae=0.250" in capfd.readouterr().err


def test_the_time_left_leaves_out_what_is_compiled_after_the_first_block(capfd):
    with TrainingBar() as bar:
        for done, seconds in ((10, 0.5), (20, 0.05), (30, 0)):
            bar({"kind": "train", "step": done, "done": done, "total": 130, "loss": [0.5]})
            time.sleep(seconds)
        left = re.search(r"about (\d+) s to go", capfd.readouterr().err)
        assert left and int(left[1]) < 3  # 6 s by the first two blocks


def test_one_epoch_is_no_plural():
    row = {"networks": 1, "step": 0, "samples": {"d:a": 9}, "total": 3, "batch_size": 4}
    assert ": 1 epoch, 3 steps" in plan({**row, "epochs": 1})


def test_a_search_tells_its_time_and_moves_within_a_round(capfd):
    row = {
        "generation": 0, "rate": float("nan"), "steps": 0, "of_steps": 400, "seconds": 130.0,
        "beside_seconds": 70.0, "next_steps": 100, "next_seconds": 0.2,
    }  # fmt: skip
    with SearchBar("GenomicGA", 5, every=0.05) as bar:
        time.sleep(0.15)
        assert "GenomicGA: compiling" in capfd.readouterr().err
        bar(row)
        first = capfd.readouterr().err
        assert "about 2 min to go, then 70 s of random search (--noyardstick omits it)" in first
        time.sleep(0.4)
        assert "99/400" in capfd.readouterr().err  # the round itself has not said that it ended
        known = {"best": 0.5, "median": 0.6, "diverged": 0, "rate": 9.0}
        bar({**row, **known, "generation": 1, "steps": 100, "next_steps": 200, "next_seconds": 99})
        assert "100/400" in capfd.readouterr().err and bar.bar.n == 100
