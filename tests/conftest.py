"""What tests share: a line in each failure that repeats it, the command line, and a server to download from."""

import functools
import gc
import http.server
import os
import signal
import threading

import pytest

# A shell that runs the tests in the background has interrupts ignored, which programs that they start would inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Several workers (pytest-xdist) share the processor: threads that wait, and NumPy's, would take it from the others.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.update(OMP_WAIT_POLICY="passive", OPENBLAS_NUM_THREADS="1")


def pytest_collection_modifyitems(items):
    """What may take longest comes first, or all workers would wait for the one that has it."""
    items.sort(key=seconds_allowed, reverse=True)


def seconds_allowed(item):
    marker = item.get_closest_marker("timeout")
    return marker.args[0] if marker else 0


def pytest_collection_finish():
    """Thousands of tests live to the end: else each full collection, of which some tests ask for, looks at them all."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        isa = os.environ.get("CONVKIT_ISA")
        variant = f"CONVKIT_ISA={isa} " if isa else ""
        report.sections.append(("repeat", f"{variant}python -m pytest '{item.nodeid}'"))
    return report


@pytest.fixture
def convkit(capsys):
    """Run a command line; return its exit code, output and error output."""
    from convkit import cli

    def run(*args):
        capsys.readouterr()
        try:
            code = cli.main([str(arg) for arg in args])
        except SystemExit as stopped:
            code = stopped.code
        return code, *capsys.readouterr()

    return run


class Server(http.server.BaseHTTPRequestHandler):
    """Serves the contents it is made with; `missing` bytes at the end of each are promised, then not sent."""

    def __init__(self, contents, missing, *args):
        self.contents = contents
        self.missing = missing
        super().__init__(*args)

    def do_GET(self):
        content = self.contents.get(self.path)
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) - self.missing])

    def log_message(self, *args):
        pass


@pytest.fixture
def serve(monkeypatch):
    """Serve contents on localhost, as the mirror that convkit downloads from."""
    servers = []

    def start(contents, missing=0):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Server, contents, missing))
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        servers.append((server, thread))
        monkeypatch.setenv("CONVKIT_DATA_URL", f"http://127.0.0.1:{server.server_port}")

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()
