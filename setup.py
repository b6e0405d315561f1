"""A door for tools that speak setuptools: builds the CMake project that `pip install .` builds.

`pip` itself goes through pyproject.toml and never runs this file.
"""

# Imported for its effect: without it setuptools would, silently, make a wheel without kernels.
import scikit_build_core.setuptools.build_cmake  # noqa: F401
from setuptools import find_packages, setup

setup(
    package_dir={"": "src"},
    packages=find_packages("src"),
    package_data={"convkit": ["py.typed"], "convkit.data": ["*.csv.gz"]},
    include_package_data=False,
)
