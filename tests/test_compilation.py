"""Compiled programs are kept between processes, and nothing depends on it."""

import os

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.compilation_cache import compilation_cache

from haemsa_jax.errors import InputError
from launch import compilation


@pytest.fixture
def home(monkeypatch, tmp_path):
    """A user's cache directory, no variable of JAX's, and JAX's settings as they were after it."""
    names = "jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs"
    before = {name: getattr(jax.config, name) for name in names}
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.delenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    jax.config.update(names[0], None)
    compilation_cache.reset_cache()
    yield tmp_path
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def compiled(number):
    """Runs a program that no other test has."""
    jax.clear_caches()
    jax.jit(lambda x: x * number)(jnp.ones(3))


def kept(directory):
    return sorted(directory.rglob("jit__lambda*-cache"))


def test_kept_by_default_and_found_again(home):
    compilation.keep_programs(None)
    compiled(1.25)
    (first,) = kept(home / "haemsa_jax")
    written = first.stat().st_mtime_ns
    compiled(1.25)
    assert kept(home) == [first] and first.stat().st_mtime_ns == written


def test_what_is_damaged_is_compiled_and_kept_anew(home, recwarn):
    compilation.keep_programs(None)
    compiled(1.5)
    (first,) = kept(home)
    whole = first.read_bytes()
    first.write_bytes(whole[: len(whole) // 2])
    compiled(1.5)
    assert len(first.read_bytes()) >= len(whole) - 16  # it tells how long compiling took
    assert not recwarn.list


def test_a_directory_or_none_on_demand(home, monkeypatch):
    compilation.keep_programs(str(home / "mine"))
    assert os.path.dirname(jax.config.jax_compilation_cache_dir) == str(home / "mine")
    compilation.keep_programs(compilation.OFF)
    assert jax.config.jax_compilation_cache_dir is None
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(home / "jaxs"))
    compilation.keep_programs(None)
    assert jax.config.jax_compilation_cache_dir == str(home / "jaxs")


def test_goes_on_where_nothing_can_be_kept(home, monkeypatch):
    (home / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "file"))
    compilation.keep_programs(None)
    assert jax.config.jax_compilation_cache_dir is None
    with pytest.raises(InputError, match=r"--compilation_cache=.*name a directory, or off"):
        compilation.keep_programs(str(home / "file"))


def test_what_was_used_last_is_kept(home, monkeypatch):
    for age, name in enumerate(("new", "old", "older")):
        (home / name).write_bytes(bytes(10))
        os.utime(home / name, (1e9 - age, 1e9 - age))
    monkeypatch.setattr(compilation, "LARGEST", 20)
    compilation._forget_oldest(home)
    assert {path.name for path in home.iterdir()} == {"new", "old"}
