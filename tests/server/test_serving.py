"""How an application is served, whatever it is."""

from __future__ import annotations

import threading

from federant.server.routes.app import create_app
from federant.server.routes.services import Services
from federant.server.serving import HttpService, listen


def test_what_is_to_be_done_hourly_is_done_at_the_start(services: Services) -> None:
    done = threading.Event()
    service = HttpService(create_app(services), services.wakeups, hourly=done.set)
    with listen("127.0.0.1", 0) as listening:
        thread = threading.Thread(target=service.run, args=([listening],), name="server")
        thread.start()
        assert done.wait(60)
        service.stop()
        thread.join(60)
    assert not thread.is_alive()


def test_cutting_where_nothing_is_served_does_nothing(services: Services) -> None:
    HttpService(create_app(services), services.wakeups).cut("abc123")
