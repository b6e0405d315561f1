"""A file is replaced whole or not at all; a missing extra says how to get it."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from convkit._extras import require
from convkit._files import replacing


def test_replacing_writes_the_new_content(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with replacing(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


def test_replacing_honours_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        with replacing(tmp_path / "file"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_while_writing_leaves_the_old_file(tmp_path, failure):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write_half():
        with replacing(path) as file:
            file.write(b"half")
            raise failure

    with pytest.raises(type(failure)):
        write_half()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_a_failure_while_finishing_leaves_the_old_file(tmp_path, monkeypatch, call):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(*args):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="Input/output"), replacing(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("moment", ["file.write(b'half'); kill()", "file.write(b'new'); os.replace = kill"])
def test_a_kill_leaves_the_old_file(tmp_path, moment):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    script = f"""
import os, signal
from convkit._files import replacing
def kill(*args):
    os.kill(os.getpid(), signal.SIGKILL)
with replacing({str(path)!r}) as file:
    {moment}
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"


def test_a_missing_folder_is_named(tmp_path):
    path = tmp_path / "nowhere" / "file"
    with pytest.raises(FileNotFoundError, match=r"file: there is no folder .*nowhere to write"), replacing(path):
        pass


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(ImportError, match=r"^counting sheep needs tqdm: pip install 'convkit\[train\]'$"):
        require("tqdm", "counting sheep")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match="needs Pillow: pip install"):
        require("PIL.Image", "reading pictures")


def test_a_broken_package_raises_its_own_error(tmp_path, monkeypatch):
    (tmp_path / "brokenpackage.py").write_text("import a_module_it_lacks")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="a_module_it_lacks"):
        require("brokenpackage", "anything")
