"""Strict surroundings for every test: eight CPU devices, reused keys are errors, fixed data."""

import gc
import os
from pathlib import Path

import jaxlib.version

# Before jax starts.
# Quick to compile rather than quick to run.
os.environ["XLA_FLAGS"] = (
    "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0 "
    "--xla_cpu_parallel_codegen_split_count=1 --xla_cpu_opt_preset=fast_compile"
)
# XLA's newer emitters take half of the time; later versions have no others, and end at the flag.
if jaxlib.version.__version_info__ < (0, 11):
    os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"

import jax
import numpy as np
import pytest

from launch.compilation import AGREED, keep_programs

# Programs compiled once serve all workers, the launchers that tests start, and the next time.
if AGREED not in os.environ:
    keep_programs(str(Path(__file__).parents[1] / ".pytest_cache" / "compiled"))
    os.environ[AGREED] = jax.config.jax_compilation_cache_dir

# Fixtures by subject; imported once jax is set up.
pytest_plugins = ("samples", "networks", "launchers")

jax.config.update("jax_debug_key_reuse", True)
# As launchers do: tracing makes millions of small objects that stay.
gc.set_threshold(100_000, 50, 1000)

# By the time they take: begun late, they would be waited for by a worker that has nothing to do.
LONGEST = (
    "specialise", "launch_evolve", "launch", "processes", "training", "examples", "haemsa_search",
    "text_training", "launch_words", "predictor", "streaming",
)  # fmt: skip


def pytest_collection_modifyitems(items):
    """The longest files first."""
    order = {f"test_{name}.py": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


@pytest.fixture(autouse=True, scope="module")
def forget():
    """A process may map so many regions of memory; all compiled programs of all tests are more."""
    yield
    jax.clear_caches()


def assert_same_structure(table, left, right):
    """What masks and choices of all genomes say; their numbers may be rounded otherwise."""
    np.testing.assert_allclose(left.genomes, right.genomes, rtol=1e-5, atol=1e-6)
    scales = {gene.name for gene in table.genes if gene.kind == "scale"}
    for one, other in zip(*(h.genomes.reshape(-1, table.size) for h in (left, right)), strict=True):
        said, expected = table.to_json(one), table.to_json(other)
        assert all(said[name] == expected[name] for name in said.keys() - scales)
