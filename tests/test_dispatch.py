"""The choice of a variant is a pure function of what is wanted, built and supported."""

import numpy as np
import pytest
from cases import DTYPES, refuses

import convkit
from convkit import _dispatch
from convkit._dispatch import choose

ALL = ("baseline", "x86_v3", "x86_v4", "avx512_bf16", "amx")
BEST_FIRST = ALL[::-1]


@pytest.mark.parametrize("wanted", ["", "auto", " AUTO "])
def test_the_best_that_is_built_and_supported(wanted):
    assert choose(wanted, ALL, BEST_FIRST) == "amx"
    assert choose(wanted, ALL, ("x86_v3", "baseline")) == "x86_v3"
    assert choose(wanted, ("baseline", "x86_v3"), BEST_FIRST) == "x86_v3"
    assert choose(wanted, ("baseline",), BEST_FIRST) == "baseline"


@pytest.mark.parametrize("isa", ALL)
def test_the_one_asked_for(isa):
    assert choose(isa, ALL, BEST_FIRST) == isa
    assert choose(f" {isa.upper()} ", ALL, BEST_FIRST) == isa


def test_one_that_is_unknown():
    built, supported = ("baseline", "x86_v3"), ("x86_v4", "x86_v3", "baseline")
    refuses(ImportError, "CONVKIT_ISA='sse9'.*baseline, x86_v3.*x86_v4", choose, "sse9", built, supported)


def test_one_that_is_not_built():
    built, supported = ("baseline", "x86_v3"), ("x86_v4", "x86_v3", "baseline")
    refuses(ImportError, "CONVKIT_ISA='x86_v4'.*baseline, x86_v3", choose, "x86_v4", built, supported)


def test_one_that_is_not_supported():
    refuses(ImportError, "CONVKIT_ISA='amx'.*x86_v3, baseline", choose, "amx", ALL, ("x86_v3", "baseline"))


def test_a_build_that_this_machine_cannot_run():
    refuses(ImportError, "x86_v4.*baseline", choose, "", ("x86_v4",), ("x86_v3", "baseline"))


def test_config_tells_what_was_chosen():
    config = convkit.config()
    assert set(config) >= {"isa", "isas_built", "isas_supported", "threads", "openmp", "float32_precision"}
    assert config["isa"] in config["isas_built"]
    assert config["isa"] in config["isas_supported"]
    assert "baseline" in config["isas_supported"]
    assert config["threads"] == convkit.get_num_threads()


def test_show_config_prints_the_configuration(capsys):
    convkit.show_config()
    printed = capsys.readouterr().out
    for name in ("isa", "isas_built", "isas_supported", "threads", "openmp", convkit.config()["isa"]):
        assert name in printed


@pytest.mark.parametrize("dtype", DTYPES)
def test_tile_shape(dtype):
    rows, lanes = _dispatch.tile_shape(np.dtype(dtype))
    assert rows >= 1
    assert lanes * np.dtype(dtype).itemsize in (16, 32, 64)
