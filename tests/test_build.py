"""Both doors build the same wheel, the sdist holds what a build needs, and the wheel is small.

Kernels are compiled for the baseline alone and with little optimisation, to keep this within a few minutes: what they
compute, and how large they are, is tested where they are installed.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
import zlib
from pathlib import Path

import pytest

import convkit
from convkit._kernels import _cpu

ROOT = Path(__file__).parents[1]
MEGABYTE = 10**6

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def tools():
    """The back end, and whatever it says it would need besides itself, must be there."""
    for module in ("scikit_build_core", "Cython", "cython_cmake", "setuptools"):
        pytest.importorskip(module, reason=f"building needs {module}: pip install 'convkit[test]'")
    if not shutil.which("cmake") and not importlib.util.find_spec("cmake"):
        pytest.skip("building needs cmake, which only an isolated build fetches by itself")


def run(folder, *arguments):
    environment = {**os.environ, "SKBUILD_CMAKE_DEFINE": "CONVKIT_ISAS=baseline;CONVKIT_OPTIMIZE=-O1"}
    done = subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{arguments}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


def copy_of_source(folder):
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.so")
    shutil.copytree(ROOT / "src", folder / "src", ignore=ignored)
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, folder)
    return folder


@pytest.fixture(scope="module")
def sdist(tools, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sdist")
    source = copy_of_source(folder / "source")
    code = "import sys; from scikit_build_core import build; build.build_sdist(sys.argv[1])"
    run(source, "-c", code, str(folder))
    (archive,) = folder.glob("*.tar.gz")
    return archive


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory):
    """Built through pyproject.toml, from nothing but the sdist."""
    folder = tmp_path_factory.mktemp("wheel")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (source,) = folder.iterdir()
    code = "import sys; from scikit_build_core import build; build.build_wheel(sys.argv[1])"
    run(source, "-c", code, str(folder))
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def setuptools_wheel(tools, tmp_path_factory):
    """Built through setup.py, from the working tree."""
    folder = tmp_path_factory.mktemp("setuptools")
    source = copy_of_source(folder / "source")
    run(source, "setup.py", "--quiet", "bdist_wheel", "--dist-dir", str(folder))
    (built,) = folder.glob("*.whl")
    return built


def contents(wheel):
    """Names of a wheel's files, less the metadata that each builder words in its own way."""
    with zipfile.ZipFile(wheel) as archive:
        return {file.filename for file in archive.infolist() if ".dist-info/" not in file.filename}


def test_both_doors_build_the_same_wheel(wheel, setuptools_wheel):
    assert wheel.name == setuptools_wheel.name
    assert contents(wheel) == contents(setuptools_wheel)


def test_wheel_holds_the_package(wheel):
    names = contents(wheel)
    modules = {f"convkit/{path.relative_to(ROOT / 'src/convkit')}" for path in (ROOT / "src").rglob("*.py")}
    assert modules <= names
    assert "convkit/py.typed" in names
    kernels = {name.split("/")[3].split(".")[0] for name in names if name.startswith("convkit/_kernels/baseline_f32/")}
    own = {name.split(".")[1] for name in _cpu.own_kernels}  # of one variant that is not this one
    assert kernels == {path.stem for path in (ROOT / "src/convkit/_kernels").glob("[!_]*.pyx")} - own
    assert not [name for name in names if name.endswith((".pyx", ".pxd", ".h", ".c", ".txt"))]


def test_sdist_holds_the_source(sdist):
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for path in (ROOT / "src").rglob("*"):
        if path.suffix in (".py", ".pyx", ".pxd", ".h", ".typed", ".gz") or path.name == "CMakeLists.txt":
            assert str(path.relative_to(ROOT)) in names
    assert {"pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"} <= names


def test_wheel_of_every_variant_is_under_seven_megabytes(wheel):
    """The wheel, with the kernels of every variant, as they are installed, in place of its own, compressed alike."""
    with zipfile.ZipFile(wheel) as archive:
        kernels = {file.filename: file.compress_size for file in archive.infolist() if "/baseline_f" in file.filename}
    names = {name.rpartition("/_kernels/")[2].split(".")[0].replace("/", ".") for name in kernels}
    assert names
    # Other instruction sets have no more than kernels of their own.
    variants = set(convkit.config()["isas_built"]) & {"baseline", "x86_v3", "x86_v4"}
    installed = {name.replace("baseline", isa) for name in names for isa in variants} | {*_cpu.own_kernels}
    size = wheel.stat().st_size - sum(kernels.values())
    for name in installed:
        size += len(zlib.compress(Path(importlib.util.find_spec(f"convkit._kernels.{name}").origin).read_bytes()))
    assert size < 7 * MEGABYTE


def test_one_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == convkit.__version__
    assert project["dependencies"] == [name for name in project["dependencies"] if name.startswith("numpy")]
