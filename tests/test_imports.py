"""The library needs only its own packages, and the arrows between its parts point one way."""

import ast
import subprocess

from conftest import ROOT

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
        "import haemsa_jax, haemsa_jax.training.loop, haemsa_jax.training.evaluation\n"
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
        "models": ("training", "data", "text", "evolution", "reporting"),
        "data": ("models", "text", "training", "evolution", "reporting"),
        "text": ("training", "evolution", "reporting"),
        "training": ("text", "evolution", "reporting"),
        "evolution": ("reporting",),
    }
    for folder, others in forbidden.items():
        for path in (ROOT / "haemsa_jax" / folder).glob("*.py"):
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


def test_requirements_agree_with_the_package():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = set((ROOT / "requirements.txt").read_text().splitlines())
    assert set(project["dependencies"]) <= listed
