"""The library needs only its own packages, and the arrows between its parts point one way."""

import ast
import re
import subprocess
import sys
import tomllib

import pytest
from launchers import ROOT

HEAVY = (
    "tensorflow",
    "tensorflow_datasets",
    "matplotlib",
    "h5py",
    "tensorboardX",
    "haemsa_datasets",
    "tokenizers",
    "safetensors",
)


def test_the_library_imports_without_data_packages(environment):
    code = (
        "import sys\n"
        f"for name in {HEAVY!r}: sys.modules[name] = None\n"
        "import haemsa_jax, haemsa_jax.training.engine.loop\n"
        "import haemsa_jax.training.measurement.evaluation\n"
        "import haemsa_jax.evolution\n"
    )
    command = [environment["PYTHON"], "-W", "error", "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_arrows_point_one_way():
    forbidden = {
        "tasks": ("models", "data", "encoders", "training", "evolution", "inference", "reporting"),
        "models": ("training", "data", "encoders.text", "evolution", "reporting"),
        "data": ("models", "encoders", "training", "evolution", "reporting"),
        "encoders": ("training", "evolution", "inference", "reporting"),
        "training": ("encoders.text", "evolution", "reporting"),
        "evolution": ("reporting",),
    }
    for folder, others in forbidden.items():
        for path in (ROOT / "haemsa_jax" / folder).rglob("*.py"):
            for name in imports(path):
                for other in others:
                    assert not name.startswith(f"haemsa_jax.{other}"), f"{path} imports {name}"


def test_only_one_file_knows_pmap():
    knowing = [
        path.name
        for folder in ("haemsa_jax", "launch", "datasets")
        for path in (ROOT / folder).rglob("*.py")
        if any(
            isinstance(node, ast.Attribute) and node.attr == "pmap"
            for node in ast.walk(ast.parse(path.read_text()))
        )
    ]
    assert knowing == ["parallel.py"]


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Packages by what is imported, where the names differ.
PACKAGES = {
    "absl": "absl-py", "jaxlib": "jax", "orbax": "orbax-checkpoint", "sklearn": "scikit-learn",
    "tensorflow_datasets": "tensorflow-datasets",
}  # fmt: skip


def requirements(extra: str) -> set[str]:
    """Of an extra, with those of the extras that it names."""
    listed = set()
    for line in PROJECT["optional-dependencies"][extra]:
        others = re.fullmatch(r"haemsa-jax\[(.*)\]", line)
        listed |= set().union(*map(requirements, others[1].split(","))) if others else {line}
    return listed


def test_requirements_agree_with_the_package():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    listed = {line for line in lines if not line.startswith("#")}
    assert set(PROJECT["dependencies"]) | requirements("dev") == listed


@pytest.mark.parametrize(
    ("extra", "folder", "pattern"),
    [
        ("", "haemsa_jax", "*"),
        ("text", "haemsa_jax/encoders", "**/*.py"),
        ("report", "haemsa_jax/reporting", "*.py"),
        ("export", "haemsa_jax/inference", "export.py"),
        ("data", "datasets/haemsa_datasets", "**/*.py"),
        ("launch", "launch", "*.py"),
    ],
)
def test_an_extra_has_what_its_modules_import(extra, folder, pattern):
    """Without an extra, what `import haemsa_jax` and its core reach; imports in functions aside."""
    optional = ("reporting", "export.py", "standalone.py")
    if extra:
        paths = list((ROOT / folder).glob(pattern))
    else:
        every = (ROOT / folder).rglob("*.py")
        paths = [path for path in every if not {path.name, path.parent.name} & {*optional}]
    assert paths
    lines = {*PROJECT["dependencies"], *(requirements(extra) if extra else ())}
    available = {re.match(r"[\w-]+", line)[0] for line in lines}
    for path in paths:
        tree = ast.parse(path.read_text())
        # What reads published encoders is imported where it is used.
        for node in ast.walk(tree) if extra == "text" else tree.body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            for name in (name.partition(".")[0] for name in names):
                known = name in sys.stdlib_module_names or name.startswith("haemsa_")
                assert known or PACKAGES.get(name, name) in available, (path, name)
