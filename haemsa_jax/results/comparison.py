"""Whether a result came back: a new record beside the one in the store."""

from collections.abc import Iterator, Sequence
from statistics import fmean

from haemsa_jax.reporting.tables import Table, cell, deviation, heading
from haemsa_jax.results.record import Record

EXACT = 1e-6  # of a metric; what is exact on one machine may differ by rounding on another
WIDTH = 2.0  # standard deviations within which means of few seeds agree
SAME, WITHIN, AWAY, ABSENT = "the same", "within", "AWAY", "ABSENT"


def compare(kept: Record, new: Record, allowed: float = 0.0) -> Iterator[tuple[str, ...]]:
    """A row for each metric: table, row, metric, kept, new, verdict.

    Two means agree where they are within two standard deviations over seeds of either, or within
    what is allowed.

    Args:
      kept, new: records of one experiment.
      allowed: difference of a mean that says nothing, such as that of another seed.
    """
    for table, rows in kept.rows.items():
        for row, metrics in rows.items():
            for metric, values in metrics.items():
                others = new.rows.get(table, {}).get(row, {}).get(metric, ())
                verdict = _verdict(values, others, allowed)
                yield table, row, metric, cell(metric, values), cell(metric, others), verdict


def _verdict(kept: Sequence[float], new: Sequence[float], allowed: float) -> str:
    if not kept or not new:
        return SAME if not kept else ABSENT
    gap = abs(fmean(kept) - fmean(new))
    if gap <= EXACT:
        return SAME
    return WITHIN if gap <= max(allowed, WIDTH * max(deviation(kept), deviation(new))) else AWAY


def table(title: str, rows: Sequence[tuple[str, ...]]) -> Table:
    """Rows of `compare` for people."""
    shown = [[f"{t} {r}", heading(metric), *rest] for t, r, metric, *rest in rows]
    return Table(
        header=["", "metric", "kept", "now", ""], rows=shown, title=title, left=frozenset({0, 1, 4})
    )
