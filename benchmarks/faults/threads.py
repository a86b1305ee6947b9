"""Many threads on one predictor."""

import threading
import time

import numpy as np

from benchmarks.faults.judging import Tally
from benchmarks.faults.smallest import WIDTH
from haemsa_jax.inference import Predictor


def run(threads: int, seconds: float, rng: np.random.Generator, predictor: Predictor) -> Tally:
    """So many threads predict words and sound for so long; each must hear what one alone hears."""
    tally, lock = Tally(f"{threads} threads"), threading.Lock()
    given = [
        {"text": " ".join(["good", "bad", "plot"][: 1 + k % 3]), "speaker": f"S{k % 2}"}
        | ({"audio": rng.normal(size=(1 + k % 4, WIDTH)).astype(np.float32)} if k % 2 else {})
        for k in range(12)
    ]
    expected = [predictor.predict(**one).to_json() for one in given]
    end = time.monotonic() + seconds

    def work(first: int) -> None:
        number = first
        while time.monotonic() < end:
            number = (number + 1) % len(given)
            try:
                same = predictor.predict(**given[number]).to_json() == expected[number]
            except Exception as error:
                with lock:
                    tally.tried += 1
                    tally.note("tracebacks", f"sample {number} @ {type(error).__name__}: {error}")
                continue
            with lock:
                tally.tried += 1
                if same:
                    tally.done += 1
                else:
                    tally.note("lost", f"sample {number} @ another prediction than alone")

    workers = [threading.Thread(target=work, args=(k,), daemon=True) for k in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=seconds + 120)
    for number, worker in enumerate(workers):
        if worker.is_alive():
            tally.note("hangs", f"thread {number} @ did not end")
    return tally
