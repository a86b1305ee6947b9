"""How benchmarks measure time."""

import statistics
import time
from collections.abc import Callable

REPEATS = 5


def median_seconds(call: Callable[[], object]) -> float:
    """Median wall time of `call`, which must wait for its result; one warm-up."""
    call()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)
