import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pooch
import pytest

from tessflow.datasets import files


@pytest.fixture(autouse=True)
def cache(request, monkeypatch, tmp_path):
    """An empty cache and no TESSFLOW_DATA, except for tests that ask for the real files."""
    if "real_files" in request.fixturenames:
        return None
    monkeypatch.delenv("TESSFLOW_DATA", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    return tmp_path / "cache" / "tessflow"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        pass


@pytest.fixture
def repository(monkeypatch, tmp_path):
    """A local stand-in for UCI: what is put in this directory can be downloaded."""
    root = tmp_path / "uci"
    root.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=root))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setattr(files, "UCI", f"http://127.0.0.1:{server.server_port}")
    yield root
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def offline(monkeypatch):
    """A repository that cannot be reached: nothing listens on the discard port."""
    monkeypatch.setattr(files, "UCI", "http://127.0.0.1:9")
