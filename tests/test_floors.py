"""The house: imports run down, `import convkit` is light, public names explain themselves, variants are alike."""

import ast
import doctest
import importlib
import inspect
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
from cases import DTYPES, run_python

import convkit
from convkit import _dispatch, ops
from convkit._kernels import _cpu

SOURCE = Path(__file__).parents[1] / "src" / "convkit"
FILES = sorted(path for path in SOURCE.rglob("*.py") if path.name != "__init__.py" or path.parent != SOURCE)

# From the ground up. A module imports only floors below its own; those of one line do not know each other.
FLOORS = [
    ["_kernels"],
    ["_dispatch", "_fusion", "_memory", "_precision", "_shapes", "_threads"],
    ["_config"],
    ["ops"],
    ["autograd", "filters"],
    ["functional"],
    ["nn", "optim", "data"],
    ["models"],
    ["train", "bench"],
    ["inference"],
    ["cli"],
    ["__main__"],
]
HEIGHT = {name: height for height, names in enumerate(FLOORS) for name in names}
LEAVES = {"_random", "_extras", "_files", "_errors"}  # these import nothing of convkit, and anyone imports them


def module_name(path):
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path):
    """Names of modules, as far as the syntax tells, that a file imports anywhere in it."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = [*base, *(node.module or "").split(".")] if node.module else base
            yield from (".".join([*origin, alias.name]) for alias in node.names)


def allowed(module, name):
    """Whether one module of convkit may import another, or a name of it."""
    root, target, *_ = [*name.split("."), ""]
    floor = module.split(".")[1]
    if root != "convkit" or name == "convkit.__version__" or target in LEAVES or target == floor:
        return True
    return floor not in LEAVES and HEIGHT.get(target, len(FLOORS)) < HEIGHT[floor]


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports_run_down(path):
    module = module_name(path)
    floor = module.split(".")[1]
    assert floor in HEIGHT or floor in LEAVES, f"{floor} stands on no floor: give it a place in FLOORS"
    assert [name for name in imported(path) if not allowed(module, name)] == []


def test_imports_that_run_up_are_seen(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "SOURCE", tmp_path / "convkit")
    path = tmp_path / "convkit" / "nn" / "conv.py"
    path.parent.mkdir(parents=True)
    path.write_text(
        "import numpy, convkit\n"
        "from .. import functional, train\n"
        "from ..autograd import Tensor\n"
        "from . import module\n"
        "from .module import Module\n"
        "from .._random import generator\n"
        "def later():\n"
        "    from convkit.optim.sgd import SGD\n"
        "    import convkit.models\n"
    )
    found = {name for name in imported(path) if not allowed(module_name(path), name)}
    assert found == {"convkit", "convkit.train", "convkit.optim.sgd.SGD", "convkit.models"}


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.p[yx][xd]")), ids=lambda path: path.name)
def test_kernels_import_kernels_alone(path):
    lines = re.findall(r"^\s*(?:from|c?import)\s+(\S+)", path.read_text(), re.MULTILINE)
    for name in lines:
        assert not name.startswith(".."), f"{path.name} imports {name}"
        assert not re.match(r"convkit(?!\._kernels\b)", name), f"{path.name} imports {name}"


def test_import_needs_numpy_alone():
    code = (
        "import json, sys, numpy\n"
        "before = set(sys.modules)\n"
        "import convkit\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in set(sys.modules) - before})))\n"
    )
    news = set(json.loads(run_python("-c", code)))
    cythons_own = {name for name in news if re.match(r"_?cython|_cyutility", name)}
    standard = set(json.loads(run_python("-c", "import json, sys; print(json.dumps(sorted(sys.stdlib_module_names)))")))
    assert news - standard - cythons_own == {"convkit", "numpy"}


def test_import_loads_no_more_than_it_needs():
    """What stands above the tape, and kernels, are loaded when they are first asked for."""
    code = (
        "import json, sys, convkit\n"
        "assert 'nn' in dir(convkit) and 'Tensor' in dir(convkit)\n"
        "early = [name for name in sys.modules if name.startswith('convkit.')]\n"
        "convkit.functional.relu(convkit.tensor([1.0]))\n"
        "assert convkit.nn.ReLU is sys.modules['convkit.nn'].ReLU\n"
        "late = [name for name in sys.modules if name.startswith('convkit.')]\n"
        "print(json.dumps([early, late]))\n"
    )
    early, late = json.loads(run_python("-c", code))
    floors = ("functional", "nn", "optim", "data", "models", "train", "cli")
    assert [name for name in early if name.split(".")[1] in floors] == []
    kernels = [
        [name for name in names if re.match(r"convkit\._kernels\.\w+_f(32|64)\.", name)] for names in (early, late)
    ]
    assert [len(names) for names in kernels] == [0, 1]
    assert "convkit.nn" in late


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="module 'convkit' has no attribute 'nonsense'"):
        convkit.nonsense  # noqa: B018


def test_public_names_are_there():
    for name in convkit.__all__:
        assert getattr(convkit, name) is not None
    for name in ("config", "show_config", "ops", "set_num_threads", "get_num_threads", "num_threads"):
        assert name in convkit.__all__


@pytest.mark.parametrize("name", ops.__all__)
def test_every_op_is_documented(name):
    document = inspect.getdoc(getattr(ops, name))
    summary, _, rest = document.partition("\n")
    assert summary.endswith(".")
    assert rest.startswith("\n"), "the summary is one line"
    for section in ("Parameters", "Returns", "Raises", "Examples"):
        assert re.search(rf"^{section}\n-+$", document, re.MULTILINE), f"{name} has no section {section}"
    assert ">>> " in document
    for parameter in inspect.signature(getattr(ops, name)).parameters:
        assert re.search(rf"^(.*, )?{parameter}\b.*$", document, re.MULTILINE), f"{name} does not tell of {parameter}"


@pytest.mark.parametrize("module", ["convkit", *(module_name(path) for path in FILES if path.stem != "__main__")])
def test_examples_in_docstrings(module, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    failures, _ = doctest.testmod(importlib.import_module(module), optionflags=doctest.ELLIPSIS)
    assert failures == 0


def given(value):
    """What there is to give: a function's signature, a class's methods, of anything else the type."""
    if inspect.isclass(value):
        return sorted(name for name in vars(value) if not name.startswith("_"))
    return str(inspect.signature(value)) if callable(value) else type(value).__name__


def signatures(module):
    return {name: given(value) for name, value in vars(module).items() if not name.startswith("_")}


@pytest.mark.parametrize("kernel", _cpu.kernels)
def test_variants_have_the_same_to_give(kernel):
    usable = [isa for isa in _dispatch.isas_built if isa in _dispatch.isas_supported]
    variants = {
        f"{isa} {dtype.__name__}": signatures(_dispatch.variant(kernel, np.dtype(dtype), isa))
        for isa, dtype in itertools.product(usable, DTYPES)
    }
    first = next(iter(variants.values()))
    assert first
    for name, found in variants.items():
        assert found == first, name
