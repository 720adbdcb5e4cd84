"""Cells that reach their relay through an HTTP proxy, by a name that only the proxy can reach."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from federant.link.kit import Kit
from federant.pipe import CellPipe, Message, Mode, PipeRefusedError
from federant.provision import FederationKits
from federant.testing.connect_proxy import ConnectProxy
from federant.testing.two_ends import LONG, TASK, in_thread, pass_on, receive, request

HOST = "relay.invalid"
THIS_MACHINE = "0.0.0.0"
"""Dialled it is this machine, and it is no loopback address: those go through no proxy."""

NewPipe = Callable[..., CellPipe]
Pair = Callable[[str], tuple[CellPipe, CellPipe]]


@pytest.fixture(autouse=True)
def no_other_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def far_url(tls_relay: str) -> str:
    return tls_relay.replace("127.0.0.1", HOST)


@pytest.fixture
def agent_kit(kits: FederationKits) -> Kit:
    return kits.agents["site-1.gpu-7"]


@pytest.fixture
def pair(new_cell_pipe: NewPipe, kits: FederationKits, agent_kit: Kit) -> Pair:
    """``pair(url)``: the pipes of an agent and its client job, opened."""

    def opened(url: str) -> tuple[CellPipe, CellPipe]:
        agent = new_cell_pipe(Mode.ACTIVE, url, agent_kit, token="gpu-7")
        job = new_cell_pipe(Mode.PASSIVE, url, kits.sites["site-1"], token="gpu-7")
        agent.open(TASK)
        job.open(TASK)
        return agent, job

    return opened


@pytest.fixture
def closed_port() -> Iterator[int]:
    """One at which nobody listens, and that nobody else gets."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def use(proxy: ConnectProxy, monkeypatch: pytest.MonkeyPatch, credentials: str = "") -> None:
    monkeypatch.setenv("https_proxy", proxy.url.replace("http://", f"http://{credentials}"))


def test_agent_and_client_job_meet_through_the_proxy(
    pair: Pair, far_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.arange(500_000.0)
    with ConnectProxy() as proxy:
        use(proxy, monkeypatch)
        agent, job = pair(far_url)
        pass_on(job, agent, request(1))
        receiving = in_thread(receive, job)
        assert agent.send(Message.new_request("train", values), LONG) is True
        np.testing.assert_array_equal(receiving.result(LONG).data, values)
        assert proxy.asked == [far_url.removeprefix("https://")] * 2
        assert proxy.carried_bytes > 2 * values.nbytes
        agent.close()
        job.close()


def test_cells_come_back_through_a_proxy_that_has_cut_them(
    pair: Pair, far_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ConnectProxy() as proxy:
        use(proxy, monkeypatch)
        agent, job = pair(far_url)
        pass_on(agent, job, request(1))
        proxy.cut()
        assert pass_on(agent, job, request(2)).data["number"] == 2
        assert proxy.opened >= 4
        agent.close()
        job.close()


def test_a_proxy_gets_name_and_password(
    pair: Pair, far_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ConnectProxy(user="alice", password="s3cr@t:/") as proxy:
        use(proxy, monkeypatch, "alice:s3cr%40t%3A%2F@")
        agent, job = pair(far_url)
        assert pass_on(job, agent, request(3)).data["number"] == 3
        agent.close()
        job.close()


@pytest.mark.parametrize(
    ("credentials", "said"),
    [
        ("", "wants a name and a password (407); write them into the variable"),
        ("bob:s3cret@", "does not take the name and password that the variable holds (407)"),
    ],
)
def test_a_proxy_that_wants_another_name_is_told_in_words(
    new_cell_pipe: NewPipe,
    far_url: str,
    agent_kit: Kit,
    monkeypatch: pytest.MonkeyPatch,
    credentials: str,
    said: str,
) -> None:
    with ConnectProxy(user="alice", password="right") as proxy:
        use(proxy, monkeypatch, credentials)
        pipe = new_cell_pipe(Mode.ACTIVE, far_url, agent_kit, token="gpu-7")
        with pytest.raises(PipeRefusedError) as refused:
            pipe.open(TASK)
    assert f"the proxy {proxy.url} (environment variable https_proxy) {said}" in str(refused.value)
    assert "s3cret" not in str(refused.value)


def test_a_proxy_that_does_not_let_the_agent_through_is_told(
    new_cell_pipe: NewPipe, far_url: str, agent_kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ConnectProxy(refuse=403) as proxy:
        use(proxy, monkeypatch)
        pipe = new_cell_pipe(Mode.ACTIVE, far_url, agent_kit, token="gpu-7")
        with pytest.raises(PipeRefusedError, match="does not let this machine reach https://relay"):
            pipe.open(TASK)


def test_a_relay_that_the_proxy_does_not_reach_may_come_back(
    new_cell_pipe: NewPipe,
    agent_kit: Kit,
    closed_port: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with ConnectProxy() as proxy:
        use(proxy, monkeypatch)
        url = f"https://{HOST}:{closed_port}"
        pipe = new_cell_pipe(Mode.ACTIVE, url, agent_kit, token="gpu-7")
        pipe.open(TASK)
        pipe.close()
    assert f"did not reach https://{HOST}:{closed_port} (502)" in caplog.text


def test_a_proxy_that_does_not_answer_is_told(
    new_cell_pipe: NewPipe,
    far_url: str,
    agent_kit: Kit,
    closed_port: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{closed_port}")
    new_cell_pipe(Mode.ACTIVE, far_url, agent_kit, token="gpu-7").open(TASK)
    assert f"the proxy http://127.0.0.1:{closed_port} (environment variable" in caplog.text
    assert "does not answer; correct the variable" in caplog.text


def test_what_the_variable_holds_must_be_a_proxy(
    new_cell_pipe: NewPipe, far_url: str, agent_kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "socks5://bob:s3cret@127.0.0.1:1080")
    pipe = new_cell_pipe(Mode.ACTIVE, far_url, agent_kit, token="gpu-7")
    with pytest.raises(PipeRefusedError, match="federant speaks with one by http:// only") as told:
        pipe.open(TASK)
    assert "s3cret" not in str(told.value)


def test_a_host_that_no_proxy_names_is_dialled_itself(
    pair: Pair, tls_relay: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = tls_relay.replace("127.0.0.1", THIS_MACHINE)
    with ConnectProxy(refuse=403) as proxy:
        use(proxy, monkeypatch)
        monkeypatch.setenv("no_proxy", f"elsewhere.example,{THIS_MACHINE}")
        agent, job = pair(url)
        assert pass_on(agent, job, request(4)).data["number"] == 4
    assert proxy.asked == []


def test_a_relay_on_this_machine_is_dialled_without_the_proxy(
    pair: Pair, tls_relay: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ConnectProxy(refuse=403) as proxy:
        use(proxy, monkeypatch)
        agent, job = pair(tls_relay)
        assert pass_on(agent, job, request(5)).data["number"] == 5
    assert proxy.asked == []
