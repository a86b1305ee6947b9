"""The Python reference: what it names is documented, and what pages show is in it."""

import importlib
import inspect
import re
import types

import pytest
from launchers import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
REFERENCE = "\n".join(page.read_text() for page in (ROOT / "docs/api").glob("*.rst"))
MODULES = re.findall(r"automodule:: (\S+)", REFERENCE)
SHAPE = re.compile(r"(float|int|bool)\d*\[|\[[A-Z]\b")  # float[B, T, D], [N, C]


def public(module):
    """Names and values of a module: those of `__all__`, else what it defines itself."""
    names = getattr(module, "__all__", None) or [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]
    return {name: getattr(module, name) for name in names}


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_is_documented(name):
    module = importlib.import_module(name)
    assert module.__doc__
    for called, value in public(module).items():
        if callable(value):
            own = vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__
            # That of a dataclass without one is its signature.
            assert own and not own.startswith(f"{called}("), f"{name}.{called}"
        for method, member in vars(value).items() if inspect.isclass(value) else ():
            field = method in inspect.get_annotations(value)  # whose default is a function
            if isinstance(member, property | types.FunctionType) and not field | (method[0] == "_"):
                told = inspect.getdoc(getattr(value, method)) or f"{method}:" in own
                assert told, f"{name}.{called}.{method}"


@pytest.mark.parametrize("name", MODULES)
def test_functions_of_arrays_say_their_shapes(name):
    for called, value in public(importlib.import_module(name)).items():
        if inspect.isfunction(value):
            kinds = {k: str(v) for k, v in inspect.get_annotations(value).items()}
            # A key is none, trees have many shapes, and jaxtyping's kinds say theirs.
            arrays = [
                k for k, kind in kinds.items()
                if re.search(r"ndarray|\bArray\b", kind) and k not in ("key", "rng")
                and not re.search(r"(dict|Mapping|Float|Int|Bool|Shaped)\[", kind)
            ]  # fmt: skip
            assert not arrays or SHAPE.search(value.__doc__), f"{name}.{called}: {arrays}"


def test_what_pages_import_is_in_the_reference():
    text = "\n".join(page.read_text() for page in PAGES)
    imports = re.findall(r"^from (haemsa_\S+) import (.+)$", text, re.MULTILINE)
    assert len(imports) > 10
    for module, names in imports:
        known = public(importlib.import_module(module)) if module in MODULES else {}
        submodules = [name.removeprefix(f"{module}.") for name in MODULES]
        for name in names.split("  #")[0].split(", "):
            assert name in known or name in submodules, f"{module}.{name} is in no page of docs/api"
