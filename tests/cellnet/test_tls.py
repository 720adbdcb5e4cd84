"""Cells and relays over mutual TLS: who is let in, and how each refusal is told at both ends."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from federant.cellnet.admission import Admission
from federant.cellnet.relay import RelayThread
from federant.link.kit import Kit
from federant.pipe import CellPipe, Mode, PeerGoneError, PipeRefusedError
from federant.provision import FederationKits
from federant.testing.certificates import Odd
from federant.testing.two_ends import TASK, pass_on, receive, request

NewPipe = Callable[..., CellPipe]
Denials = Callable[[], str]


def refusal_of(pipe: CellPipe) -> str:
    with pytest.raises(PipeRefusedError) as refused:
        pipe.open(TASK)
    return str(refused.value)


def test_an_agent_and_its_client_job_meet(
    new_cell_pipe: NewPipe, tls_relay: str, kits: FederationKits
) -> None:
    agent = new_cell_pipe(Mode.ACTIVE, tls_relay, kits.agents["site-1.gpu-7"], token="gpu-7")
    job = new_cell_pipe(Mode.PASSIVE, tls_relay, kits.sites["site-1"], token="gpu-7")
    agent.open(TASK)
    job.open(TASK)
    assert pass_on(job, agent, request(1)).data["number"] == 1
    assert pass_on(agent, job, request(2)).data["number"] == 2


def test_an_agent_that_acts_as_another_agent_is_refused(
    new_cell_pipe: NewPipe, tls_relay: str, kits: FederationKits, denials: Denials
) -> None:
    pipe = new_cell_pipe(Mode.ACTIVE, tls_relay, kits.agents["site-1.gpu-8"], token="gpu-7")
    told = refusal_of(pipe)
    assert "agent gpu-8 of site site-1 may not join as site-1.gpu-7.agent" in told
    assert "that takes the kit of agent gpu-7 of site site-1" in told
    assert "fqcn='site-1.gpu-7.agent' reason=agent gpu-8 of site site-1 may not join" in denials()


def test_an_agent_that_acts_as_a_client_job_is_refused(
    new_cell_pipe: NewPipe, tls_relay: str, kits: FederationKits, denials: Denials
) -> None:
    pipe = new_cell_pipe(Mode.PASSIVE, tls_relay, kits.agents["site-1.gpu-7"], token="gpu-7")
    assert "that takes the kit of site site-1" in refusal_of(pipe)
    assert "agent gpu-7 of site site-1 may not join as site-1.gpu-7.job" in denials()


@pytest.mark.parametrize("site", ["site-1", "site-2"])
def test_a_site_that_acts_as_an_agent_is_refused(
    new_cell_pipe: NewPipe, tls_relay: str, kits: FederationKits, site: str, denials: Denials
) -> None:
    pipe = new_cell_pipe(Mode.ACTIVE, tls_relay, kits.sites[site], token="gpu-7")
    assert f"site {site} may not join as site-1.gpu-7.agent" in refusal_of(pipe)
    assert f"reason=site {site} may not join" in denials()


def test_another_site_is_refused_at_a_site_s_relay(
    new_cell_pipe: NewPipe, tls_relay: str, kits: FederationKits, denials: Denials
) -> None:
    pipe = new_cell_pipe(Mode.PASSIVE, tls_relay, kits.sites["site-2"], token="gpu-7")
    assert "site site-2 may not join as site-1.gpu-7.job" in refusal_of(pipe)
    assert "site-2" in denials()


@pytest.mark.parametrize(
    ("wrong", "told", "logged"),
    [
        (Odd.EXPIRED, "own_certificate_expired", "certificate has expired"),
        (Odd.NOT_YET_VALID, "own_certificate_refused", "certificate is not yet valid"),
        (Odd.OTHER_AUTHORITY, "own_certificate_of_another_authority", "certificate"),
        (Odd.NO_IDENTITY, "the certificate names 0 parties", "names 0 parties"),
        (Odd.TWO_IDENTITIES, "the certificate names 2 parties", "names 2 parties"),
    ],
    ids=["expired", "not_yet_valid", "other_authority", "no_identity", "two_identities"],
)
def test_a_certificate_with_a_thing_wrong_is_refused(
    new_cell_pipe: NewPipe,
    tls_relay: str,
    kits: FederationKits,
    odd: Callable[..., Kit],
    denials: Denials,
    wrong: Odd,
    told: str,
    logged: str,
) -> None:
    identity = kits.agents["site-1.gpu-7"].identity
    pipe = new_cell_pipe(Mode.ACTIVE, tls_relay, odd(identity, wrong), token="gpu-7")
    assert told in refusal_of(pipe)
    assert logged in denials()


def test_an_agent_for_one_job_takes_no_part_in_another(
    new_cell_pipe: NewPipe,
    tls_relay: str,
    kits: FederationKits,
    odd: Callable[..., Kit],
    denials: Denials,
) -> None:
    kit = odd(replace(kits.agents["site-1.gpu-7"].identity, job="job-1"))
    job = new_cell_pipe(
        Mode.PASSIVE, tls_relay, kits.sites["site-1"], token="gpu-7", job_id="job-2"
    )
    job.open(TASK)
    agent = new_cell_pipe(Mode.ACTIVE, tls_relay, kit, token="gpu-7")

    def take_part() -> None:
        agent.open(TASK)
        receive(agent)

    # The relay lets it in, and sends it away as soon as it is to meet that client job.
    with pytest.raises((PipeRefusedError, PeerGoneError), match="may not take part in job job-2"):
        take_part()
    assert "may not take part in job job-2" in denials()


def test_a_relay_of_another_site_is_not_spoken_with(
    new_cell_pipe: NewPipe, kits: FederationKits
) -> None:
    admission = Admission("site-2", kits.sites["site-2"])
    relay = RelayThread("site-2", "127.0.0.1", 0, admission, admission.context())
    url = f"https://127.0.0.1:{relay.port}"
    try:
        pipe = new_cell_pipe(Mode.ACTIVE, url, kits.agents["site-1.gpu-7"], token="gpu-7")
        assert "what answers there is site site-2, not the relay of site site-1" in refusal_of(pipe)
    finally:
        relay.stop()


def test_tls_to_a_relay_without_tls_is_told(
    new_cell_pipe: NewPipe,
    plain_relay: str,
    kits: FederationKits,
    caplog: pytest.LogCaptureFixture,
) -> None:
    url = plain_relay.replace("http:", "https:")
    pipe = new_cell_pipe(Mode.ACTIVE, url, kits.agents["site-1.gpu-7"], token="gpu-7")
    pipe.open(TASK)  # it may be back at any time
    assert "and does its relay speak TLS?" in caplog.text


def test_a_relay_with_tls_is_not_spoken_with_without(
    new_cell_pipe: NewPipe, tls_relay: str, caplog: pytest.LogCaptureFixture
) -> None:
    pipe = new_cell_pipe(Mode.ACTIVE, tls_relay.replace("https:", "http:"))
    with caplog.at_level(logging.WARNING):
        pipe.open(TASK)  # one that is being started again hangs up like that
    assert "hung up without a word; is it the site's relay" in caplog.text


def test_a_relay_that_goes_in_the_middle_of_a_handshake_may_come_back(
    new_cell_pipe: NewPipe, kits: FederationKits
) -> None:
    admission = Admission("site-1", kits.sites["site-1"])
    with socket.create_server(("127.0.0.1", 0)) as dying:
        port = dying.getsockname()[1]
        context = admission.context()
        assert context is not None

        def die_in_its_handshake() -> None:
            connection, _ = dying.accept()
            with suppress(OSError), context.wrap_socket(connection, server_side=True):
                dying.close()

        thread = threading.Thread(target=die_in_its_handshake)
        thread.start()
        url = f"https://127.0.0.1:{port}"
        agent = new_cell_pipe(Mode.ACTIVE, url, kits.agents["site-1.gpu-7"], token="gpu-7")
        agent.open(TASK)
        thread.join()
    relay = RelayThread("site-1", "127.0.0.1", port, admission, admission.context())
    try:
        job = new_cell_pipe(Mode.PASSIVE, url, kits.sites["site-1"], token="gpu-7")
        job.open(TASK)
        assert pass_on(job, agent, request(1)).data["number"] == 1
    finally:
        relay.stop()


def test_an_agent_that_dials_a_web_server_is_told_what_it_dialled(new_cell_pipe: NewPipe) -> None:
    class Page(BaseHTTPRequestHandler):
        server_version, sys_version, protocol_version = "Pages/1", "", "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_error(404, "no such page")

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            pipe = new_cell_pipe(Mode.ACTIVE, f"http://127.0.0.1:{server.server_port}")
            told = refusal_of(pipe)
        finally:
            server.shutdown()
    assert "Pages/1 answered with HTTP 404" in told
    assert "that is no relay of federant; root_url must be the address" in told


def test_an_agent_that_dials_something_else_is_told(new_cell_pipe: NewPipe) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"SSH-2.0-server\r\n")

        threading.Thread(target=greet).start()
        pipe = new_cell_pipe(Mode.ACTIVE, f"http://127.0.0.1:{server.getsockname()[1]}")
        assert "speaks no HTTP, or another kind of it" in refusal_of(pipe)
