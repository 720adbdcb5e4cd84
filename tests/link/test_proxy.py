"""Which proxy the environment names, and for whom."""

from __future__ import annotations

import pytest

from federant.link import LinkConfigError
from federant.link.proxy import Proxy, proxy_for

SERVER = "https://federation.example:8750"


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({"https_proxy": "http://proxy:3128"}, "http://proxy:3128"),
        ({"HTTPS_PROXY": "http://proxy:3128/"}, "http://proxy:3128"),
        ({"https_proxy": "proxy:3128"}, "http://proxy:3128"),
        ({"https_proxy": "http://proxy"}, "http://proxy:80"),
        ({"https_proxy": "http://[2001:db8::1]:3128"}, "http://[2001:db8::1]:3128"),
        ({"https_proxy": "http://first:1", "HTTPS_PROXY": "http://second:2"}, "http://first:1"),
        ({"https_proxy": "http://u:p@proxy:3128"}, "http://proxy:3128"),
    ],
)
def test_the_environment_names_the_proxy(environment: dict[str, str], url: str) -> None:
    found = proxy_for(SERVER, environment)
    assert found is not None
    assert found.url == url


@pytest.mark.parametrize("environment", [{}, {"https_proxy": ""}, {"http_proxy": "http://p:1"}])
def test_without_its_variable_there_is_none(environment: dict[str, str]) -> None:
    assert proxy_for(SERVER, environment) is None


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "127.8.8.8"])
def test_this_machine_is_never_reached_through_a_proxy(host: str) -> None:
    assert proxy_for(f"https://{host}:8750", {"https_proxy": "http://proxy:3128"}) is None


@pytest.mark.parametrize(
    "listed",
    [
        "*",
        "federation.example",
        "FEDERATION.example",
        ".example",
        "*.example",
        "example",
        "federation.example:8750",
        "other.example, federation.example",
    ],
)
def test_a_host_that_no_proxy_names_is_dialled_itself(listed: str) -> None:
    environment = {"https_proxy": "http://proxy:3128", "no_proxy": listed}
    assert proxy_for(SERVER, environment) is None
    environment["NO_PROXY"] = environment.pop("no_proxy")
    assert proxy_for(SERVER, environment) is None


@pytest.mark.parametrize(
    "listed", ["", "ation.example", "federation.example:443", "federation", "10.0.0.0/8", " , "]
)
def test_a_host_that_no_proxy_does_not_name_is_not(listed: str) -> None:
    environment = {"https_proxy": "http://proxy:3128", "no_proxy": listed}
    assert proxy_for(SERVER, environment) is not None


@pytest.mark.parametrize(
    ("host", "listed", "dialled"),
    [
        ("10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("[2001:db8::5]", "2001:db8::/32", True),
        ("[2001:db8::5]", "[2001:db8::5]", True),
    ],
)
def test_no_proxy_may_name_addresses_and_networks(host: str, listed: str, dialled: bool) -> None:
    environment = {"https_proxy": "http://proxy:3128", "no_proxy": listed}
    assert (proxy_for(f"https://{host}:8750", environment) is None) is dialled


@pytest.mark.parametrize("value", ["ftp://proxy:21", "http://", "http://s3cret@proxy:port", "://"])
def test_what_is_no_proxy_is_told_without_its_value(value: str) -> None:
    with pytest.raises(LinkConfigError, match="https_proxy names no proxy") as caught:
        proxy_for(SERVER, {"https_proxy": value})
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["https", "socks5"])
def test_a_proxy_of_a_kind_that_is_not_spoken_is_told(scheme: str) -> None:
    with pytest.raises(LinkConfigError, match=f"spoken to by {scheme}://"):
        proxy_for(SERVER, {"https_proxy": f"{scheme}://proxy:3128"})


def test_a_proxys_text_has_no_secret() -> None:
    found = proxy_for(SERVER, {"https_proxy": "http://alice:s3cr%40t@proxy:3128"})
    assert isinstance(found, Proxy)
    assert "s3cr" not in repr(found) + found.url
    assert found.headers() == {"proxy-authorization": "Basic YWxpY2U6czNjckB0"}
