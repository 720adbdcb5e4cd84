"""The link through an HTTP proxy: by a name that nobody but the proxy can reach."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from federant.link import LinkClient, LinkUnavailable, blob_ref
from federant.link.identity import Identity, Role
from federant.link.kit import Kit
from federant.link.proxy import LinkProxyError
from federant.link.tls import LinkTlsError, TlsProblem
from federant.provision import FederationKits
from federant.server.routes.services import Services
from federant.testing.connect_proxy import ConnectProxy

HOST = "federation.invalid"
PATIENCE_SECONDS = 60.0

ServingTls = Callable[..., AbstractContextManager[str]]
OddKit = Callable[..., Kit]
Connect = Callable[[], LinkClient]


@pytest.fixture(autouse=True)
def no_other_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def far_url(serving_tls: ServingTls, services: Services, odd: OddKit) -> Iterator[str]:
    """A server with a certificate for a name that cannot be resolved."""
    server = odd(Identity("test", Role.SERVER), hosts=[HOST])
    with serving_tls(services, server) as url:
        yield url.replace("localhost", HOST)


@pytest.fixture
def connect(far_url: str, kits: FederationKits) -> Connect:
    return lambda: LinkClient(far_url, "site-1", kit=kits.sites["site-1"])


def insist(call: Callable[[], object]) -> object:
    """What the call gives in the end: on a busy machine the proxy may cut it too."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return call()
        except LinkUnavailable:
            assert time.monotonic() < deadline


def use(proxy: ConnectProxy, monkeypatch: pytest.MonkeyPatch, credentials: str = "") -> None:
    monkeypatch.setenv("https_proxy", proxy.url.replace("http://", f"http://{credentials}"))


def test_a_site_reaches_its_server_through_the_proxy(
    connect: Connect, far_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ConnectProxy() as proxy:
        use(proxy, monkeypatch)
        with connect() as link:
            assert link.hello("place-1").server_id == "s-test"
            assert link.missing_blobs([]) == ()
    assert proxy.asked == [far_url.removeprefix("https://")]


def test_bytes_go_through_the_proxy_as_they_are(
    connect: Connect, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytes(range(256)) * 8192
    blob = blob_ref([data])
    with ConnectProxy() as proxy:
        use(proxy, monkeypatch)
        with connect() as link:
            link.hello("place-1")
            link.put_blob(blob, lambda offset: [memoryview(data)[offset:]])
    assert services.blobs.path(blob.digest).read_bytes() == data
    assert proxy.carried_bytes > len(data)


def test_a_proxy_that_closes_idle_connections_is_no_hindrance(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ConnectProxy() as proxy:
        use(proxy, monkeypatch)
        with connect() as link:
            for _ in range(3):
                link.hello("place-1")
                proxy.cut()
    assert proxy.opened == 3


def test_a_long_poll_that_the_proxy_cuts_may_be_made_again(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ConnectProxy(idle_seconds=1.0) as proxy:
        use(proxy, monkeypatch)
        with connect() as link:
            insist(lambda: link.hello("place-1"))
            with pytest.raises(LinkUnavailable, match=f"no answer through the proxy {proxy.url}"):
                link.next_jobs({}, PATIENCE_SECONDS)
            assert insist(lambda: link.next_jobs({}, 0.0)) == ()


def test_a_proxy_gets_name_and_password_and_nobody_reads_them_in_the_log(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with ConnectProxy(user="alice", password="s3cr@t") as proxy:
        use(proxy, monkeypatch, "alice:s3cr%40t@")
        with connect() as link:
            link.hello("place-1")
    assert "s3cr" not in caplog.text
    assert "YWxpY2U6czNjckB0" not in caplog.text


@pytest.mark.parametrize(
    ("credentials", "said"),
    [
        ("", "wants a name and a password .407.; write them into the variable"),
        ("bob:s3cret@", "does not take the name and password that the variable holds .407."),
    ],
)
def test_a_proxy_that_wants_another_name_is_told_in_words(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, credentials: str, said: str
) -> None:
    with ConnectProxy(user="alice", password="right") as proxy:
        use(proxy, monkeypatch, credentials)
        with connect() as link, pytest.raises(LinkProxyError, match=said) as caught:
            link.hello("place-1")
    assert caught.value.status == 407
    assert f"the proxy {proxy.url} (environment variable https_proxy)" in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (403, "does not let this machine reach https://federation.invalid:"),
        (503, "did not reach https://federation.invalid:"),
        (404, "answered 404 to CONNECT https://federation.invalid:"),
    ],
)
def test_a_proxy_that_refuses_is_told_in_words(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, status: int, said: str
) -> None:
    with ConnectProxy(refuse=status) as proxy:
        use(proxy, monkeypatch)
        with connect() as link, pytest.raises(LinkProxyError, match=said) as caught:
            link.hello("place-1")
    assert caught.value.status == status


def test_a_proxy_that_is_not_there_is_told(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ConnectProxy() as proxy:
        use(proxy, monkeypatch)
    with connect() as link, pytest.raises(LinkProxyError, match="does not answer; correct"):
        link.hello("place-1")


def test_who_answers_behind_the_proxy_must_be_the_federations_server(
    serving_tls: ServingTls,
    services: Services,
    kits: FederationKits,
    odd: OddKit,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    impostor = odd(Identity("test", Role.SITE, "site-1"), hosts=[HOST])
    with serving_tls(services, impostor) as url, ConnectProxy() as proxy:
        use(proxy, monkeypatch)
        far = url.replace("localhost", HOST)
        with (
            LinkClient(far, "site-2", kit=kits.sites["site-2"]) as link,
            pytest.raises(LinkTlsError, match="what answers there is site site-1") as caught,
        ):
            link.hello("place-1")
    assert caught.value.problem is TlsProblem.PEER_NAME
    assert str(caught.value).count(f"https://{HOST}:") >= 1


def test_a_certificate_for_another_name_is_refused_behind_the_proxy_too(
    url: str, kits: FederationKits, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ConnectProxy() as proxy:
        use(proxy, monkeypatch)
        far = url.replace("localhost", HOST)
        with (
            LinkClient(far, "site-1", kit=kits.sites["site-1"]) as link,
            pytest.raises(LinkTlsError) as caught,
        ):
            link.hello("place-1")
    assert caught.value.problem is TlsProblem.PEER_NAME


def test_a_server_on_this_machine_is_dialled_without_the_proxy(
    url: str, kits: FederationKits, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ConnectProxy(refuse=403) as proxy:
        use(proxy, monkeypatch)
        with LinkClient(url, "site-1", kit=kits.sites["site-1"]) as link:
            link.hello("place-1")
    assert proxy.asked == []
