"""Both doors build the same wheel, the sdist holds what a build needs, and the wheel is small.

Kernels are compiled for the baseline alone, to keep this within a minute.
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

# Within a minute where it is fast: a slow processor takes five for either door.
pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def tools():
    """The back end, and whatever it says it would need besides itself, must be there."""
    for module in ("scikit_build_core", "Cython", "cython_cmake", "setuptools"):
        pytest.importorskip(module, reason=f"building needs {module}: pip install 'convkit[test]'")
    if not shutil.which("cmake") and not importlib.util.find_spec("cmake"):
        pytest.skip("building needs cmake, which only an isolated build fetches by itself")


def run(folder, *arguments, optimize="-O3"):
    environment = {**os.environ, "SKBUILD_CMAKE_DEFINE": f"CONVKIT_ISAS=baseline;CONVKIT_OPTIMIZE={optimize}"}
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
    """Built through setup.py, from the working tree; not for speed or size, for which the other one stands."""
    folder = tmp_path_factory.mktemp("setuptools")
    source = copy_of_source(folder / "source")
    run(source, "setup.py", "--quiet", "bdist_wheel", "--dist-dir", str(folder), optimize="-O1")
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
    """The baseline wheel, and the kernels of all the other variants as they are installed, compressed alike."""
    size = wheel.stat().st_size
    with zipfile.ZipFile(wheel) as archive:
        kernels = [Path(name) for name in archive.namelist() if "/baseline_f" in name]
    assert kernels
    for isa in set(convkit.config()["isas_built"]) & {"x86_v3", "x86_v4"}:  # others have no more than their own
        for kernel in kernels:
            folder = kernel.parent.name.replace("baseline", isa)
            spec = importlib.util.find_spec(f"convkit._kernels.{folder}.{kernel.name.split('.')[0]}")
            size += len(zlib.compress(Path(spec.origin).read_bytes()))
    for name in _cpu.own_kernels:
        size += len(zlib.compress(Path(importlib.util.find_spec(f"convkit._kernels.{name}").origin).read_bytes()))
    assert size < 7 * MEGABYTE


def test_one_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == convkit.__version__
    assert project["dependencies"] == [name for name in project["dependencies"] if name.startswith("numpy")]
