"""The tests of the ops and of the optimizers, once more for every compiled variant that this processor runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import convkit
from convkit._dispatch import _EXTENDS

TESTS = Path(__file__).parent
CONFIG = convkit.config()
ISAS = ("baseline", "x86_v3", "x86_v4", "avx512_bf16", "amx")

# A variant that extends another has convolutions, and products of matrices, of its own: these tests call neither.
COMMON_TESTS = (
    "test_ops_activation.py", "test_ops_batch_norm.py", "test_ops_layout.py", "test_ops_nll_loss.py", "test_ops_pad.py",
    "test_ops_*pool2d*.py", "test_optim*.py", "test_clip_grad.py",
)  # fmt: skip
KERNEL_TESTS = ("test_ops_*.py", "test_optim*.py", "test_clip_grad.py")


def python_with_isa(isa, *arguments):
    environment = {**os.environ, "CONVKIT_ISA": isa}
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True)


def files(names):
    return {str(path) for name in names for path in TESTS.glob(name)}


def run_tests(isa):
    """All but what the other tests run with the same kernels."""
    own, others = (_EXTENDS.get(name, name) for name in (isa, CONFIG["isa"]))
    names = files(KERNEL_TESTS) - files(COMMON_TESTS if own == others else ())
    options = ["-q", "--tb=short", "--maxfail=10", "-p", "no:cacheprovider", "--rootdir", str(TESTS.parent)]
    return python_with_isa(isa, "-m", "pytest", *options, *sorted(names))


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("isa", ISAS)
def test_ops_in_variant(isa):
    if isa == CONFIG["isa"]:
        pytest.skip(f"{isa} is the variant that the other tests run")
    if isa not in CONFIG["isas_built"]:
        pytest.skip(f"{isa} is not in this build, which has {', '.join(CONFIG['isas_built'])}")
    if isa not in CONFIG["isas_supported"]:
        pytest.skip(f"{isa} needs another processor; this one runs {', '.join(CONFIG['isas_supported'])}")
    done = run_tests(isa)
    assert done.returncode == 0, f"CONVKIT_ISA={isa}\n{done.stdout[-6000:]}\n{done.stderr[-2000:]}"


def test_variant_is_the_one_asked_for():
    usable = [isa for isa in CONFIG["isas_supported"] if isa in CONFIG["isas_built"]]
    code = "import convkit; print(convkit.config()['isa'])"
    for isa in usable:
        assert python_with_isa(isa, "-c", code).stdout.strip() == isa
    for automatic in ("", "auto"):
        assert python_with_isa(automatic, "-c", code).stdout.strip() == usable[0]


def test_unknown_variant():
    done = python_with_isa("nonsense", "-c", "import convkit")
    assert done.returncode != 0
    message = done.stderr.strip().splitlines()[-1]
    assert message.startswith("ImportError: ")
    for name in ("CONVKIT_ISA", "nonsense", *CONFIG["isas_built"], *CONFIG["isas_supported"]):
        assert name in message


def test_variant_that_the_processor_cannot_run():
    beyond = [isa for isa in CONFIG["isas_built"] if isa not in CONFIG["isas_supported"]]
    if not beyond:
        pytest.skip("this processor runs every variant that is built; test_dispatch.py refuses in principle")
    done = python_with_isa(beyond[0], "-c", "import convkit")
    assert done.returncode != 0
    message = done.stderr.strip().splitlines()[-1]
    assert message.startswith("ImportError: ")
    for name in ("CONVKIT_ISA", beyond[0], *CONFIG["isas_supported"]):
        assert name in message
