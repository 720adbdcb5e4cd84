"""What the site daemon refuses before it begins."""

from __future__ import annotations

import json
import os
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from federant.link import LinkConfigError
from federant.link.messages import ErrorCode
from federant.site import SiteConfig, run_site
from federant.site.errors import FolderInUseError, NameInUseError
from federant.site.liveness import hold, is_held


def config(folder: Path, server: str = "http://127.0.0.1:8750") -> SiteConfig:
    return SiteConfig(name="site-1", server=server, folder=folder)


def test_a_folder_in_which_a_living_daemon_works_is_refused(tmp_path: Path):
    lock = hold(tmp_path / "alive")
    assert lock is not None
    with pytest.raises(FolderInUseError, match="another site daemon works in this folder"):
        run_site(config(tmp_path))
    os.close(lock)


def test_a_second_daemon_under_a_name_that_is_taken_ends_and_says_which_has_it(tmp_path: Path):
    said = (
        "site-1 already runs as instance place-1, last seen 3 s ago; stop it, or give this one "
        "another name"
    )

    class Refusing(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.dumps({"code": ErrorCode.CONFLICT, "message": said}).encode()
            self.send_response(409)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Refusing) as server:
        thread = threading.Thread(target=server.serve_forever, name="server")
        thread.start()
        with pytest.raises(NameInUseError, match=f"refuses this site: {said}"):
            run_site(config(tmp_path, f"http://127.0.0.1:{server.server_port}"))
        server.shutdown()
        thread.join()
    assert not is_held(tmp_path / "alive")


def test_a_server_on_another_machine_is_refused_without_tls_and_the_folder_is_free_again(
    tmp_path: Path,
):
    with pytest.raises(LinkConfigError, match="on another machine"):
        run_site(config(tmp_path, "http://192.0.2.1:8750"))
    assert not is_held(tmp_path / "alive")
