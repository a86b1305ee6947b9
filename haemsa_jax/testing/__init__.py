"""Checks of a model or a task kind of one's own: what the library relies on, one call each.

They raise an AssertionError that names what does not hold, and belong in a test.
"""

from haemsa_jax.testing.kinds import check_kind
from haemsa_jax.testing.models import check_model

__all__ = ["check_kind", "check_model"]
