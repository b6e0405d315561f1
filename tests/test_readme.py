"""What the README tells people to do works, and its commands are the ones that CI and the package have."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_the_example_trains_a_network(tmp_path):
    (example,) = blocks("python")
    assert len([line for line in example.splitlines() if line]) <= 10
    check = (
        "\nmodel.eval()\n"
        "images, labels = next(iter(ck.data.DataLoader(ck.data.Digits(train=False), batch_size=1000)))\n"
        "print((model(images).data.argmax(1) == labels).mean())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", example + check], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) > 0.8  # one pass over the digits


@pytest.mark.parametrize("extra", ["train", "test"])
def test_the_two_commands_name_extras_that_exist(extra):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert extra in project["optional-dependencies"]
    assert any(f"pip install '.[{extra}]' && " in block for block in blocks("sh"))


def test_ci_runs_the_command_of_the_readme():
    marked = re.search(r"<!-- test command -->\n```sh\n(.*)\n```", README)
    assert marked
    assert "pytest" in marked[1]
    assert "<!-- test command -->" in (ROOT / ".ci" / "run").read_text()
