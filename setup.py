"""The packages: all that are found, and bundles/ in the place of one. Everything else is in pyproject.toml."""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["monai_ima*"]), "monai_ima.bundles"])
