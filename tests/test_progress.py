"""What the bar says while a long block of steps runs."""

from haemsa_jax.reporting.progress import TrainingBar


def test_a_block_that_is_done_is_shown_at_once(capfd):
    """Rows come in bursts: nothing after the first may have to wait for the next block."""
    with TrainingBar() as bar:
        for step in range(1, 41):
            bar({"kind": "train", "step": step, "done": 40, "total": 120, "loss": [0.5]})
        assert "40/120" in capfd.readouterr().err
        bar({"kind": "validation", "step": 40, "score": [0.1], "talks:score/mae": [0.25]})
        assert "talks:score/mae=0.250" in capfd.readouterr().err
