"""What HAEMSA is made of, by name: open to experts, operators and links from outside.

Each is a Linen module class with the attribute `config` (a `HaemsaConfig`). A class may have a
class variable `GENES`, a tuple of `Gene` whose names are relative to its place; what they choose
then comes as the keyword argument `choices`, a dict by that name. An operator with a module
`factor_MODALITY` for each modality says so by `FACTORS = True`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from haemsa_jax.errors import InputError


class Registry:
    """Module classes by name."""

    def __init__(self, what: str):
        self._what = what
        self._modules: dict[str, Any] = {}

    def register(self, name: str) -> Callable[[Any], Any]:
        """A decorator that makes a module class known.

        Raises:
          InputError: the name is taken, or has a character that separates names elsewhere.
        """

        def known(module):
            if self._modules.get(name, module) is not module:
                raise InputError(f"there is a {self._what} {name!r} already; choose another name")
            if not name.isidentifier():
                raise InputError(f"{self._what} {name!r}: a name is letters, digits and _")
            self._modules[name] = module
            return module

        return known

    def __getitem__(self, name: str) -> Any:
        if name not in self._modules:
            raise InputError(
                f"{self._what} {name!r} is unknown; choose from {', '.join(self._modules)}"
            )
        return self._modules[name]

    def __iter__(self):
        return iter(self._modules)


EXPERTS = Registry("local expert")
OPERATORS = Registry("fusion operator")
LINKS = Registry("kind of link")


def choices(module: Any, place: str, structure: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword argument `choices` of a module with genes of its own; none for others."""
    genes = getattr(module, "GENES", ())
    if not genes:
        return {}
    return {"choices": {gene.name: structure[f"{place}/{gene.name}"] for gene in genes}}
