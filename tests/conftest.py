"""What every test gets: a line in each failure that repeats it."""

import os

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        isa = os.environ.get("CONVKIT_ISA")
        variant = f"CONVKIT_ISA={isa} " if isa else ""
        report.sections.append(("repeat", f"{variant}python -m pytest '{item.nodeid}'"))
    return report
