"""Which HTTP proxy stands between a caller and the server, and what its refusals mean.

The environment says which: ``https_proxy``, ``no_proxy``.  A proxy only carries bytes (CONNECT):
TLS is spoken with the server through it, so that it can neither read nor change them.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, unquote, urlsplit

import urllib3
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from .errors import LinkConfigError, LinkUnavailable
from .loopback import is_loopback

_PORT: Final = 80
_REFUSED: Final = re.compile(r"Tunnel connection failed: (\d{3})")


class LinkProxyError(LinkUnavailable):
    """The proxy does not answer, or did not let the call through; ``status`` is its own, or 0."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Proxy:
    """One proxy; its text never holds the password."""

    host: str
    port: int
    variable: str
    """The environment variable that names it."""
    user: str | None = field(default=None, repr=False)
    password: str = field(default="", repr=False)

    @property
    def url(self) -> str:
        """Its address, without name and password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def login_url(self) -> str:
        """Its address with name and password: for who dials it, and for no text."""
        if self.user is None:
            return self.url
        login = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}"
        return self.url.replace("http://", f"http://{login}@", 1)

    def headers(self) -> dict[str, str]:
        """What the proxy is told, and nobody else."""
        if self.user is None:
            return {}
        return dict(urllib3.make_headers(proxy_basic_auth=f"{self.user}:{self.password}"))

    def refusal(self, error: BaseException, url: str) -> LinkProxyError | None:
        """What an error on the way to ``url`` says of the proxy; None if nothing."""
        causes = list(_causes(error))
        for each in causes:
            found = _REFUSED.search(str(each)) if isinstance(each, OSError) else None
            if found is not None:
                return self.refused(int(found[1]), url)
        # urllib3 calls also what went wrong behind the proxy an error of the proxy.
        if any(isinstance(each, (NewConnectionError, ConnectTimeoutError)) for each in causes):
            return self.silent()
        return None

    def refused(self, status: int, url: str) -> LinkProxyError:
        """The proxy answered with that status when it was to open the way to ``url``."""
        return LinkProxyError(f"{self.title} {self._words(status, url)}", status)

    def silent(self) -> LinkProxyError:
        """The proxy itself cannot be reached."""
        return LinkProxyError(
            f"{self.title} does not answer; correct the variable, or name the server's host in "
            "no_proxy if this machine reaches it without a proxy"
        )

    @property
    def title(self) -> str:
        """The proxy in a sentence, without name and password."""
        return f"the proxy {self.url} (environment variable {self.variable})"

    def _words(self, status: int, url: str) -> str:
        if status == 407 and self.user is None:
            return (
                "wants a name and a password (407); write them into the variable: "
                f"http://NAME:PASSWORD@{self.host}:{self.port}"
            )
        if status == 407:
            return (
                "does not take the name and password that the variable holds (407); only basic "
                "authentication is known here"
            )
        if status in (403, 405):
            return (
                f"does not let this machine reach {url} ({status}); ask those who run it to allow "
                "CONNECT to that host and port"
            )
        if status in (502, 503, 504):
            return (
                f"did not reach {url} ({status}); is the server running, and is its address right?"
            )
        return f"answered {status} to CONNECT {url}; is it an HTTP proxy?"


def proxy_for(url: str, environment: Mapping[str, str] | None = None) -> Proxy | None:
    """The proxy for an ``https://`` address; None: it is dialled itself.

    Never one for a loopback address.  LinkConfigError if what the variable holds is no proxy.
    """
    environment = os.environ if environment is None else environment
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 443
    found = next(((name, environment[name]) for name in _names(environment)), None)
    if found is None or is_loopback(host) or _bypassed(host, port, environment):
        return None
    return _parsed(*found)


def _names(environment: Mapping[str, str]) -> Iterator[str]:
    """As everywhere: the lowercase name comes first, and an empty value is none."""
    return (name for name in ("https_proxy", "HTTPS_PROXY") if environment.get(name))


def _parsed(variable: str, value: str) -> Proxy:
    # What is wrong is told without the value, which may hold a password.
    wrong = LinkConfigError(
        f"the environment variable {variable} names no proxy; write it as http://HOST:PORT, or "
        "http://NAME:PASSWORD@HOST:PORT"
    )
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise wrong from None
    if parts.scheme == "https" or parts.scheme.startswith("socks"):
        raise LinkConfigError(
            f"the environment variable {variable} names a proxy that is spoken to by "
            f"{parts.scheme}://; federant speaks with one by http:// only (within it is TLS all "
            "the same)"
        )
    if parts.scheme != "http" or not host:
        raise wrong
    return Proxy(
        host=host,
        port=port or _PORT,
        variable=variable,
        user=None if parts.username is None else unquote(parts.username),
        password=unquote(parts.password or ""),
    )


def _bypassed(host: str, port: int, environment: Mapping[str, str]) -> bool:
    """Whether ``no_proxy`` names the host: its name or a domain of it, its address or network."""
    listed = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    return any(
        _matches(entry.strip().casefold(), host.casefold(), port) for entry in listed.split(",")
    )


def _matches(entry: str, host: str, port: int) -> bool:
    if not entry or entry == "*":
        return entry == "*"
    with suppress(ValueError):
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry.strip("[]"), strict=False)
    name, _, only = entry.rpartition(":") if ":" in entry else (entry, "", "")
    if only and only != str(port):
        return False
    name = name.strip("[]").removeprefix("*").removeprefix(".")
    return host == name or host.endswith(f".{name}")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it was made of."""
    while error is not None:
        yield error
        inner = next((part for part in error.args if isinstance(part, BaseException)), None)
        error = inner or error.__cause__ or error.__context__
