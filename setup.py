"""Packages whose folders are called otherwise; everything else is in pyproject.toml.

Setuptools finds packages by the names of their folders, and `launch` has another where it is
installed.
"""

from setuptools import find_namespace_packages, setup

setup(
    packages=[
        *find_namespace_packages(include=["haemsa_jax*"]),
        *find_namespace_packages("datasets", include=["haemsa_datasets*"]),
        "haemsa_launch",
    ],
    package_dir={"haemsa_datasets": "datasets/haemsa_datasets", "haemsa_launch": "launch"},
)
