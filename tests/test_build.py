"""Both doors build the same wheel, the sdist holds what a build needs, and the wheel is small.

They build one kernel, for the baseline, to keep this within a minute: that all compile, what they compute, and how
large they are, is tested where they are installed.
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
KERNELS = ROOT / "src/convkit/_kernels"
MEGABYTE = 10**6
KERNEL = "softmax"

# By one worker, which builds once for all of them.
pytestmark = [pytest.mark.timeout(1800), pytest.mark.xdist_group("build")]


@pytest.fixture(scope="module")
def tools():
    """The back end, and whatever it says it would need besides itself, must be there."""
    for module in ("scikit_build_core", "Cython", "cython_cmake", "setuptools"):
        pytest.importorskip(module, reason=f"building needs {module}: pip install 'convkit[test]'")
    if not shutil.which("cmake") and not importlib.util.find_spec("cmake"):
        pytest.skip("building needs cmake, which only an isolated build fetches by itself")


def run(folder, *arguments):
    environment = {**os.environ, "SKBUILD_CMAKE_DEFINE": f"CONVKIT_ISAS=baseline;CONVKIT_KERNELS={KERNEL}"}
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
    compiled = {name.removeprefix("convkit/_kernels/").split(".")[0] for name in names if name.endswith(".so")}
    beside = {"_cyutility", *(path.stem for path in KERNELS.glob("_*.pyx"))}
    assert compiled == {f"baseline_f32/{KERNEL}", f"baseline_f64/{KERNEL}", *beside}
    assert not [name for name in names if name.endswith((".pyx", ".pxd", ".h", ".c", ".txt"))]


def test_every_kernel_is_in_the_registry():
    """All of which CMake builds, if not told otherwise."""
    own = {name.split(".")[1] for name in _cpu.own_kernels}
    assert {*_cpu.kernels, *own} == {path.stem for path in KERNELS.glob("[!_]*.pyx")}


def test_sdist_holds_the_source(sdist):
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    source = sdist.parent / "source"
    assert {str(path.relative_to(source)) for path in (source / "src").rglob("*") if path.is_file()} <= names
    assert {"pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"} <= names


def test_wheel_of_every_variant_is_under_seven_megabytes(wheel):
    """The wheel, and the other kernels of every variant, as they are installed, compressed alike."""
    # Other instruction sets have no more than kernels of their own.
    variants = set(convkit.config()["isas_built"]) & {"baseline", "x86_v3", "x86_v4"}
    size = wheel.stat().st_size
    installed = {f"{isa}_f{bits}.{kernel}" for isa in variants for bits in (32, 64) for kernel in _cpu.kernels}
    for name in {*installed, *_cpu.own_kernels} - {f"baseline_f32.{KERNEL}", f"baseline_f64.{KERNEL}"}:
        size += len(zlib.compress(Path(importlib.util.find_spec(f"convkit._kernels.{name}").origin).read_bytes()))
    assert size < 7 * MEGABYTE


def test_one_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == convkit.__version__
    assert project["dependencies"] == [name for name in project["dependencies"] if name.startswith("numpy")]
