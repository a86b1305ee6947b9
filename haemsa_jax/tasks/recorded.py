"""What no task asks for and tables show all the same: figures of searches and of benchmarks."""

from haemsa_jax.tasks.metrics import Metric, register_metric

BENCHMARKS = {
    # Of benchmarks.starting.
    "first": "first process, CPU s",
    "second": "second process, CPU s",
    # Of benchmarks.inference.
    "p50": "median, ms",
    "p99": "99th percentile, ms",
}
# Of benchmarks.faults: what becomes of inputs.
FAULTS = "tried", "refused", "done", "tracebacks", "hangs", "lost"


def register_recorded() -> None:
    """Registers them, once."""
    # `TaskKind.score`, mean over tasks, and the share of the supernet that is active.
    register_metric(Metric("score", None, "score", unit=""))
    share = "share of parameters in use"
    register_metric(Metric("share", None, share, unit="", higher_is_better=False))
    for name in FAULTS:
        register_metric(Metric(name, None, name, unit="", counts=True))
    for name, display in BENCHMARKS.items():
        register_metric(Metric(name, None, display, unit="", higher_is_better=False))
