"""The one way in which a configuration refuses a value."""

from haemsa_jax.errors import InputError


def require(holds: bool, message: str) -> None:
    """An `InputError` with the message unless it holds."""
    if not holds:
        raise InputError(message)
